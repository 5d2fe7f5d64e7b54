"""What each router serves before, during and after a cutover.

Owns the three pictures. *Staged*: every backend of both sides, but only what led somewhere before does
so still: a route must not reach a backend that has nobody yet. *Cut over*: the new routes, and still
every backend. *Final*: the desired picture, once the old instances are gone. Equal pictures are one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.planning.rollout.order import Join, unique
from orchestrator.planning.rollout.parts import Parts
from orchestrator.planning.types import RouterChange, Step, StepKind
from orchestrator.protocol.routing import Backend, Remote, RouterConfig


@dataclass(frozen=True)
class Pictures:
    """One host's."""

    change: RouterChange
    staged: RouterConfig | None
    """``None``: the router stays as it is until the end."""
    cut_over: RouterConfig | None
    """``None``: it is the staged one."""
    final: bool
    """Whether the desired picture is yet another."""


def pictures(change: RouterChange) -> Pictures:
    """Return the pictures a router goes through."""
    current, desired = change.current, change.desired
    if desired is None:
        return Pictures(change, None, None, final=True)
    if current is None or current == desired:  # equal: it does not run, or not as it should
        return Pictures(change, desired, None, final=False)
    both = replace(
        desired,
        backends=_backends(current, desired),
        mesh=(*desired.mesh, *(mesh for mesh in current.mesh if mesh not in desired.mesh)),
        # A host that the others reach no more is reached until then.
        mesh_address=desired.mesh_address or current.mesh_address,
        mesh_token=desired.mesh_token or current.mesh_token,
    )
    # Certificates that nothing uses yet do no harm; those in use must stay.
    names = {item.name for item in desired.certificates}
    spare = tuple(item for item in current.certificates if item.name not in names)
    both = replace(both, certificates=(*desired.certificates, *spare))
    staged = replace(both, listeners=current.listeners, virtuals=current.virtuals)
    return Pictures(
        change,
        staged if staged != current else None,
        both if both != staged else None,
        final=desired != both,
    )


def _backends(current: RouterConfig, desired: RouterConfig) -> tuple[Backend, ...]:
    before = {backend.name: backend for backend in current.backends}
    after = {backend.name: backend for backend in desired.backends}
    return tuple(_both(before.get(name), after.get(name)) for name in dict.fromkeys((*after, *before)))


def _both(old: Backend | None, new: Backend | None) -> Backend:
    """Return a backend that old and new instances can be in at the same time."""
    if old is None or new is None:
        known = old or new
        assert known is not None  # noqa: S101 - the name came from one of them
        return known
    remotes: dict[str, Remote] = {remote.host: remote for remote in (*old.remotes, *new.remotes)}
    return replace(
        new,
        slots=max(old.slots, new.slots),
        # Where they are checked by different paths only a connection proves both.
        check_path=new.check_path if old.check_path == new.check_path else "",
        remotes=tuple(remotes[host] for host in sorted(remotes)),
    )


def stage(parts: Parts, made: Pictures, after: tuple[str, ...]) -> Iterator[Step]:
    """Yield the step that makes room for the new instances."""
    change, staged = made.change, made.staged
    if staged is None:
        return
    previous = parts.plan.previous
    unknown = change.current is None and previous is not None and change.host in dict(previous.routers)
    yield Step(
        parts.name(f"router {change.host}"),
        StepKind.ROUTER,
        change.host,
        unique([parts.shipped.get((change.host, staged.image), ""), *after]),
        routing=staged,
        # What it served before may not be known: what it serves from now on stays then.
        back=staged if unknown else change.current,
    )


def cut_over(parts: Parts, made: Pictures, after: Join) -> Iterator[Step]:
    """Yield the step that makes the new routes lead where they should."""
    if made.cut_over is not None:
        name = parts.name(f"router {made.change.host} routes")
        back = made.staged or made.change.current
        yield Step(
            name,
            StepKind.ROUTER,
            made.change.host,
            after.after(name),
            routing=made.cut_over,
            back=back,
        )


def finish(parts: Parts, made: Pictures, after: tuple[str, ...]) -> Iterator[Step]:
    """Yield the step that takes away what only the old instances needed."""
    if made.final:
        host = made.change.host
        name = parts.name(f"router {host} final")
        yield Step(name, StepKind.ROUTER, host, after, routing=made.change.desired)
