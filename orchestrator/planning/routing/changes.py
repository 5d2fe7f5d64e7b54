"""Which routers change, and why: what each should serve against what it says it serves.

Owns the comparison and its words, without ever showing a token or a hash. It must not know how a router
is changed, and nothing branches on a reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from orchestrator.planning.observed import Index
from orchestrator.planning.types import Reason, RouterChange
from orchestrator.protocol.messages import HostReport, ReleaseRecord
from orchestrator.protocol.routing import Backend, RouterConfig


def router_changes(
    wanted: Mapping[str, RouterConfig], index: Index, hosts: Collection[str]
) -> tuple[RouterChange, ...]:
    """Return what changes about the routers of ``hosts``, sorted by host; nothing about one that is right.

    Args:
        wanted: Host -> what its router should serve; none for a host that should have no router.
        index: The fleet as it is.
        hosts: Those that may change; all of them answered.
    """
    return tuple(
        change
        for host in sorted(hosts)
        if (change := _change(host, wanted.get(host), index.up[host])) is not None
    )


def pictures_in_force(index: Index) -> dict[str, RouterConfig]:
    """Return, by host, the picture of its newest record."""
    found = {host: newest(report) for host, report in index.up.items()}
    return {host: record.router for host, record in found.items() if record and record.router}


def newest(report: HostReport) -> ReleaseRecord | None:
    """Return the last record of a host."""
    return next(reversed(report.releases), None)


def routes(report: HostReport) -> bool:
    """Return whether a host has a router of the project."""
    return report.routing is not None and bool(report.routing.config)


def router_reasons(old: RouterConfig | None, new: RouterConfig) -> tuple[Reason, ...]:
    """Return why ``new`` is not ``old``, in a fixed order; empty when they are equal.

    Args:
        old: What is served; ``None`` when it is not known.
        new: What should be served.
    """
    if old is None:
        return (_reason("the router changed"),)
    if old.digest == new.digest:
        return ()
    return tuple(_differences(old, new)) or (_reason("what hosts prove to each other changed", "mesh"),)


def _change(host: str, want: RouterConfig | None, report: HostReport) -> RouterChange | None:
    routing, record = report.routing, newest(report)
    recorded = record.router if record is not None else None
    if routing is None or not routing.config:
        if want is None:
            return None
        return RouterChange(host, want, None, (Reason("new", "a router is needed"),))
    current = recorded if recorded is not None and recorded.digest == routing.config else None
    if want is None:
        return RouterChange(host, None, current, (Reason("removed", "no router is needed"),))
    reasons: list[Reason] = []
    if want.digest != routing.config:
        reasons += router_reasons(current, want)
    elif routing.image and routing.image != want.image:
        reasons.append(Reason("image-changed", "router runs another image", "image"))
    if not routing.running:
        reasons.append(Reason("stopped", "router does not run"))
    # One that should serve just this and does not is no picture to start from.
    return RouterChange(host, want, None if current == want else current, tuple(reasons)) if reasons else None


def _differences(old: RouterConfig, new: RouterConfig) -> Iterator[Reason]:
    if old.image != new.image:
        yield Reason("image-changed", "router image changed", "image")
    for what, before, after in (
        ("listener", _listeners(old), _listeners(new)),
        ("route", _routes(old), _routes(new)),
        ("certificate", _named(old.certificates), _named(new.certificates)),
        ("address", _virtuals(old), _virtuals(new)),
    ):
        yield from _by_name(what, before, after)
    yield from _backends(old, new)
    yield from _by_name("mesh port", _meshes(old), _meshes(new))
    for field, words in (
        ("virtual_network", "network of the services' addresses"),
        ("mesh_address", "address for other hosts"),
        ("preview_port", "preview port"),
        ("drain_header", "preview header"),
    ):
        if getattr(old, field) != getattr(new, field):
            yield _reason(f"{words} changed", field)


def _backends(old: RouterConfig, new: RouterConfig) -> Iterator[Reason]:
    before = {backend.name: backend for backend in old.backends}
    after = {backend.name: backend for backend in new.backends}
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield _reason(f"backend {name} added", f"backends.{name}")
        elif name not in after:
            yield _reason(f"backend {name} removed", f"backends.{name}")
        elif before[name] != after[name]:
            yield from _backend(before[name], after[name])


def _backend(old: Backend, new: Backend) -> Iterator[Reason]:
    path = f"backends.{new.name}"
    before = {remote.host: remote for remote in old.remotes}
    after = {remote.host: remote for remote in new.remotes}
    for host in sorted(before.keys() | after.keys()):
        if host not in before:
            yield _reason(f"backend {new.name} gets host {host}", path)
        elif host not in after:
            yield _reason(f"backend {new.name} loses host {host}", path)
        elif before[host].weight != after[host].weight:
            count = after[host].weight
            noun = "instance" if count == 1 else "instances"
            yield _reason(f"backend {new.name} has {count} {noun} on {host}", path)
        elif before[host] != after[host]:
            yield _reason(f"backend {new.name} reaches host {host} in another way", path)
    words = {"slots": "room for instances", "check_path": "health check", "cookie": "sticky cookie"}
    plain_old, plain_new = vars(replace(old, remotes=())), vars(replace(new, remotes=()))
    for field, value in plain_new.items():
        if plain_old[field] != value:
            yield _reason(f"{words.get(field, field)} of backend {new.name} changed", f"{path}.{field}")


def _by_name(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Reason]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            verb = "added" if name not in old else "removed" if name not in new else "changed"
            yield _reason(f"{what} {name} {verb}", f"{what}s.{name}")


def _listeners(config: RouterConfig) -> dict[str, object]:
    return {
        f"{item.address}:{item.port}" if item.address else str(item.port): (item.mode, item.tls)
        for item in config.listeners
    }


def _routes(config: RouterConfig) -> dict[str, object]:
    found: dict[str, object] = {}
    for listener in config.listeners:
        for route in listener.routes:
            found[route.name] = (found.get(route.name), listener.port, route)
    return found


def _named(items: Collection[object]) -> dict[str, object]:
    return {str(getattr(item, "name", "")): item for item in items}


def _virtuals(config: RouterConfig) -> dict[str, object]:
    return {item.backend: item.address for item in config.virtuals}


def _meshes(config: RouterConfig) -> dict[str, object]:
    return {item.backend: item.port for item in config.mesh}


def _reason(message: str, path: str = "") -> Reason:
    return Reason("config-changed", message, path)
