"""Rolling and recreate: a batch at a time, each proved before the next.

Owns the order within a batch. Rolling starts the new ones first, so that as many serve as before at any
moment; recreate takes the old ones out first, for what cannot exist twice, and no more of them at a time
than may be missing. Going back is the same way in reverse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.planning.rollout.parts import COMES_UP, SWAPS, Parts, Staged
from orchestrator.planning.rollout.traffic import Traffic, old
from orchestrator.planning.types import Change, JobPhase, Step, Strategy, UpdatePolicy
from orchestrator.protocol.routing import Member


def stage(parts: Parts, traffic: Traffic, changes: Sequence[Change], waits: tuple[str, ...]) -> Staged:
    """Return the steps that replace the instances of one routed service, batch by batch."""
    service = changes[0].service
    policy = parts.policy(service, routed=True)
    stop_first = policy.strategy is Strategy.RECREATE or any(parts.stop_first(item) for item in changes)
    batches = _batches(traffic, changes, policy, stop_first=stop_first)
    steps = list(parts.jobs(service, JobPhase.BEFORE_CUTOVER, waits)) if batches else []
    before = (steps[-1].id,) if steps else waits
    ready: tuple[str, ...] = ()
    for batch in batches:
        made = _Batch(parts, traffic, policy, batch)
        (made.stop_first if stop_first else made.start_first)(before)
        steps += made.steps
        before = made.ends or before
        ready = made.proved or ready
    return Staged(tuple(steps), ready)


def _batches(
    traffic: Traffic, changes: Sequence[Change], policy: UpdatePolicy, *, stop_first: bool
) -> list[list[Change]]:
    """Split what changes: first what is added, then what is replaced, last what only goes."""
    added = [c for c in changes if c.action in COMES_UP - SWAPS]
    added += [
        c for c in changes if c.action not in COMES_UP and traffic.routes(c) and not traffic.is_serving(c)
    ]
    swaps = [c for c in changes if c.action in SWAPS]
    gone = [c for c in changes if c.desired is None and old(c) is not None]
    size = policy.max_parallel
    if stop_first:
        size = min(size, max(1, policy.max_unavailable))
    chunks = [swaps[start : start + size] for start in range(0, len(swaps), size)]
    return [batch for batch in (added, *chunks, gone) if batch]


class _Batch:
    """One batch of one service on its way to steps."""

    def __init__(
        self, parts: Parts, traffic: Traffic, policy: UpdatePolicy, changes: Sequence[Change]
    ) -> None:
        self._parts = parts
        self._traffic = traffic
        self._policy = policy
        self._changes = changes
        self.service = changes[0].service
        self.steps: list[Step] = []
        self.proved: tuple[str, ...] = ()
        """Steps that prove the new ones."""
        self.ends: tuple[str, ...] = ()
        """What the next batch waits for."""

    def start_first(self, before: tuple[str, ...]) -> None:
        """New ones up, traffic to them, a while to prove it, old ones down."""
        up = self._up(before)
        moved = self._shift(up or before)
        self.proved = self._watch(moved or up or before)
        down = self._down(self.proved or before)
        self.ends = down or self.proved

    def stop_first(self, before: tuple[str, ...]) -> None:
        """Traffic away from the old ones, those down, new ones up, traffic to them."""
        away = self._shift(before, up=False)
        down = self._down(away or before)
        up = self._up(down or before)
        moved = self._shift(up or down or before)
        self.proved = self._watch(moved or up)
        self.ends = self.proved or down

    def _up(self, before: tuple[str, ...]) -> tuple[str, ...]:
        ends: list[str] = []
        for change in self._changes:
            if change.desired is None:
                continue
            last: tuple[str, ...] = before
            if change.action in COMES_UP:
                start = self._parts.start(change, before)
                self.steps.append(start)
                last = (start.id,)
            if self._traffic.routes(change):
                attach = self._traffic.attach(change, last)
                self.steps.append(attach)
                last = (attach.id,)
            tests = tuple(self._traffic.checks(change, last))
            self.steps += tests
            ends += [step.id for step in tests] or last
        return tuple(dict.fromkeys(ends))

    def _shift(self, after: tuple[str, ...], *, up: bool = True) -> tuple[str, ...]:
        """Move the traffic of each host of the batch: away from the old, and to the new when ``up``."""
        by_host: defaultdict[str, list[Change]] = defaultdict(list)
        for change in self._changes:
            if self._traffic.routes(change) or self._traffic.routed(change):
                by_host[change.host].append(change)
        moved: list[str] = []
        for host, changes in sorted(by_host.items()):
            goes = {gone for change in changes if (gone := old(change)) is not None}
            kept = [m for m in self._traffic.members(host, self.service) if (m.slot, m.release) not in goes]
            new = [self._traffic.new(change) for change in changes if up and self._traffic.routes(change)]
            step = self._traffic.shift(host, self.service, _merged(kept, new), after, "" if up else " away")
            if step is not None:
                self.steps.append(step)
                moved.append(step.id)
        return tuple(moved)

    def _watch(self, after: tuple[str, ...]) -> tuple[str, ...]:
        """Look at the new ones under traffic; what no router serves has been proved by its start."""
        by_host: defaultdict[str, list[Member]] = defaultdict(list)
        for change in self._changes:
            if self._traffic.routes(change):
                by_host[change.host].append(self._traffic.new(change))
        made = [
            self._traffic.watch(host, self.service, members, after, seconds=self._policy.min_healthy)
            for host, members in sorted(by_host.items())
            if self._policy.min_healthy > 0
        ]
        self.steps += made
        return tuple(step.id for step in made) or after

    def _down(self, after: tuple[str, ...]) -> tuple[str, ...]:
        ends: list[str] = []
        for change in self._changes:
            drain = self._traffic.drain(change, after)
            stop = self._parts.stop(change, after if drain is None else (drain.id,))
            for step in (drain, stop):
                if step is not None:
                    self.steps.append(step)
            if stop is not None:
                ends.append(stop.id)
        return tuple(ends)


def _merged(kept: Iterable[Member], new: Iterable[Member]) -> list[Member]:
    """Return both, each instance once; a new one counts."""
    found = {(member.slot, member.release): member for member in (*kept, *new)}
    return list(found.values())
