"""What was done so far -> the steps that take it back.

Owns the reversal of steps: what was started is stopped and kept for inspection, what was stopped is
started again, what was recorded is forgotten, last thing first. The old state is put back, not judged:
what was unhealthy before need not become healthy. It must not know how a step is carried
out, or why the run failed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.planning.types import Step, StepKind

_REVERSED = {
    StepKind.START: StepKind.STOP,
    StepKind.RESUME: StepKind.STOP,
    StepKind.STOP: StepKind.RESUME,
    StepKind.COMMIT: StepKind.FORGET,
}


def undo(steps: Sequence[Step], touched: Collection[str], containers: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps that put back what ran before, predecessors first.

    An undo runs to the end: a step of it starts when its predecessors have ended, well or not. No
    container is ever removed. Once every commit has ended well there is nothing left to undo: what
    follows deletes what the old state would need.

    Args:
        steps: The steps of the run, predecessors first.
        touched: Ids of those that ended well, and of those that may have had an effect: under way when
            the run stopped, or failed part of the way. Undoing something that did not happen is harmless.
        containers: Id of a ``START`` -> the container it made, as far as it is known.
    """
    touched = frozenset(touched)
    if any(not step.essential and step.id in touched for step in steps):
        return ()
    undone = [step for step in steps if step.id in touched and step.kind in _REVERSED]
    names = {step.id: f"undo {step.id}" for step in undone}
    after: dict[str, list[str]] = {step.id: [] for step in undone}
    for step in undone:
        for before in step.after:
            if before in after:
                after[before].append(names[step.id])
    return tuple(
        Step(
            names[step.id],
            _REVERSED[step.kind],
            step.host,
            tuple(after[step.id]),
            service=step.service,
            slot=step.slot,
            container=step.container or containers.get(step.id, ""),
            faulty=step.faulty,
            name=step.record.id if step.record is not None else "",
        )
        for step in reversed(undone)
    )
