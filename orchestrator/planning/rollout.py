"""Plan -> ordered steps: a dataflow, without barriers.

Owns the order: images before starts, dependencies before dependents, the new one before the old one
stops (or after, where both cannot exist), one replacement of a service at a time, removals when all
that could still use them has been replaced, the record when everything stands, clean-up last.
It must not know how a step is carried out.

Edges stay linear in the number of instances: where many steps wait for many, they wait through one.
"""

from __future__ import annotations

import graphlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.clashes import clashes, stops
from orchestrator.planning.types import Action, Change, Plan, Step, StepKind
from orchestrator.protocol.messages import ReleaseRecord

_SWAPS = frozenset({Action.REPLACE, Action.REPLACE_STOP_FIRST, Action.RESUME})


def rollout(plan: Plan, records: Mapping[str, ReleaseRecord], *, max_parallel: int = 1) -> tuple[Step, ...]:
    """Return the steps of ``plan``, predecessors first.

    Args:
        plan: A plan whose artifacts all have ids.
        records: What to commit on each of ``plan.participants``; see :func:`.release.records`.
        max_parallel: How many instances of one service may be under replacement at the same time.

    Raises:
        ValueError: ``plan`` still has images to build, or ``max_parallel`` is below one.
    """
    if plan.builds:
        raise ValueError(f"image {plan.builds[0].name} has no id yet")
    if max_parallel < 1:
        raise ValueError(f"max_parallel is {max_parallel}")
    made = _Rollout(plan, max_parallel)
    essential = _predecessors_first([*made.ships(), *made.changes(), *made.removals()])
    return (*essential, *made.ending(essential, records))


class _Rollout:
    """One plan on its way to steps."""

    def __init__(self, plan: Plan, max_parallel: int) -> None:
        self._plan = plan
        self._max_parallel = max_parallel
        self._names: set[str] = set()
        self._shipped: dict[tuple[str, str], str] = {}
        self._held = clashes(plan.changes)
        self._frees: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        """(service, slot) -> stops of others that it must wait for: they hold its port."""
        self._stop_of: dict[str, str] = {}
        """Container id -> id of the step that stops it."""
        self._started: defaultdict[str, list[str]] = defaultdict(list)
        """Service -> steps that bring up its new instances."""
        self._start_of: dict[tuple[str, int], str] = {}
        for change in plan.changes:
            if stops(change) and change.current is not None:
                container = change.current.container.id
                name = self._name(f"stop {change.host} {change.name}", container)
                self._stop_of[container] = name
                for other in self._held.get(container, ()):
                    self._frees[other.service, other.slot].append(name)

    def ships(self) -> Iterator[Step]:
        """Yield one step for each image and host that lacks it."""
        names = {artifact.id: artifact.name for artifact in self._plan.desired.artifacts}
        for host, image in self._plan.ships:
            label = names.get(image, image.removeprefix("sha256:")[:12])
            step = Step(self._name(f"ship {host} {label}", image), StepKind.SHIP, host, image=image)
            self._shipped[host, image] = step.id
            yield step

    def changes(self) -> Iterator[Step]:
        """Yield the steps of everything that starts, service by service, dependencies first."""
        by_service: defaultdict[str, list[Change]] = defaultdict(list)
        for change in self._plan.changes:
            if change.action is Action.CREATE or change.action in _SWAPS:
                by_service[change.service].append(change)
        ready: dict[str, tuple[str, ...]] = {}
        for service, needs in _ordered(self._plan.desired.depends_on):
            # A dependency that does not change stands for those it depends on itself.
            waits = tuple(dict.fromkeys(step for needed in needs for step in ready.get(needed, ())))
            ends: list[str] = []
            for change in by_service.get(service, ()):
                swap = change.action in _SWAPS
                chain = [ends[-self._max_parallel]] if swap and len(ends) >= self._max_parallel else []
                made = tuple(self._swap(change, waits, chain))
                yield from made
                if swap:
                    ends.append(made[-1].id)
            ready[service] = tuple(self._started[service]) or waits

    def removals(self) -> Iterator[Step]:
        """Yield the stops of what is no longer wanted, dependents before what they depended on."""
        spare: list[Change] = []
        gone: list[Change] = []
        desired = {item.key for item in self._plan.desired.instances}
        for change in self._plan.changes:
            if change.action is Action.REMOVE and change.current is not None:
                (spare if (change.service, change.slot) in desired else gone).append(change)
        for change in spare:
            yield self._removal(change, [self._start_of.get((change.service, change.slot), "")])
        everything = [*self._stop_of_swaps(), *(step for made in self._started.values() for step in made)]
        depends = dict(self._plan.previous.depends_on if self._plan.previous else ())
        by_service: defaultdict[str, list[Change]] = defaultdict(list)
        for change in gone:
            by_service[change.service].append(change)
        removed: dict[str, list[str]] = {}
        order = _ordered((service, depends.get(service, ())) for service in sorted(by_service))
        dependents: defaultdict[str, list[str]] = defaultdict(list)
        waits = everything
        for service, needs in reversed([item for item in order if item[0] in by_service]):
            after = [step for other in dependents[service] for step in removed[other]]
            for change in by_service[service]:
                step = self._removal(change, after or waits)
                removed.setdefault(service, []).append(step.id)
                yield step
                if waits is everything and step.after and not after:
                    # The others wait through this one, which waits for everything.
                    waits = [step.id]
            for needed in needs:
                dependents[needed].append(service)

    def ending(self, essential: Iterable[Step], records: Mapping[str, ReleaseRecord]) -> Iterator[Step]:
        """Yield the commits, one host after all others' work and the others after it, and the clean-up."""
        essential = tuple(essential)
        inner = {before for step in essential for before in step.after}
        sinks = tuple(step.id for step in essential if step.id not in inner)
        commits: dict[str, str] = {}
        for host in self._plan.participants:
            first = next(iter(commits.values()), None)
            commits[host] = f"commit {host}"
            after = sinks if first is None else (first,)
            yield Step(commits[host], StepKind.COMMIT, host, after, record=records[host])
        yield from self._clean_up(commits, sinks)

    def _clean_up(self, commits: Mapping[str, str], sinks: tuple[str, ...]) -> Iterator[Step]:
        last = list(commits.values())[-1:]
        removes: defaultdict[str, list[str]] = defaultdict(list)

        def gate(host: str) -> tuple[str, ...]:
            # Nothing is deleted on a host before its own record is written.
            end = [commits[host]] if host in commits else last
            return tuple(end) or sinks

        for change in self._plan.changes:
            if change.action is Action.DISCARD and change.current is not None:
                container = change.current.container.id
                name = self._name(f"remove {change.host} {change.name} {container[:12]}", container)
                yield Step(
                    name,
                    StepKind.REMOVE,
                    change.host,
                    gate(change.host),
                    service=change.service,
                    slot=change.slot,
                    container=container,
                    essential=False,
                )
                removes[change.host].append(name)
        for kind, items in (
            (StepKind.FORGET, self._plan.forgets),
            (StepKind.REMOVE_IMAGE, self._plan.images),
            (StepKind.REMOVE_VOLUME, self._plan.volumes),
        ):
            for host, what in items:
                label = what.removeprefix("sha256:")[:12] if kind is StepKind.REMOVE_IMAGE else what
                yield Step(
                    self._name(f"{kind.value} {host} {label}", what),
                    kind,
                    host,
                    (*gate(host), *removes[host]),
                    name=what,
                    essential=False,
                )

    def _swap(self, change: Change, waits: tuple[str, ...], chain: list[str]) -> Iterator[Step]:
        """Yield what brings one instance up, and what takes its predecessor down, in their order."""
        desired = change.desired
        assert desired is not None  # noqa: S101 - a change that starts something says what
        shipped = self._shipped.get((change.host, desired.config.image), "")
        before = [shipped, *waits, *chain]
        stop = self._stop(change)
        held = stop is not None and stop.container in self._held
        stop_first = change.action is Action.REPLACE_STOP_FIRST or (
            change.action is Action.RESUME and (desired.stop_first or held)
        )
        if stop is not None and stop_first:
            # When another waits for its port, perhaps one that this one depends on, it stops at once.
            stop = replace(stop, after=_unique([shipped] if held else before))
            yield stop
            before = [*before, stop.id]
        start = self._start(change, [*before, *self._frees[change.service, change.slot]])
        yield start
        self._started[change.service].append(start.id)
        self._start_of[change.service, change.slot] = start.id
        if stop is not None and not stop_first:
            yield replace(stop, after=(start.id,))

    def _start(self, change: Change, after: Iterable[str]) -> Step:
        resumes = change.resumes
        kind = StepKind.RESUME if resumes is not None else StepKind.START
        return Step(
            self._name(f"{kind.value} {change.host} {change.name}", ""),
            kind,
            change.host,
            _unique(after),
            service=change.service,
            slot=change.slot,
            desired=change.desired,
            container=resumes.container.id if resumes is not None else "",
        )

    def _stop(self, change: Change) -> Step | None:
        """Return the stop of what a change replaces or removes; ``None`` when it does not run."""
        if change.current is None or change.current.container.id not in self._stop_of:
            return None
        container = change.current.container.id
        return Step(
            self._stop_of[container],
            StepKind.STOP,
            change.host,
            service=change.service,
            slot=change.slot,
            container=container,
            faulty=change.current.container.health == "unhealthy" or not change.current.container.intact,
        )

    def _removal(self, change: Change, after: Iterable[str]) -> Step:
        step = self._stop(change)
        assert step is not None  # noqa: S101 - only what is active is ever removed
        held = step.container in self._held
        return replace(step, after=() if held else _unique(after))

    def _stop_of_swaps(self) -> Iterator[str]:
        for change in self._plan.changes:
            if change.action in _SWAPS and (stop := self._stop(change)) is not None:
                yield stop.id

    def _name(self, name: str, container: str) -> str:
        unique = name if name not in self._names else f"{name} ({container.removeprefix('sha256:')[:12]})"
        while unique in self._names:
            unique += "'"
        self._names.add(unique)
        return unique


def _predecessors_first(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return ``steps`` in an order they can be carried out in, else as they were (Kahn's algorithm)."""
    place = {step.id: number for number, step in enumerate(steps)}
    waits = [len(step.after) for step in steps]
    then: defaultdict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for before in step.after:
            then[before].append(number)
    ready = [number for number, count in enumerate(waits) if not count]
    order: list[Step] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        order.append(step)
        for number in then[step.id]:
            waits[number] -= 1
            if not waits[number]:
                heapq.heappush(ready, number)
    if len(order) < len(place):
        left = sorted(place.keys() - {step.id for step in order})
        raise AssertionError(f"steps wait for each other: {left[:5]}")
    return tuple(order)


def _unique(after: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step for step in after if step))


def _ordered(
    depends_on: Iterable[tuple[str, tuple[str, ...]]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the services with what they depend on, dependencies first, else in order of name."""
    needs = dict(depends_on)
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        layer = sorted(sorter.get_ready())
        order += layer
        sorter.done(*layer)
    return tuple((service, needs.get(service, ())) for service in order)
