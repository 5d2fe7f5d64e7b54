"""Who gets the traffic of a service on each host, and the steps that change it.

Owns the account of it while the steps are made: every :class:`~orchestrator.protocol.routing.Shift`
knows what was before it, which is what an undo puts back. It must not know strategies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from orchestrator.planning.clashes import stops
from orchestrator.planning.rollout.order import Join, unique
from orchestrator.planning.rollout.parts import COMES_UP, Parts
from orchestrator.planning.types import Change, Step, StepKind
from orchestrator.protocol.routing import Check, Member, Shift, Watch

FULL = 256
"""HAProxy's greatest weight."""


class Traffic:
    """The routers' tables, as far as the steps made so far have changed them."""

    def __init__(self, parts: Parts, ready: dict[str, str]) -> None:
        self._parts = parts
        self._ready = ready
        """Host -> the step after which its router knows every backend."""
        self._routed = frozenset(parts.plan.routed)
        self._before = {(host, shift.service): shift for host, shift in parts.plan.serving}
        self._now = dict(self._before)

    def routes(self, change: Change) -> bool:
        """Tell whether the instance that ``change`` wants gets its traffic from a router."""
        return change.desired is not None and (change.host, change.service) in self._routed

    def routed(self, change: Change) -> bool:
        """Tell whether what ``change`` replaces or removes may have got traffic from a router."""
        place = (change.host, change.service)
        return place in self._routed or place in self._before

    def members(self, host: str, service: str) -> tuple[Member, ...]:
        """Return who gets the traffic now."""
        shift = self._now.get((host, service))
        return shift.members if shift is not None else ()

    def served(self, host: str, service: str) -> tuple[Member, ...]:
        """Return who got the traffic before any of this."""
        shift = self._before.get((host, service))
        return shift.members if shift is not None else ()

    def new(self, change: Change, weight: int = FULL) -> Member:
        """Return the instance that ``change`` wants, as the router names it."""
        running = change.resumes or (change.current if change.action not in COMES_UP else None)
        release = running.container.release if running is not None else self._parts.plan.release
        return Member(change.slot, release, weight)

    def is_serving(self, change: Change) -> bool:
        """Tell whether the instance that ``change`` keeps gets traffic already."""
        wanted = self.new(change)
        members = self.members(change.host, change.service)
        return any((member.slot, member.release) == (wanted.slot, wanted.release) for member in members)

    def attach(self, change: Change, after: Iterable[str]) -> Step:
        """Return the step that gives the instance of ``change`` its place, without traffic."""
        release = self.new(change).release
        return Step(
            self._parts.name(f"attach {change.host} {change.name}"),
            StepKind.ATTACH,
            change.host,
            unique([*after, self._ready.get(change.host, "")]),
            service=change.service,
            slot=change.slot,
            release="" if release == self._parts.plan.release else release,
        )

    def checks(self, change: Change, after: Sequence[str], *, again: bool = False) -> Iterator[Step]:
        """Yield the tests of one new instance; ``again`` while it has traffic."""
        policy = self._parts.policy(change.service, routed=True)
        for number, check in enumerate(policy.checks, 1):
            label = f"check {change.host} {change.name} {number}{' again' if again else ''}"
            yield Step(
                self._parts.name(label),
                StepKind.CHECK,
                change.host,
                tuple(after),
                service=change.service,
                slot=change.slot,
                routing=Check(
                    change.service,
                    change.slot,
                    self.new(change).release,
                    check.command,
                    check.http,
                    check.port,
                    check.timeout,
                ),
            )

    def differs(self, host: str, service: str, members: Iterable[Member]) -> bool:
        """Tell whether others than ``members`` get the traffic now, or other shares of it."""
        return _shift(service, members) != self._now.get((host, service), Shift(service))

    def shift(
        self, host: str, service: str, members: Iterable[Member], after: Join | Sequence[str], label: str = ""
    ) -> Step | None:
        """Return the step that gives the traffic to ``members``; ``None`` when they have it."""
        if not self.differs(host, service, members := tuple(members)):
            return None
        wanted = _shift(service, members)
        before = self._now.get((host, service), Shift(service))
        self._now[host, service] = wanted
        name = self._parts.name(f"shift {host} {service}{label}")
        return Step(
            name,
            StepKind.SHIFT,
            host,
            after.after(name) if isinstance(after, Join) else tuple(after),
            service=service,
            routing=wanted,
            back=before,
        )

    def watch(
        self,
        host: str,
        service: str,
        members: Iterable[Member],
        after: Sequence[str],
        *,
        seconds: float,
        label: str = "",
        max_error_rate: float = 1.0,
        max_latency_ratio: float = 0.0,
    ) -> Step:
        """Return the step that looks at ``members`` for a while."""
        watch = Watch(service, tuple(members), seconds, max_error_rate, max_latency_ratio)
        name = self._parts.name(f"watch {host} {service}{label}")
        return Step(name, StepKind.WATCH, host, tuple(after), service=service, routing=watch)

    def drain(self, change: Change, after: Iterable[str]) -> Step | None:
        """Return the step that waits for the sessions of what goes; ``None`` when it has none."""
        if change.current is None or not stops(change) or not self.routed(change):
            return None
        container = change.current.container
        return Step(
            self._parts.name(f"drain {change.host} {change.name}", container.id),
            StepKind.DRAIN,
            change.host,
            unique(after),
            service=change.service,
            slot=change.slot,
            release=container.release,
            seconds=self._parts.policy(change.service, routed=True).drain,
        )


def _shift(service: str, members: Iterable[Member]) -> Shift:
    return Shift(service, tuple(sorted(members, key=lambda member: (member.slot, member.release))))


def old(change: Change) -> tuple[int, str] | None:
    """Return (slot, release) of what ``change`` stops; ``None`` when it stops nothing."""
    if change.current is None or not stops(change):
        return None
    return (change.slot, change.current.container.release)
