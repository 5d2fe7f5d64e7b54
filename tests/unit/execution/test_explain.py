"""What a failed step is called and what to do about it."""

from __future__ import annotations

from orchestrator.events import StepFailed
from orchestrator.execution.explain import hint
from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.messages import Failure

STEP = Step("ship web-1 app", StepKind.SHIP, "web-1", image="sha256:" + "1" * 64)


def test_the_hosts_own_hint_comes_before_ours():
    """It knows the setting that is missing; we only know the kind of failure."""
    failure = Failure("no-space", "the disk is full", hint="set it in daemon.json")
    assert hint(StepFailed(STEP, "the disk is full", failure)) == "set it in daemon.json"
    assert "deploy prune" in hint(StepFailed(STEP, "the disk is full", Failure("no-space", "")))
    assert "apply again" in hint(StepFailed(STEP, "no idea"))
