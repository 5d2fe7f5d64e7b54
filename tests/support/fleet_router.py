"""What the routers of the fleet in memory serve, and what an agent does to them: no sockets, no clock.

Owns the table (who is attached, with which weight), the guard of a cutover and a held release. What would
cost a request on a real host (stopping or detaching what has traffic) is noted as a *loss*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from support.fleet_faults import Failing

from orchestrator.protocol import messages as m
from orchestrator.protocol import routing as r

if TYPE_CHECKING:
    from support.fleet_host import FakeHost

Key = tuple[str, int, str]
"""(service, slot, release)."""
At = Callable[[str], bool]
Piece = Iterator[m.OperationProgress]


@dataclass
class FakeRouter:
    """One host's router, its guard and its held release."""

    host: FakeHost
    picture: r.RouterConfig | None = None
    table: dict[Key, int] = field(default_factory=dict)
    guard: r.Guard | None = None
    held: m.Held | None = None
    jobs: list[tuple[str, str]] = field(default_factory=list)
    """(release, name) of every job that ran, in order."""
    losses: list[str] = field(default_factory=list)
    _saved: tuple[r.RouterConfig | None, dict[Key, int], tuple[str, ...]] = (None, {}, ())

    def serving(self, service: str) -> list[Key]:
        """Return who gets the traffic of a service, as far as it runs."""
        return sorted(k for k, weight in self.table.items() if k[0] == service and weight and self._runs(k))

    def stops(self, container: str) -> None:
        """Note a loss when a container that has traffic is about to stop."""
        for key, weight in self.table.items():
            if weight and self.host.find(key) == container and self._leads_to(key[0]):
                self.losses.append(f"{self.host.name}: {key} stopped under traffic")

    def _leads_to(self, service: str) -> bool:
        """Tell whether anybody can still ask for a service here."""
        if self.picture is None:
            return False
        routed = {route.backend for listener in self.picture.listeners for route in listener.routes}
        routed |= {virtual.backend for virtual in self.picture.virtuals}
        return any(backend.service == service and backend.name in routed for backend in self.picture.backends)

    def expire(self) -> None:
        """Let the time for a confirm be up: the host goes back by itself."""
        if self.guard is not None and self.guard.state == "armed":
            self.picture, table, containers = self._saved
            self.table = dict(table)
            for container in containers:
                if container in self.host.containers:
                    self.host.containers[container].state = "running"
            self.guard = r.Guard(self.guard.cutover, "reverted")

    def confirm(self, cutover: str) -> m.Confirmed:
        """Answer a ``confirm``."""
        if self.guard is None or self.guard.cutover != cutover:
            raise Failing("not-found", f"no cutover {cutover}")
        if self.guard.state == "armed":
            self.guard = r.Guard(cutover, "confirmed")
        return m.Confirmed(self.guard.state)

    def report(self) -> r.RoutingReport | None:
        """Answer the routing part of an ``observe``."""
        if self.picture is None and self.guard is None:
            return None
        servers = tuple(
            r.Assigned(
                f"{service}_80",
                f"s{number}",
                service,
                slot,
                release,
                self.host.find((service, slot, release)) or "",
                state="UP" if weight else "DRAIN",
                weight=weight,
                recorded_weight=weight,
            )
            for number, ((service, slot, release), weight) in enumerate(sorted(self.table.items()), 1)
        )
        digest = self.picture.digest if self.picture is not None else ""
        return r.RoutingReport(digest, running=True, servers=servers, guard=self.guard)

    @property
    def state(self) -> list[object]:
        """What a plan depends on."""
        picture = self.picture.digest if self.picture is not None else ""
        held = self.held.record.id if self.held is not None else ""
        return [picture, [[*key, weight] for key, weight in sorted(self.table.items())], held]

    # --- operations ------------------------------------------------------------------------------

    def carry_out(self, op: m.Operation, at: At) -> Piece:
        """Carry out one operation on the router, in two pieces."""
        begins, ends = _POINTS[op.kind]
        if not at(begins):
            return
        yield m.OperationProgress(op.id, begins)
        if self.host.down:
            return
        getattr(self, f"_{op.kind}")(op)
        if at(ends):
            yield m.OperationProgress(op.id, "done", seconds=1.0)

    def _router(self, op: m.Operation) -> None:
        self.picture = op.router
        if op.router is None:
            self.table.clear()

    def _attach(self, op: m.Operation) -> None:
        key = (op.service, op.slot, op.release)
        if not self._runs(key):
            raise Failing("unhealthy", f"{key} does not run")
        self.table.setdefault(key, 0)

    def _detach(self, op: m.Operation) -> None:
        if self.table.pop((op.service, op.slot, op.release), 0):
            self.losses.append(f"{self.host.name}: {op.service}[{op.slot}] detached under traffic")

    def _shift(self, op: m.Operation) -> None:
        assert op.shift is not None
        named = {(op.shift.service, item.slot, item.release): item.weight for item in op.shift.members}
        if missing := named.keys() - self.table.keys():
            raise Failing("not-found", f"not attached: {sorted(missing)}")
        for key in self.table:
            if key[0] == op.shift.service:
                self.table[key] = named.get(key, 0)

    def _drain(self, op: m.Operation) -> None:
        self.table.pop((op.service, op.slot, op.release), None)

    def _watch(self, op: m.Operation) -> None:
        assert op.watch is not None
        for member in op.watch.members:
            key = (op.watch.service, member.slot, member.release)
            if not self._runs(key) or not self.table.get(key):
                raise Failing("unhealthy", f"{key} has no traffic")

    def _check(self, op: m.Operation) -> None:
        assert op.check is not None
        if not self._runs((op.check.service, op.check.slot, op.check.release)):
            raise Failing("check", "it does not run")

    def _job(self, op: m.Operation) -> None:
        assert op.config is not None
        if (op.release, op.name) not in self.jobs:
            self.jobs.append((op.release, op.name))

    def _arm(self, op: m.Operation) -> None:
        assert op.arm is not None
        self._saved = (self.picture, dict(self.table), op.arm.containers)
        self.guard = r.Guard(op.arm.cutover, "armed", op.arm.seconds)

    def _disarm(self, op: m.Operation) -> None:
        assert op.arm is not None
        if self.guard is not None and (self.guard.cutover, self.guard.state) == (op.arm.cutover, "armed"):
            self.guard = None

    def _hold(self, op: m.Operation) -> None:
        self.held = op.held

    def _unhold(self, op: m.Operation) -> None:
        self.held = None

    def _runs(self, key: Key) -> bool:
        return self.host.find(key) in self.host.running


_POINTS = {
    "router": ("configuring", "configured"),
    "attach": ("attaching", "attached"),
    "detach": ("detaching", "detached"),
    "shift": ("shifting", "shifted"),
    "drain": ("draining", "drained"),
    "watch": ("watching", "watched"),
    "check": ("checking", "checked"),
    "job": ("running", "ran"),
    "arm": ("arming", "armed"),
    "disarm": ("disarming", "disarmed"),
    "hold": ("holding", "held"),
    "unhold": ("unholding", "unheld"),
}
KINDS = frozenset(_POINTS)
"""Operations on a router."""
