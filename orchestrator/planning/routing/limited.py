"""Routers under ``--limit``: what belongs to services outside it stays as it is served now.

Owns the merge of two pictures, service by service. It must not know where either comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from orchestrator.planning.routing.picture import by_target, specific_first
from orchestrator.protocol.routing import Listener, RouterConfig

_Chosen = Callable[[str], bool]


def limited(
    wanted: Mapping[str, RouterConfig], current: Mapping[str, RouterConfig], chosen: _Chosen
) -> dict[str, RouterConfig]:
    """Return what each host's router should serve when only some services may change.

    Args:
        wanted: Host -> its picture without a limit.
        current: Host -> its picture in force.
        chosen: Tells whether a service may change.
    """
    hosts = sorted(wanted.keys() | current.keys())
    merged = {host: _merged(wanted.get(host), current.get(host), chosen) for host in hosts}
    return {host: picture for host, picture in merged.items() if picture is not None}


def _merged(new: RouterConfig | None, old: RouterConfig | None, chosen: _Chosen) -> RouterConfig | None:
    """Return one host's picture; ``None`` when nothing is left in it."""
    sides = (_part(new, chosen), _part(old, lambda service: not chosen(service)))
    present = [side for side in sides if side is not None]
    if not any(side.backends for side in present):
        return None
    frame = new or old
    assert frame is not None  # noqa: S101 - a part comes from a whole
    backends = sorted(
        (backend for side in present for backend in side.backends),
        key=lambda backend: (backend.service, backend.port),
    )
    order = by_target(backends)
    mesh = sorted((item for side in present for item in side.mesh), key=order)
    front = {item.name: item for side in reversed(present) for item in side.certificates}
    base = next((whole for whole in (new, old) if whole is not None and (whole.mesh or not mesh)), frame)
    return replace(
        frame,
        backends=tuple(backends),
        listeners=_listeners(present),
        certificates=tuple(front[name] for name in sorted(front)),
        virtuals=tuple(sorted((item for side in present for item in side.virtuals), key=order)),
        mesh=tuple(mesh),
        mesh_address=base.mesh_address if mesh else "",
        mesh_token=base.mesh_token if mesh else "",
    )


def _part(picture: RouterConfig | None, chosen: _Chosen) -> RouterConfig | None:
    """Return what of a picture is about the chosen services."""
    if picture is None:
        return None
    names = {backend.name for backend in picture.backends if chosen(backend.service)}
    listeners = (
        replace(item, routes=tuple(route for route in item.routes if route.backend in names))
        for item in picture.listeners
    )
    kept = tuple(item for item in listeners if item.routes)
    return replace(
        picture,
        backends=tuple(item for item in picture.backends if item.name in names),
        listeners=kept,
        certificates=picture.certificates if any(item.tls for item in kept) else (),
        virtuals=tuple(item for item in picture.virtuals if item.backend in names),
        mesh=tuple(item for item in picture.mesh if item.backend in names),
    )


def _listeners(sides: list[RouterConfig]) -> tuple[Listener, ...]:
    """Return the listeners of both sides, those on one port as one; what the first says of it counts."""
    found: dict[tuple[int, str], Listener] = {}
    for side in sides:
        for item in side.listeners:
            other = found.get((item.port, item.address))
            if other is None:
                found[item.port, item.address] = item
            elif (other.mode, other.tls) == (item.mode, item.tls) and item.mode != "tcp":
                routes = sorted((*other.routes, *item.routes), key=specific_first)
                found[item.port, item.address] = replace(other, routes=tuple(routes))
    return tuple(found[key] for key in sorted(found))
