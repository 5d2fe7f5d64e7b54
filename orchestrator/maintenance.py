"""Switching a route's maintenance page, on all routers that have the route or on none.

Owns which hosts that concerns and the order: lease, switch, put back what was switched when one host
fails, release. It must not know how a router does it, nor how the outcome is shown.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import ApplyFailed, HostUnreachable, NotRestored, RequestError
from orchestrator.events import LeaseTaken, Listener
from orchestrator.execution import leases
from orchestrator.execution.gather import Answer, gather
from orchestrator.execution.loop import Interrupt, Loop, ThreadLoop
from orchestrator.execution.world import Aborted
from orchestrator.inputs import load
from orchestrator.options import Options
from orchestrator.planning.observed import Index
from orchestrator.ports import Fleet
from orchestrator.protocol.messages import HostReport, Maintain
from orchestrator.wiring import Workbench, author


@dataclass(frozen=True)
class Switched:
    """What a switch came to."""

    route: str
    on: bool
    hosts: tuple[str, ...]
    """Whose routers have the route and answer it that way now, sorted."""
    changed: tuple[str, ...] = ()
    """Those of them that answered another way before."""


def switch(options: Options, route: str, *, on: bool, listener: Listener, interrupt: Interrupt) -> Switched:
    """Switch maintenance of ``route`` on or off.

    Raises:
        RequestError: No router has such a route.
        LeaseHeld: Somebody is changing the project.
        ApplyFailed: A host refused; the others were put back.
        NotRestored: A host refused, and another could not be put back.
        HostUnreachable: Done, but a host that has a router did not answer.
    """
    with Workbench(load(options), listener, interrupt) as bench:
        with interrupt.harmless():
            index = Index(bench.observe(probe=False))
        hosts = hosts_with(index, route)
        changed = [host for host in hosts if (route in _in_maintenance(index.up[host])) is not on]
        if changed:
            claim = leases.Claim(
                project=bench.loaded.name,
                epoch=index.epoch + 1,
                owner=author(),
                reason=f"maintenance {'on' if on else 'off'} {route}",
                release=index.current.id if index.current else "",
            )
            carry_out(
                bench.fleet,
                claim,
                changed,
                route,
                on=on,
                loop=ThreadLoop(),
                interrupt=interrupt,
                listener=listener,
            )
        refuse_to_forget(index, route)
    return Switched(route, on, hosts, tuple(changed))


def carry_out(
    fleet: Fleet,
    claim: leases.Claim,
    hosts: Sequence[str],
    route: str,
    *,
    on: bool,
    loop: Loop,
    interrupt: Interrupt,
    listener: Listener,
) -> None:
    """Take the lease on ``hosts``, switch the route on each, and give the lease back.

    Raises:
        ApplyFailed: A host refused; the others were put back.
        NotRestored: A host refused, and another could not be put back.
        DeployError: The lease could not be had.
    """
    try:
        leases.take(fleet, claim, hosts, loop=loop, interrupt=interrupt, clock=time.time)
        listener(LeaseTaken(claim.epoch, tuple(hosts)))
        answers = _ask(fleet, claim, hosts, route, on=on, loop=loop, interrupt=interrupt)
        failed = [answer for answer in answers if answer.error is not None]
        if failed:
            done = [answer.host for answer in answers if answer.error is None]
            back = _ask(fleet, claim, done, route, on=not on, loop=loop, interrupt=interrupt)
            stuck = [answer for answer in back if answer.error is not None]
            raise _failure(route, failed, stuck, on=on)
        leases.give_back(fleet, claim, hosts, loop=loop, interrupt=interrupt)
    except Aborted:
        raise NotRestored(
            f"stopped at once; the route {route} may be in maintenance on some hosts only",
            hint="deploy routes shows where; switch it again",
        ) from None


def _ask(
    fleet: Fleet,
    claim: leases.Claim,
    hosts: Iterable[str],
    route: str,
    *,
    on: bool,
    loop: Loop,
    interrupt: Interrupt,
) -> tuple[Answer, ...]:
    wish = Maintain(claim.project, claim.epoch, route, on)
    return gather(fleet, loop, interrupt, [(host, wish) for host in hosts])


def _failure(
    route: str, failed: Sequence[Answer], stuck: Sequence[Answer], *, on: bool
) -> ApplyFailed | NotRestored:
    wanted, before = ("on", "off") if on else ("off", "on")
    context = [str(answer.error) for answer in (*failed, *stuck)]
    if stuck:
        return NotRestored(
            f"cannot switch maintenance of {route} {wanted}, nor {before} again everywhere",
            hint="deploy routes shows where it is on; bring those hosts back and switch it again",
            context=context,
        )
    return ApplyFailed(
        f"cannot switch maintenance of {route} {wanted}; it is {before} as before", context=context
    )


def routes_of(report: HostReport) -> tuple[str, ...]:
    """Return the names of the routes that a host's router has by its newest record, sorted."""
    records = [record for record in report.releases if record.router is not None]
    router = records[-1].router if records else None
    return (
        tuple(sorted({route.name for listener in router.listeners for route in listener.routes}))
        if router
        else ()
    )


def _in_maintenance(report: HostReport) -> tuple[str, ...]:
    return report.routing.maintenance if report.routing is not None else ()


def hosts_with(index: Index, route: str) -> tuple[str, ...]:
    """Return the hosts that answered and whose routers have ``route``, sorted.

    Raises:
        RequestError: There are none.
    """
    by_host = {host: routes_of(report) for host, report in sorted(index.up.items())}
    found = tuple(host for host, routes in by_host.items() if route in routes)
    if not found:
        known = sorted({name for routes in by_host.values() for name in routes})
        near = difflib.get_close_matches(route, known, 1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise RequestError(
            f"no router has a route called {route!r}", hint=f"{meant}there are: {', '.join(known) or 'none'}"
        )
    return found


def refuse_to_forget(index: Index, route: str) -> None:
    """Return when every router of the release in force was asked.

    Raises:
        HostUnreachable: One was not: it may serve the route as before.
    """
    routers = {host for host, _ in index.current.routers} if index.current else set()
    down = sorted(routers & index.down.keys())
    if down:
        raise HostUnreachable(
            down[0],
            f"{index.down[down[0]].removeprefix(f'{down[0]}: ')}; its router may answer {route} as before",
            hint="the other hosts are switched; switch again when it is back",
            context=[f"{host}: {index.down[host].removeprefix(f'{host}: ')}" for host in down[1:]],
        )
