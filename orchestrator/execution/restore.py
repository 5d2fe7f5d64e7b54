"""Taking back what a failed or interrupted run has done, as far as hosts can be reached.

Owns the carrying out and the verdict for every host; which steps take which back is decided in
``planning/undo.py``. A host whose session was lost is asked for a new lease first, under a higher
epoch: the old session, should it still live somewhere, can then change nothing more there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from orchestrator.errors import HostError
from orchestrator.events import RestoreFinished, RestoreStarted
from orchestrator.execution.executor import execute
from orchestrator.execution.explain import describe, message
from orchestrator.execution.gather import gather
from orchestrator.execution.leases import Claim, request
from orchestrator.execution.operations import Terms
from orchestrator.execution.world import Execution, World
from orchestrator.planning.types import Step, StepKind

Undo: TypeAlias = Callable[[Sequence[Step], Collection[str], Mapping[str, str]], tuple[Step, ...]]
"""(steps of the run, ids of those that were begun or done, step id -> container) -> steps back."""

UNCHANGED = "unchanged"
RESTORED = "restored: what ran before runs"


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    ok: bool
    """True when every host is known to be as it was."""
    states: tuple[tuple[str, str], ...]
    """(host, its state in words), sorted."""


def touched(steps: Sequence[Step], execution: Execution) -> frozenset[str]:
    """Return the ids of the steps that changed a host, or may have. An image sent changes nothing."""
    begun = execution.done | execution.uncertain
    return frozenset(step.id for step in steps if step.id in begun and step.kind is not StepKind.SHIP)


def restore(
    world: World,
    terms: Terms,
    claim: Claim,
    steps: Sequence[Step],
    execution: Execution,
    *,
    undo: Undo,
    reason: str,
) -> Restored:
    """Carry out the undo of ``execution`` best effort on every host touched.

    Raises:
        Aborted: A second Ctrl-C.
    """
    begun = touched(steps, execution)
    back = undo(steps, begun, execution.containers)
    if not back:
        return Restored(ok=True, states=tuple((host, UNCHANGED) for host in _hosts(steps)))
    world.listener(RestoreStarted(reason, len(back)))
    lost = {host: why for host, why in execution.lost.items() if host in _hosts(back)}
    terms, gone = _regain(world, terms, claim, lost)
    result = execute(world, terms, _without(back, gone), keep_going=True)
    gone |= {host: why for host, why in result.lost.items() if host not in gone}
    verdicts = _Verdicts(steps, begun, back, result, gone)
    states = tuple((host, verdicts.state(host)) for host in _hosts(steps))
    restored = Restored(all(state in {UNCHANGED, RESTORED} for _, state in states), states)
    world.listener(RestoreFinished(restored.ok, states))
    return restored


def _regain(
    world: World, terms: Terms, claim: Claim, lost: Mapping[str, str]
) -> tuple[Terms, dict[str, str]]:
    """Take the lease of lost hosts anew; return the terms with it, and the hosts that stay lost."""
    again = replace(claim, epoch=claim.epoch + 1, states=())
    asked = [(host, request(again, host)) for host in sorted(lost)]
    gone: dict[str, str] = {}
    epochs = dict(terms.epochs)
    for answer in gather(world.fleet, world.loop, world.interrupt, asked):
        if answer.error is None:
            epochs[answer.host] = again.epoch
        elif isinstance(answer.error, HostError):
            gone[answer.host] = lost[answer.host]
        else:
            gone[answer.host] = answer.error.failure.message
    return replace(terms, epochs=tuple(sorted(epochs.items()))), gone


def _without(back: Sequence[Step], gone: Collection[str]) -> tuple[Step, ...]:
    """Leave out the steps of hosts that are gone; the others no longer wait for those."""
    kept = [step for step in back if step.host not in gone]
    ids = {step.id for step in kept}
    return tuple(replace(step, after=tuple(b for b in step.after if b in ids)) for step in kept)


def _hosts(steps: Sequence[Step]) -> tuple[str, ...]:
    return tuple(sorted({step.host for step in steps}))


@dataclass(frozen=True)
class _Verdicts:
    """What each host's state is called afterwards."""

    steps: Sequence[Step]
    begun: Collection[str]
    back: Sequence[Step]
    result: Execution
    gone: Mapping[str, str]

    def state(self, host: str) -> str:
        back = [step for step in self.back if step.host == host]
        if not back:
            return UNCHANGED
        if all(step.id in self.result.done for step in back):
            return RESTORED
        if host in self.gone:
            begun = [step for step in self.steps if step.host == host and step.id in self.begun]
            what = ", ".join(describe(step).removesuffix(f" on {host}") for step in begun)
            return f"unknown: {self.gone[host]}; what it did or may have done: {what}"
        failures = [message(failed) for failed in self.result.failures if failed.step.host == host]
        return f"not restored: {'; '.join(failures) or 'no step back was tried'}"
