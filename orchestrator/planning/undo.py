"""What was done so far -> the steps that take it back.

Owns the reversal of steps, last thing first: what was started is stopped and kept for inspection, what
was stopped is started again, traffic goes back to who had it, what was recorded is forgotten. Nothing is
tested on the way back, and what was unhealthy or changed before need not become better. It must not know
how a step is carried out, or why the run failed.

The reverse of each kind is :data:`REVERSED`; what is not in it changes nothing that would have to be put
back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.types import Step, StepKind

REVERSED: Mapping[StepKind, StepKind] = {
    StepKind.START: StepKind.STOP,
    StepKind.RESUME: StepKind.STOP,
    StepKind.STOP: StepKind.RESUME,
    StepKind.COMMIT: StepKind.FORGET,
    StepKind.ROUTER: StepKind.ROUTER,
    StepKind.ATTACH: StepKind.DETACH,
    StepKind.DETACH: StepKind.ATTACH,
    StepKind.DRAIN: StepKind.ATTACH,
    StepKind.SHIFT: StepKind.SHIFT,
    StepKind.ARM: StepKind.DISARM,
    StepKind.HOLD: StepKind.UNHOLD,
}
"""Kind of a step -> the kind that takes it back."""

_COMES_UP = frozenset({StepKind.START, StepKind.RESUME})
_SWAPS_BACK = frozenset({StepKind.ROUTER, StepKind.SHIFT})


def undo(steps: Sequence[Step], touched: Collection[str], containers: Mapping[str, str]) -> tuple[Step, ...]:
    """Return the steps that put back what ran before, predecessors first.

    An undo runs to the end: a step of it starts when its predecessors have ended, well or not. No
    container is ever removed. Nothing is left to undo once every commit has ended well (what follows
    deletes what the old state would need), or once every host has confirmed a cutover: see
    :func:`forward`.

    Args:
        steps: The steps of the run, predecessors first.
        touched: Ids of those that ended well, and of those that may have had an effect: under way when
            the run stopped, or failed part of the way. Undoing something that did not happen is harmless.
        containers: Id of a ``START`` -> the container it made, as far as it is known.
    """
    touched = frozenset(touched)
    if any(not step.essential and step.id in touched for step in steps):
        return ()
    came_up = {(step.host, step.service, step.slot) for step in steps if step.kind in _COMES_UP}
    undone = {
        step.id: step
        for step in steps
        if step.id in touched
        and step.kind in REVERSED
        # What ran before keeps its place in the router: without traffic it does no harm.
        and (step.kind is not StepKind.ATTACH or (step.host, step.service, step.slot) in came_up)
    }
    then: defaultdict[str, list[str]] = defaultdict(list)
    """Step -> those that wait for it: their undoing comes first."""
    after: dict[str, tuple[str, ...]] = {}
    for step in reversed(steps):
        # A step that has no reverse hands on what waits for it.
        waits = tuple(dict.fromkeys(then.pop(step.id, ())))
        if step.id in undone:
            after[step.id] = waits
            waits = (_name(step),)
        for before in step.after:
            then[before] += waits
    return tuple(_back(undone[name], after[name], containers) for name in after)


def forward(steps: Sequence[Step], done: Collection[str], *, clean_up: bool = True) -> tuple[Step, ...]:
    """Return what is left to do of a run that every host has confirmed, predecessors first.

    Args:
        steps: The steps of the run, predecessors first.
        done: Ids of those that ended well.
        clean_up: Whether what is old goes too; else only the decisions are made.
    """
    left = [
        step
        for step in steps
        if step.id not in done and (step.kind in _DECIDES or (clean_up and not step.essential))
    ]
    ids = {step.id for step in left}
    return tuple(
        replace(step, after=tuple(before for before in step.after if before in ids)) for step in left
    )


_DECIDES = frozenset({StepKind.CONFIRM, StepKind.COMMIT})


def _name(step: Step) -> str:
    return f"undo {step.id}"


def _back(step: Step, after: tuple[str, ...], containers: Mapping[str, str]) -> Step:
    kind = REVERSED[step.kind]
    return Step(
        _name(step),
        kind,
        step.host,
        after,
        service=step.service,
        slot=step.slot,
        container=step.container or containers.get(step.id, ""),
        faulty=step.faulty,
        name=step.record.id if step.record is not None else step.name,
        release=step.release,
        seconds=step.seconds if kind is StepKind.RESUME else 0.0,
        routing=step.back if kind in _SWAPS_BACK else None,
    )
