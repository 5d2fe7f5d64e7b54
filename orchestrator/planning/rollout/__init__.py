"""Plan -> ordered steps: a dataflow, without barriers but one, the cutover.

::

    order.py      names and edges
    parts.py      ship, start, stop, job: what every strategy is made of
    plain.py      services that no router serves
    traffic.py    who gets a service's traffic: attach, check, shift, watch, drain
    two_phase.py  blue-green and canary
    rolling.py    rolling and recreate
    pictures.py   what each router serves before, during and after
    cutover.py    arm, move, look, confirm: one transaction on all hosts
    ending.py     the record, retirement, clean-up
    holding.py    what is remembered instead of a cutover

Owns the order: images before starts, dependencies before dependents, the new one before the old one
stops (or after, where both cannot exist), traffic before the old one goes, the record when everything
stands, clean-up last. It must not know how a step is carried out.

Edges stay linear in the number of instances: where many steps wait for many, they wait through one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from orchestrator.planning.clashes import stops
from orchestrator.planning.rollout import pictures, plain, rolling, two_phase
from orchestrator.planning.rollout.cutover import cutover
from orchestrator.planning.rollout.ending import Ending
from orchestrator.planning.rollout.holding import holds, refuse_what_cannot_be_held
from orchestrator.planning.rollout.order import predecessors_first
from orchestrator.planning.rollout.parts import Parts
from orchestrator.planning.rollout.traffic import Traffic
from orchestrator.planning.types import Action, Change, Plan, Step, StepKind, Strategy
from orchestrator.protocol.messages import ReleaseRecord

__all__ = ["rollout"]

_TWO_PHASE = frozenset({Strategy.BLUE_GREEN, Strategy.CANARY})


def rollout(plan: Plan, records: Mapping[str, ReleaseRecord], *, max_parallel: int = 1) -> tuple[Step, ...]:
    """Return the steps of ``plan``, predecessors first.

    Args:
        plan: A plan whose artifacts all have ids.
        records: What to commit on each of ``plan.participants``; see :func:`.release.records`.
        max_parallel: How many instances of one service may be under replacement at the same time, where
            its spec says nothing.

    Raises:
        ValueError: ``plan`` still has images to build, or ``max_parallel`` is below one.
        RequestError: ``plan`` is to be held and something in it cannot be.
    """
    if plan.builds:
        raise ValueError(f"image {plan.builds[0].name} has no id yet")
    if max_parallel < 1:
        raise ValueError(f"max_parallel is {max_parallel}")
    return _Rollout(plan, max_parallel).steps(records)


class _Rollout:
    """One plan on its way to steps."""

    def __init__(self, plan: Plan, max_parallel: int) -> None:
        self._plan = plan
        self._parts = Parts(plan, max_parallel)
        self._routers = tuple(pictures.pictures(change) for change in plan.routers)
        self._by_service: defaultdict[str, list[Change]] = defaultdict(list)
        for change in plan.changes:
            if change.action is not Action.DISCARD:
                self._by_service[change.service].append(change)
        self._ready: dict[str, str] = {}
        """Host -> the step after which its router has room for new instances."""
        self._traffic = Traffic(self._parts, self._ready)
        self._strategies = {service: self._strategy(service) for service in self._by_service}

    def steps(self, records: Mapping[str, ReleaseRecord]) -> tuple[Step, ...]:
        """Return everything, predecessors first."""
        if self._plan.hold:
            refuse_what_cannot_be_held(self._plan)
        staged = [*self._parts.ships(), *self._prepare()]
        staged += self._stage()
        retired, removed = self._goes()
        if self._plan.hold:
            essential = predecessors_first(staged)
            return (*essential, *holds(self._parts, essential, records, (*retired, *removed)))
        two_phase_services = {
            service: self._by_service[service]
            for service, _ in self._parts.order
            if self._strategies.get(service) in _TWO_PHASE
        }
        moved = cutover(self._parts, self._traffic, self._routers, two_phase_services, staged)
        if not moved:
            staged += self._removals(removed, staged)
            removed = ()
        essential = predecessors_first([*staged, *moved])
        ending = Ending(self._parts, self._traffic, essential, records)
        return (*essential, *ending.steps(retired, removed, self._routers))

    def _strategy(self, service: str) -> Strategy | None:
        """Return how a service is replaced; ``None`` where no router is part of it."""
        changes = self._by_service[service]
        routed = any(self._traffic.routes(item) or self._traffic.routed(item) for item in changes)
        if not routed or not self._plan.participants:
            return None
        strategy = self._parts.policy(service, routed=True).strategy
        if strategy in _TWO_PHASE and any(self._parts.stop_first(item) for item in changes):
            return Strategy.RECREATE
        return strategy

    def _prepare(self) -> list[Step]:
        """Return what makes routers ready: guards of earlier runs released, room for new instances."""
        steps: list[Step] = []
        for host, name in self._plan.armed:
            step = Step(self._parts.name(f"disarm {host}"), StepKind.DISARM, host, name=name)
            self._ready[host] = step.id
            steps.append(step)
        for made in self._routers:
            host = made.change.host
            before = (self._ready[host],) if host in self._ready else ()
            for step in pictures.stage(self._parts, made, before):
                self._ready[host] = step.id
                steps.append(step)
        return steps

    def _stage(self) -> list[Step]:
        """Return the steps of everything that starts, service by service, dependencies first."""
        steps: list[Step] = []
        ready: dict[str, tuple[str, ...]] = {}
        for service, needs in self._parts.order:
            # A dependency that does not change stands for those it depends on itself.
            waits = tuple(dict.fromkeys(step for needed in needs for step in ready.get(needed, ())))
            ready[service] = waits
            changes = self._by_service.get(service)
            if not changes:
                continue
            strategy = self._strategies[service]
            if strategy is None:
                staged = plain.stage(self._parts, service, changes, waits)
            elif strategy in _TWO_PHASE:
                staged = two_phase.stage(self._parts, self._traffic, changes, waits)
            else:
                staged = rolling.stage(self._parts, self._traffic, changes, waits)
            steps += staged.steps
            ready[service] = staged.ready or waits
        return steps

    def _goes(self) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
        """Return the changes whose old instances outlive the staging: those routers serve, and others."""
        retired: list[Change] = []
        removed: list[Change] = []
        services = {service for service, _ in self._parts.order}
        for service, changes in self._by_service.items():
            strategy = self._strategies[service]
            for change in filter(stops, changes):
                in_place = strategy in {Strategy.ROLLING, Strategy.RECREATE} and service in services
                replaced = change.desired is not None and strategy is None
                if in_place or (replaced and not self._plan.hold):
                    continue
                held = strategy is None or self._parts.blocks(change)
                (removed if held else retired).append(change)
        return tuple(retired), tuple(removed)

    def _removals(self, removed: Sequence[Change], staged: Sequence[Step]) -> list[Step]:
        """Return the stops of what no router serves, when nothing has to be confirmed first."""
        stopped = [step.id for step in staged if step.kind is StepKind.STOP]
        starts = [step for step in staged if step.kind in _BRINGS_UP]
        waits = [*stopped, *(step.id for step in starts)]
        slots = {(step.service, step.slot): step.id for step in starts}
        return list(plain.removals(self._parts, removed, waits, slots))


_BRINGS_UP = frozenset({StepKind.START, StepKind.RESUME})
