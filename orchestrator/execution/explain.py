"""One screen that explains a failure: what was tried, what came back, the last lines, how long it ran.

Owns the words of :class:`~orchestrator.errors.ApplyFailed` and its like. Pure; it must not know how
anything is carried out, and says nothing of configurations, so that no secret can be in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.events import StepFailed
from orchestrator.execution.world import CANCELLED, REVERTED, UNREACHABLE, Execution
from orchestrator.planning.types import Step, StepKind

_OTHERS = 5

_VERBS = {
    StepKind.SHIP: "send the image",
    StepKind.START: "start",
    StepKind.STOP: "stop",
    StepKind.RESUME: "start again",
    StepKind.REMOVE: "remove",
    StepKind.COMMIT: "record the release",
    StepKind.FORGET: "forget release",
    StepKind.REMOVE_VOLUME: "remove volume",
    StepKind.REMOVE_IMAGE: "remove image",
    StepKind.ROUTER: "configure the router",
    StepKind.ATTACH: "route to",
    StepKind.DETACH: "take out of the router:",
    StepKind.SHIFT: "shift the traffic of",
    StepKind.DRAIN: "drain",
    StepKind.WATCH: "bake",
    StepKind.CHECK: "pass the check of",
    StepKind.JOB: "run the job",
    StepKind.ARM: "arm the way back",
    StepKind.DISARM: "disarm the way back",
    StepKind.CONFIRM: "confirm the cutover",
    StepKind.HOLD: "hold the release",
    StepKind.UNHOLD: "forget the held release",
}

_HINTS = {
    "unhealthy": "see what its healthcheck got and its last lines above; the instance is kept, stopped",
    "exited": "see its last lines above; the instance is kept, stopped, until the next apply",
    REVERTED: "the cutover took longer than the host waits: see which step was slow, then apply again",
    "no-space": "free space on the host, for instance with 'deploy prune'",
    "conflict": "something else on the host has that name, port or volume: see 'deploy status'",
    UNREACHABLE: "see that the host is up and reachable, then apply again",
}


def describe(step: Step) -> str:
    """Say what a step is about: ``start api[1] on web-1``."""
    words = [_VERBS[step.kind]]
    if step.kind is StepKind.JOB:
        words.append(step.name)
    elif step.service:
        words.append(f"{step.service}[{step.slot}]" if step.slot else step.service)
    elif step.kind is StepKind.SHIP:
        words.append(step.image.removeprefix("sha256:")[:12])
    elif step.name and step.kind not in _OF_THE_HOST:
        words.append(step.name)
    return f"{' '.join(words)} on {step.host}"


_OF_THE_HOST = frozenset(
    {StepKind.ARM, StepKind.DISARM, StepKind.CONFIRM, StepKind.HOLD, StepKind.UNHOLD, StepKind.ROUTER}
)


def message(failed: StepFailed) -> str:
    """Say in one sentence what could not be done and why."""
    return f"cannot {describe(failed.step)}: {failed.message}"


def hint(failed: StepFailed) -> str:
    """Say what to do next."""
    code, known = (failed.failure.code, failed.failure.hint) if failed.failure else ("", "")
    return known or _HINTS.get(code, "mend what is named above and apply again")


def context(execution: Execution, states: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return the lines below the message: other failures, and every host's state.

    What was tried and what came back is in the failure's own event, and shown from there: once, and with
    the values of delivered secrets masked.
    """
    cause = execution.cause
    others = [
        failed
        for failed in execution.failures
        if failed is not cause and not (failed.failure and failed.failure.code == CANCELLED)
    ]
    lines = [f"also: {message(failed)}" for failed in others[:_OTHERS]]
    if len(others) > _OTHERS:
        lines.append(f"also: {len(others) - _OTHERS} more")
    lines += [f"{host}: {state}" for host, state in states]
    return tuple(lines)
