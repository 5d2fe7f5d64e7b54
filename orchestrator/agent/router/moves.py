"""Moving traffic between containers without losing a request: attach, shift, drain, detach.

Owns the order of the steps, the deadlines, and what is recorded when. Measured with HAProxy 2.6.12 and
clients that never retry: nothing is lost when every step is acknowledged before the next (who gets the
traffic is up before who loses it drains; nobody is taken out before its last session has ended).
Every move may be made twice: what is so already stays as it is. It must not know containers beyond
their addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Callable, Iterable, List

from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.router import backends
from orchestrator.agent.router.steering import Stats, Steering
from orchestrator.agent.router.table import ATTACHED, DRAINING, SERVING, Key, Seat, Table
from orchestrator.protocol.routing import Shift

ATTACH_SECONDS = 30.0
"""Longest wait for HAProxy's checks of a container that has proven itself healthy already."""
SHIFT_SECONDS = 5.0
"""Longest wait for a proven server to take traffic; it does so at once unless its checks fail."""
END_SECONDS = 5.0
"""Longest wait for sessions to be gone after they were ended."""

Rounds = Callable[[str], None]


@dataclass(frozen=True)
class Located:
    """A container that runs."""

    id: str
    address: str


def attach(steering: Steering, key: Key, where: Located) -> str:
    """Give a container a server in every backend of its service, without traffic, and have it proven.

    Returns:
        What is worth a remark; empty when nothing is.

    Raises:
        OperationFailed: ``unhealthy``, ``no-slot``, ``not-routed``, ``cancelled``.
        RouterSilent, RouterRefused: HAProxy did not do it.
    """
    service = key[0]
    if not steering.backends(service):
        raise OperationFailed("not-routed", f"the router has no backend of service {service!r}")
    with steering.home.locked():
        table = healed(steering)
        seat = table.find(*key)
        if seat and (seat.container, seat.address) == (where.id, where.address) and seat.state != ATTACHED:
            return "was attached already"
        if seat is None:
            server = _free(steering, table, service)
            seat = Seat(*key, where.id, where.address, server)
        seat = replace(seat, container=where.id, address=where.address, state=ATTACHED, weight=0)
        steering.place(seat)
        # Not to be previewed yet; recorded, so that nobody takes the server and an end here is healed.
        steering.home.put_table(table.put(seat))
    if steering.wait(ATTACH_SECONDS, lambda stats: _proven(steering, stats, seat)) is None:
        checks = _tried(steering, seat)
        detach(steering, key)
        raise OperationFailed("unhealthy", f"the router does not find {seat.name} healthy: {checks}")
    with steering.home.locked():
        table = steering.home.table()
        if table.find(*key) != seat:
            raise OperationFailed("conflict", f"somebody else has taken {seat.name} out meanwhile")
        steering.show(seat)
        steering.record(table)
    return ""


def shift(steering: Steering, wanted: Shift) -> str:
    """Give a service's traffic on this host to the named members; everybody else drains.

    The new ones take traffic before the old ones lose it. When one that has never served does not come
    up, everything is put back. One that has served before is trusted: going back must not depend on
    the health of what it goes back to.

    Raises:
        OperationFailed: ``not-attached``, ``unhealthy``, ``cancelled``: the traffic is where it was.
        RouterSilent, RouterRefused: HAProxy did not do it.
    """
    with steering.home.locked():
        before = healed(steering)
        members = {(wanted.service, one.slot, one.release) for one in wanted.members}
        missing = members - {seat.key for seat in before.of(wanted.service)}
        if missing:
            service, slot, release = min(missing)
            raise OperationFailed("not-attached", f"{service}[{slot}] of {release} is not in the router")
        after = before.shifted(wanted.service, wanted.members)
        if after == before:
            return "was so already"
        taking = [seat for seat in after.of(wanted.service) if seat.state == SERVING]
        try:
            for seat in taking:
                steering.serve(seat)
            told = _await_up(steering, before, taking)
        except OperationFailed:
            steering.reconcile(before)
            raise
        for seat in after.of(wanted.service):
            if seat.state == DRAINING:
                steering.drain(seat)
        steering.record(after)
    return told


def drain(steering: Steering, key: Key, seconds: float, tell: Rounds) -> str:
    """Wait until a container that gets nothing new has no sessions left, and take it out.

    Sessions that outlast ``seconds`` are ended.

    Raises:
        OperationFailed: ``serving``: it still gets traffic. ``drain``: sessions do not end. ``cancelled``.
        RouterSilent, RouterRefused: HAProxy did not do it.
    """
    with steering.home.locked():
        table = healed(steering)
        seat = table.find(*key)
        if seat is None:
            return "was out already"
        if seat.state == SERVING:
            raise OperationFailed("serving", f"{seat.name} still gets traffic: shift it first")
        steering.drain(seat)
    ended = _wait_empty(steering, seat, seconds, tell)
    told = ""
    if not ended:
        left = steering.sessions(steering.stats(), seat.service, seat.server)
        told = f"ended {left} sessions after {seconds:g} s"
        steering.end_sessions(seat.service, seat.server)
        if not _wait_empty(steering, seat, END_SECONDS, tell):
            raise OperationFailed("drain", f"the sessions of {seat.name} do not end")
    with steering.home.locked():
        table = steering.home.table()
        if table.find(*key) != seat:
            return "is wanted again"
        for backend in steering.backends(seat.service):
            steering.clear(backend, seat.server)
        steering.record(table.without(*key))
    return told


def detach(steering: Steering, key: Key) -> str:
    """Take a container out at once; what sessions it has end.

    Raises:
        OperationFailed: ``serving``: it gets traffic.
        RouterSilent, RouterRefused: HAProxy did not do it.
    """
    with steering.home.locked():
        table = healed(steering)
        seat = table.find(*key)
        if seat is None:
            return "was out already"
        if seat.state == SERVING:
            raise OperationFailed("serving", f"{seat.name} gets traffic: shift it first")
        steering.take_out(seat.service, seat.server)
        steering.record(table.without(*key))
    return ""


def healed(steering: Steering) -> Table:
    """Return the record, with HAProxy brought to it first: it, or a container, may have been restarted.

    Only for the holder of the lock.
    """
    recorded = steering.home.table()
    table = steering.refresh(recorded)
    if table != recorded:
        steering.home.put_table(table)
    steering.reconcile(table)
    return table


def _free(steering: Steering, table: Table, service: str) -> int:
    stats = steering.stats()
    slots = min(backends.slots(backend, table) for backend in steering.backends(service))
    busy = [number for number in range(1, slots + 1) if steering.sessions(stats, service, number)]
    server = table.free(service, slots, busy)
    if not server:
        raise OperationFailed("no-slot", f"all {slots} places of service {service!r} in the router are taken")
    return server


def _proven(steering: Steering, stats: Stats, seat: Seat) -> bool:
    found = list(steering.of_seat(stats, seat))
    return bool(found) and all(stat.status == "DRAIN" and stat.check.endswith("OK") for stat in found)


def _tried(steering: Steering, seat: Seat) -> str:
    found = steering.of_seat(steering.stats(), seat)
    return ", ".join(f"{stat.backend}: {stat.status} {stat.check}".rstrip() for stat in found)


def _await_up(steering: Steering, before: Table, taking: Iterable[Seat]) -> str:
    """Wait for those that have never served; tell of the others when they are down."""
    fresh: List[Seat] = []
    known: List[Seat] = []
    for seat in taking:
        earlier = before.find(*seat.key)
        (fresh if earlier is None or earlier.state == ATTACHED else known).append(seat)
    seconds = SHIFT_SECONDS if fresh else 0.0
    stats = steering.wait(seconds, lambda now: all(steering.is_up(now, seat) for seat in fresh))
    if stats is None:
        now = steering.stats()
        down = next((seat for seat in fresh if not steering.is_up(now, seat)), None)
        if down is not None:
            checks = _tried(steering, down)
            raise OperationFailed("unhealthy", f"{down.name} does not take traffic: {checks}")
        stats = now
    sick = [seat.name for seat in known if not steering.is_up(stats, seat)]
    return f"the router finds {', '.join(sick)} unhealthy" if sick else ""


def _wait_empty(steering: Steering, seat: Seat, seconds: float, tell: Rounds) -> bool:
    seen = [-1]

    def empty(stats: Stats) -> bool:
        left = steering.sessions(stats, seat.service, seat.server)
        if left != seen[0]:
            seen[0] = left
            tell(f"{left} sessions left")
        return left == 0

    return steering.wait(seconds, empty) is not None
