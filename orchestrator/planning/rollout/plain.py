"""Services that no router serves: one replacement after the other, removals when nothing uses them.

Owns their order. What cannot exist twice stops before its successor starts; everything else stops once
its successor is healthy. While a release is held the old ones stay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.rollout.order import services_in_order, unique
from orchestrator.planning.rollout.parts import COMES_UP, SWAPS, Parts, Staged
from orchestrator.planning.types import Change, JobPhase, Step


def stage(parts: Parts, service: str, changes: Sequence[Change], waits: tuple[str, ...]) -> Staged:
    """Return the steps that bring a service's new instances up and take the replaced ones down."""
    policy = parts.policy(service)
    steps = list(parts.jobs(service, JobPhase.BEFORE_CUTOVER, waits)) if _comes_up(changes) else []
    waits = (steps[-1].id,) if steps else waits
    ends: list[str] = []
    starts: list[str] = []
    for change in changes:
        if change.action not in COMES_UP:
            continue
        swap = change.action in SWAPS
        together = policy.max_parallel
        if parts.stop_first(change):
            # What stops first is missing for a while: no more of them than may be, and one at least.
            together = min(together, max(1, policy.max_unavailable))
        chain = [ends[-together]] if swap and len(ends) >= together else []
        made = tuple(_swap(parts, change, (*waits, *chain)))
        steps += made
        starts += [step.id for step in made if step.desired is not None]
        if swap:
            ends.append(made[-1].id)
    return Staged(tuple(steps), tuple(starts))


def _comes_up(changes: Iterable[Change]) -> bool:
    return any(change.action in COMES_UP for change in changes)


def _swap(parts: Parts, change: Change, before: tuple[str, ...]) -> Iterator[Step]:
    """Yield what brings one instance up, and what takes its predecessor down, in their order."""
    stop = parts.stop(change)
    if stop is not None and parts.stop_first(change):
        shipped = parts.ship_of(change)
        # When another waits for its port, perhaps one that this one depends on, it stops at once.
        stop = replace(stop, after=unique([shipped] if parts.blocks(change) else [shipped, *before]))
        yield stop
        before = (*before, stop.id)
        stop = None
    start = parts.start(change, before)
    yield start
    if stop is not None and not parts.plan.hold:
        yield replace(stop, after=(start.id,))


def removals(
    parts: Parts, changes: Sequence[Change], waits: Sequence[str], starts: Mapping[tuple[str, int], str]
) -> Iterator[Step]:
    """Yield the stops of what is no longer wanted, dependents before what they depended on.

    Args:
        parts: The plan.
        changes: Those that remove something no router serves.
        waits: What has to be over first: whoever used what goes has been replaced by then.
        starts: (service, slot) -> the step that its second container goes after; else it goes at once.
    """
    desired = {item.key for item in parts.plan.desired.instances}
    spare = [change for change in changes if (change.service, change.slot) in desired]
    gone = [change for change in changes if (change.service, change.slot) not in desired]
    for change in spare:
        yield _removal(parts, change, [starts.get((change.service, change.slot), "")])
    yield from _gone(parts, gone, list(waits))


def _gone(parts: Parts, gone: Sequence[Change], everything: list[str]) -> Iterator[Step]:
    previous = parts.plan.previous
    depends: Mapping[str, tuple[str, ...]] = dict(previous.depends_on if previous else ())
    by_service: defaultdict[str, list[Change]] = defaultdict(list)
    for change in gone:
        by_service[change.service].append(change)
    removed: dict[str, list[str]] = {}
    order = services_in_order((service, depends.get(service, ())) for service in sorted(by_service))
    dependents: defaultdict[str, list[str]] = defaultdict(list)
    waits = everything
    for service, needs in reversed([item for item in order if item[0] in by_service]):
        after = [step for other in dependents[service] for step in removed[other]]
        for change in by_service[service]:
            step = _removal(parts, change, after or waits)
            removed.setdefault(service, []).append(step.id)
            yield step
            if waits is everything and step.after and not after:
                # The others wait through this one, which waits for everything.
                waits = [step.id]
        for needed in needs:
            dependents[needed].append(service)


def _removal(parts: Parts, change: Change, after: Iterable[str]) -> Step:
    step = parts.stop(change)
    assert step is not None  # noqa: S101 - only what is active is ever removed
    return replace(step, after=() if parts.blocks(change) else unique(after))
