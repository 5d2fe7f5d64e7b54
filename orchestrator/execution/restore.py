"""Taking back what a failed or interrupted run has done, as far as hosts can be reached.

Owns the carrying out and the verdict for every host; which steps take which back is decided in
``planning/undo.py``, and what there is to take back was found out by :mod:`.survey`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from orchestrator.events import RestoreFinished, RestoreStarted
from orchestrator.execution.executor import execute
from orchestrator.execution.explain import describe, message
from orchestrator.execution.survey import Survey
from orchestrator.execution.world import Execution, World
from orchestrator.planning.types import Step, StepKind

UNCHANGED = "unchanged"
RESTORED = "restored: what ran before runs"


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    ok: bool
    """True when every host is known to run what it ran before."""
    states: tuple[tuple[str, str], ...]
    """(host, its state in words), sorted."""


def restore(
    world: World, found: Survey, steps: Sequence[Step], back: Sequence[Step], *, reason: str
) -> Restored:
    """Carry out ``back``, best effort, on every host that is there.

    Args:
        world: The ports to work through.
        found: What was begun, and under which terms hosts can be changed.
        steps: All steps of the run.
        back: The steps that take back what was begun.
        reason: What went wrong, for the listener.

    Raises:
        Aborted: A second Ctrl-C.
    """
    hosts = sorted({step.host for step in steps})
    if not back:
        return Restored(ok=True, states=tuple((host, UNCHANGED) for host in hosts))
    world.listener(RestoreStarted(reason, len(back)))
    result = execute(world, found.terms, without(back, found.gone), tolerate=_may_follow)
    gone = {**result.lost, **found.gone}
    verdicts = _Verdicts([step for step in steps if step.id in found.begun], back, result, gone)
    states = tuple((host, verdicts.state(host)) for host in hosts)
    restored = Restored(all(state in {UNCHANGED, RESTORED} for _, state in states), states)
    world.listener(RestoreFinished(restored.ok, states))
    return restored


def _may_follow(failed: Step, later: Step) -> bool:
    """Tell whether ``later`` may happen although ``failed`` did not work out.

    What must not: to take the traffic from a new instance, or to stop it, before its predecessor can
    have it. A mixed state that serves is better than none that does.
    """
    if (failed.host, failed.service) != (later.host, later.service):
        return True
    pair = (failed.kind, later.kind)
    return pair not in _OF_A_SERVICE and not (failed.slot == later.slot and pair in _OF_AN_INSTANCE)


_OF_A_SERVICE = frozenset(
    {
        (StepKind.RESUME, StepKind.SHIFT),
        (StepKind.ATTACH, StepKind.SHIFT),
        (StepKind.SHIFT, StepKind.DETACH),
        (StepKind.SHIFT, StepKind.STOP),
    }
)
_OF_AN_INSTANCE = frozenset({(StepKind.RESUME, StepKind.STOP), (StepKind.DETACH, StepKind.STOP)})
"""(what failed, what waits for it) -> it is not done, for the same service and for the same instance."""


def without(back: Sequence[Step], gone: Collection[str]) -> tuple[Step, ...]:
    """Return ``back`` (predecessors first) but the steps of hosts that are gone.

    Who waited for one of those waits for what that waited for: the order of the others may be known
    through it alone, such as a shift before its detach.
    """
    through: dict[str, tuple[str, ...]] = {}
    """Step that is left out -> those that are not and have to come before it."""
    kept: list[Step] = []
    for step in back:
        waits = (before for name in step.after for before in through.get(name, (name,)))
        after = tuple(dict.fromkeys(waits))
        if step.host in gone:
            through[step.id] = after
        else:
            kept.append(replace(step, after=after))
    return tuple(kept)


@dataclass(frozen=True)
class _Verdicts:
    """What each host's state is called afterwards."""

    begun: Sequence[Step]
    back: Sequence[Step]
    result: Execution
    gone: dict[str, str]

    def state(self, host: str) -> str:
        back = [step for step in self.back if step.host == host]
        if not back:
            return UNCHANGED
        if all(step.id in self.result.done for step in back):
            return RESTORED
        if host in self.gone:
            begun = [describe(step) for step in self.begun if step.host == host]
            what = ", ".join(text.removesuffix(f" on {host}") for text in begun)
            return f"unknown: {self.gone[host]}; what it did or may have done: {what}"
        failures = [message(failed) for failed in self.result.failures if failed.step.host == host]
        return f"not restored: {'; '.join(failures) or 'no step back was tried'}"
