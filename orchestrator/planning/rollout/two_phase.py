"""Blue-green and canary: all new instances beside all old ones, then the traffic.

Owns both halves, since they differ only in how the traffic moves. Staging gives nobody traffic; the
cutover begins when every host of the plan is armed. What is old stays as it is until the cutover has
been confirmed everywhere, so that going back is one more shift.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.rollout.order import Join
from orchestrator.planning.rollout.parts import COMES_UP, Parts, Staged
from orchestrator.planning.rollout.traffic import FULL, Traffic
from orchestrator.planning.types import CanaryStep, Change, JobPhase, Step, StepKind, Strategy
from orchestrator.protocol.routing import Member

MAX_ERROR_RATE = 0.5
"""Share of failed answers of new instances under full traffic that ends a bake: there is nothing left to
compare them with."""
CANARY_ERROR_RATE = 0.05
"""The same beside the old ones."""
CANARY_LATENCY = 3.0
"""Mean response time of canaries, relative to the old ones."""


def stage(parts: Parts, traffic: Traffic, changes: Sequence[Change], waits: tuple[str, ...]) -> Staged:
    """Return the steps that bring the new instances of one service up, proved and without traffic."""
    steps: list[Step] = []
    ends: list[str] = []
    for change in changes:
        made: list[Step] = []
        if change.action in COMES_UP:
            made.append(parts.start(change, waits))
        if traffic.routes(change) and not (change.action not in COMES_UP and traffic.is_serving(change)):
            made.append(traffic.attach(change, [step.id for step in made] or waits))
        if not made:
            continue
        tests = tuple(traffic.checks(change, (made[-1].id,)))
        steps += [*made, *tests]
        ends += [step.id for step in tests or made[-1:]]
    if ends:
        jobs = tuple(parts.jobs(changes[0].service, JobPhase.BEFORE_CUTOVER, ends))
        steps += jobs
        ends = [jobs[-1].id] if jobs else ends
    return Staged(tuple(steps), tuple(ends))


@dataclass(frozen=True)
class _Side:
    """One service on one host."""

    host: str
    new: tuple[Change, ...]
    """All that should serve there; none where the service leaves the host."""
    fresh: tuple[Change, ...]
    """Those of ``new`` that get their first traffic."""
    old: tuple[Member, ...]
    """Those that serve and go."""
    shrinks: bool
    """Whether fewer serve there afterwards."""


def cutover(
    parts: Parts, traffic: Traffic, service: str, changes: Sequence[Change], after: Join
) -> Iterator[Step]:
    """Yield the steps that move one service's traffic on all its hosts.

    Args:
        parts: The plan.
        traffic: Who gets it now.
        service: Its name.
        changes: All of the service, what is kept included.
        after: What the first move on each host waits for.
    """
    policy = parts.policy(service, routed=True)
    sides = tuple(_sides(traffic, service, changes))
    label = ""
    if policy.strategy is Strategy.CANARY and any(side.old and side.fresh for side in sides):
        label = " 100%"
        for step in policy.canary:
            made = tuple(_canary(traffic, service, sides, after, step))
            yield from made
            if gates := [item.id for item in made if item.kind is not StepKind.SHIFT]:
                after = Join(gates, len(sides))
    gains: list[str] = []
    # Where a service leaves a host or shrinks there, the others have to be ready for what comes.
    for side in sorted(sides, key=lambda side: side.shrinks):
        members = [traffic.new(change) for change in side.new]
        waits = Join(gains, len(sides)) if side.shrinks and gains else after
        moved = traffic.shift(side.host, service, members, waits, label)
        if moved is None:
            continue
        yield moved
        if not side.shrinks:
            gains.append(moved.id)
        if side.fresh and policy.bake > 0:
            yield traffic.watch(
                side.host,
                service,
                map(traffic.new, side.fresh),
                (moved.id,),
                seconds=policy.bake,
                label=label,
                max_error_rate=MAX_ERROR_RATE,
            )
            for change in side.fresh:
                yield from traffic.checks(change, (moved.id,), again=True)


def moves(traffic: Traffic, service: str, changes: Sequence[Change]) -> Iterator[str]:
    """Yield the hosts on which the cutover of a service moves anything."""
    for side in _sides(traffic, service, changes):
        if traffic.differs(side.host, service, map(traffic.new, side.new)):
            yield side.host


def _sides(traffic: Traffic, service: str, changes: Iterable[Change]) -> Iterator[_Side]:
    by_host: defaultdict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if traffic.routes(change) or traffic.routed(change):
            by_host[change.host].append(change)
    for host, here in sorted(by_host.items()):
        new = tuple(change for change in here if traffic.routes(change))
        serving = traffic.members(host, service)
        named = {(member.slot, member.release) for member in map(traffic.new, new)}
        known = {(member.slot, member.release) for member in serving}
        fresh = tuple(c for c in new if (c.slot, traffic.new(c).release) not in known)
        goes = tuple(member for member in serving if (member.slot, member.release) not in named)
        yield _Side(host, new, fresh, goes, shrinks=len(new) < len(serving))


def _canary(
    traffic: Traffic, service: str, sides: Sequence[_Side], after: Join, step: CanaryStep
) -> Iterator[Step]:
    """Yield one step of the way on every host that has both sides, and what judges it."""
    label = f" {step.weight}%"
    for side in sides:
        if not (side.fresh and side.old):
            continue
        kept = [change for change in side.new if change not in side.fresh]
        high, low = split(step.weight, len(side.fresh), len(side.old) + len(kept))
        fresh = [traffic.new(change, high) for change in side.fresh]
        members = [
            *fresh,
            *(traffic.new(change, low) for change in kept),
            *(replace(member, weight=low) for member in side.old),
        ]
        moved = traffic.shift(side.host, service, members, after, label)
        if moved is None:
            continue
        yield moved
        yield traffic.watch(
            side.host,
            service,
            fresh,
            (moved.id,),
            seconds=step.bake,
            label=label,
            max_error_rate=CANARY_ERROR_RATE,
            max_latency_ratio=CANARY_LATENCY,
        )
        for change in side.fresh:
            yield from traffic.checks(change, (moved.id,), again=True)


def split(percent: int, new: int, old: int) -> tuple[int, int]:
    """Return the weight of each new and of each old instance that gives the new ones ``percent`` in all.

    The greater weight is HAProxy's greatest, so that the ratio is as exact as it can be; no weight is 0,
    which would drain.

    Raises:
        ValueError: There are none of one side.
    """
    if new < 1 or old < 1:
        raise ValueError("a share needs both sides")
    share_new, share_old = percent / new, (100 - percent) / old
    scale = FULL / max(share_new, share_old)
    return max(1, round(share_new * scale)), max(1, round(share_old * scale))
