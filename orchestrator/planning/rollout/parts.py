"""The steps every strategy is made of: ship, start, stop, job.

Owns their names and what each must wait for by its nature (its image, a port that is freed). It must not
know routers, nor in which order a strategy wants them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestrator.planning.clashes import clashes, stops
from orchestrator.planning.rollout.order import Names, services_in_order, unique
from orchestrator.planning.types import Action, Change, JobPhase, Plan, Step, StepKind, Strategy, UpdatePolicy

SWAPS = frozenset({Action.REPLACE, Action.REPLACE_STOP_FIRST, Action.RESUME})
"""Actions that put a new instance in the place of an old one."""
COMES_UP = SWAPS | {Action.CREATE}
"""Actions that bring an instance up."""

_BLUE_GREEN = UpdatePolicy(Strategy.BLUE_GREEN)


class Parts:
    """One plan on its way to steps.

    Args:
        plan: What is rolled out.
        max_parallel: Instances under replacement at the same time, of services without a policy.
    """

    def __init__(self, plan: Plan, max_parallel: int) -> None:
        self.plan = plan
        self.order = services_in_order(plan.desired.depends_on)
        self.shipped: dict[tuple[str, str], str] = {}
        self._policies = dict(plan.desired.updates)
        self._default = UpdatePolicy(Strategy.ROLLING, max_parallel=max_parallel)
        self._names = Names()
        self._held = clashes(plan.changes)
        self._frees: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        """(service, slot) -> stops of others that it must wait for: they hold its port."""
        self._stop_of: dict[str, str] = {}
        """Container id -> id of the step that stops it."""
        for change in plan.changes:
            if stops(change) and change.current is not None:
                container = change.current.container.id
                name = self.name(f"stop {change.host} {change.name}", container)
                self._stop_of[container] = name
                for other in self._held.get(container, ()):
                    self._frees[other.service, other.slot].append(name)

    def name(self, name: str, mark: str = "") -> str:
        """Return an id that no step has yet; ``mark`` tells it from another of the same name."""
        return self._names.unique(name, mark)

    def policy(self, service: str, *, routed: bool = False) -> UpdatePolicy:
        """Return how a service is replaced; without a word in the spec what is routed is blue-green."""
        return self._policies.get(service, _BLUE_GREEN if routed else self._default)

    def ships(self) -> Iterator[Step]:
        """Yield one step for each image and host that lacks it."""
        names = {artifact.id: artifact.name for artifact in self.plan.desired.artifacts}
        for host, image in self.plan.ships:
            label = names.get(image, image.removeprefix("sha256:")[:12])
            step = Step(self.name(f"ship {host} {label}", image), StepKind.SHIP, host, image=image)
            self.shipped[host, image] = step.id
            yield step

    def ship_of(self, change: Change) -> str:
        """Return the step that brings a change's image; empty when the host has it."""
        image = change.desired.config.image if change.desired is not None else ""
        return self.shipped.get((change.host, image), "")

    def start(self, change: Change, after: Iterable[str]) -> Step:
        """Return the step that brings up the instance of ``change``, once its image and ports are there."""
        resumes = change.resumes
        kind = StepKind.RESUME if resumes is not None else StepKind.START
        frees = self._frees[change.service, change.slot]
        policy = self.policy(change.service)
        return Step(
            self.name(f"{kind.value} {change.host} {change.name}"),
            kind,
            change.host,
            unique([self.ship_of(change), *after, *frees]),
            service=change.service,
            slot=change.slot,
            desired=change.desired,
            container=resumes.container.id if resumes is not None else "",
            seconds=policy.start_deadline,
            progress=policy.progress_deadline,
        )

    def stop(self, change: Change, after: Iterable[str] = ()) -> Step | None:
        """Return the stop of what a change replaces or removes; ``None`` when it does not run."""
        if change.current is None or change.current.container.id not in self._stop_of:
            return None
        container = change.current.container.id
        return Step(
            self._stop_of[container],
            StepKind.STOP,
            change.host,
            unique(after),
            service=change.service,
            slot=change.slot,
            container=container,
            seconds=self.policy(change.service).start_deadline,
            faulty=change.current.container.health == "unhealthy" or not change.current.container.intact,
        )

    def stop_named(self, container: str) -> str:
        """Return the id of the step that stops a container; empty when none does."""
        return self._stop_of.get(container, "")

    def blocks(self, change: Change) -> bool:
        """Tell whether what a change stops holds a port that another instance waits for."""
        return change.current is not None and change.current.container.id in self._held

    def stop_first(self, change: Change) -> bool:
        """Tell whether the old instance has to stop before the new one can start."""
        return stops_first(change) or (change.action is Action.RESUME and self.blocks(change))

    def jobs(self, service: str, phase: JobPhase, after: Iterable[str]) -> Iterator[Step]:
        """Yield a service's jobs of one phase, one after the other; none runs twice in a release."""
        gate = unique(after)
        last = ""
        number = 0
        for owner, when, desired in self.plan.desired.jobs:
            if (owner, when) != (service, phase):
                continue
            number += 1
            shipped = self.shipped.get((desired.host, desired.config.image), "")
            name = f"{service}-{phase.value}-{number}"
            step = Step(
                self.name(f"job {desired.host} {name}"),
                StepKind.JOB,
                desired.host,
                unique([shipped, *gate, last]),
                service=service,
                slot=desired.slot,
                desired=desired,
                name=name,
                seconds=desired.config.healthcheck.deadline,
                essential=phase is JobPhase.BEFORE_CUTOVER,
            )
            yield step
            last = step.id


@dataclass(frozen=True)
class Staged:
    """What a service needs before others may build on it."""

    steps: tuple[Step, ...] = ()
    ready: tuple[str, ...] = ()
    """Steps that prove its new instances; empty when it gets none."""


def stops_first(change: Change) -> bool:
    """Tell whether old and new cannot exist side by side, by what they are."""
    return change.action is Action.REPLACE_STOP_FIRST or (
        change.action is Action.RESUME and change.desired is not None and change.desired.stop_first
    )
