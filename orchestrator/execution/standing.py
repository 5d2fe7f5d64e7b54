"""Whether a run that stopped goes back at all.

Owns the two exceptions: a cutover that stands, and a rollout whose policy is to stay where it failed. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.execution.survey import Survey
from orchestrator.execution.world import ARMED, CONFIRMED, Execution
from orchestrator.planning.types import Plan, Step, StepKind, Strategy


def stands(steps: Sequence[Step], found: Survey) -> bool:
    """Tell whether every host was asked to confirm, none has gone back, and one at least stands.

    Before that the whole fleet goes back, hosts that have confirmed included: what is old still runs
    everywhere. From then on nothing is taken back.
    """
    confirms = [step.id for step in steps if step.kind is StepKind.CONFIRM]
    states = [found.guards.get(name, "") for name in confirms]
    return CONFIRMED in states and all(state in {CONFIRMED, ARMED} for state in states)


def pauses(plan: Plan, steps: Sequence[Step], execution: Execution) -> bool:
    """Tell whether what failed is to be left as it is: a rolling update that pauses, before any cutover."""
    cause = execution.cause
    policy = dict(plan.desired.updates).get(cause.step.service) if cause is not None else None
    return (
        policy is not None
        and policy.on_failure == "pause"
        and policy.strategy is Strategy.ROLLING
        and not any(step.kind is StepKind.ARM and step.id in execution.done for step in steps)
    )
