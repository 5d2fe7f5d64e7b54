"""A failed step explains itself on one screen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.golden import check_golden
from support.report_samples import IMAGE, container, failure, plan, ship, start

from orchestrator import events as ev
from orchestrator.planning.types import Action, Running, Step, StepKind
from orchestrator.protocol.messages import Failure
from orchestrator.report import failure_view
from orchestrator.report.failure_view import FailedStep
from orchestrator.report.wording import Memory, counts, doing, done

GOLDEN = Path(__file__).parent / "golden"


def remembering(made):
    """Return a memory that has seen ``made``."""
    memory = Memory()
    memory.observe(ev.Planned(made))
    return memory


def test_the_screen_as_agreed():
    """What was tried, what came back, the log, how long, what runs and what to do."""
    step = start("web-2", slot=2)
    memory = remembering(plan())
    failed = FailedStep(step, memory.subject(step), "not healthy", failure(), 60.0, memory.standing(step))
    check_golden(GOLDEN / "failure.txt", failure_view.lines(failed))


def test_the_least_that_can_be_said():
    """A failure without details is one line and what to do next."""
    assert failure_view.lines(FailedStep(ship(), "image tomcat", "connection lost")) == (
        "web-1: ship image tomcat failed: connection lost",
        "  next:",
        "    run `deploy apply` again: it starts from what is there",
    )


@pytest.mark.parametrize(
    ("code", "step", "expected"),
    [
        ("no-space", ship(), "free space on web-1"),
        ("unhealthy", start(), "`deploy logs api`"),
        ("cancelled", start(), "run `deploy apply` again"),
        ("", ship(), "run `deploy apply` again"),
    ],
)
def test_advice_follows_the_code(code, step, expected):
    """What to do next depends on the stable code, never on the text."""
    assert failure_view.advice(step, Failure(code, "m")).startswith(expected)


def test_the_screen_is_bounded():
    """Ten thousand probes and log lines stay one screen."""
    told = Failure("exited", "m", tuple(f"try {n}" for n in range(10_000)), ("log\n" * 10_000,))
    rows = failure_view.lines(FailedStep(start(), "api[1]", "exited", told))
    assert len(rows) < 40
    assert any("9980 lines before" in row for row in rows)


def test_equal_answers_are_counted():
    """A probe that was refused sixty times is one line."""
    assert failure_view.collapse(["refused", "refused", "503", "refused"]) == (
        "refused (2 times)",
        "503",
        "refused",
    )


@pytest.mark.parametrize(
    ("action", "state", "expected"),
    [
        (Action.REPLACE, "running", "api[1] of release r4 keeps running"),
        (Action.REPLACE, "exited", "api[1] of release r4 was exited before and stays so"),
        (Action.REPLACE_STOP_FIRST, "running", "api[1] of release r4 was stopped first and is started again"),
    ],
)
def test_what_still_runs(action, state, expected):
    """The screen says what serves now, from the plan."""
    change = replace(plan().changes[0], action=action, current=Running("web-1", container(state=state)))
    assert remembering(replace(plan(), changes=(change,))).standing(start()) == expected


def test_what_still_runs_is_not_guessed():
    """Without a plan, or for a step that starts nothing, nothing is claimed."""
    assert Memory().standing(start()) == ""
    assert remembering(plan()).standing(ship()) == ""
    assert "nothing ran as api[1]" in remembering(plan()).standing(start())


@pytest.mark.parametrize("kind", list(StepKind))
def test_every_kind_of_step_has_words(kind):
    """No kind of step is forgotten."""
    step = Step("x", kind, "web-1", service="api", slot=1, image=IMAGE, name="r3")
    assert doing(step)
    assert done(step)
    assert Memory().subject(step)


def test_a_container_without_a_service_is_named_by_its_id():
    """Clean-up of something foreign still says what it touches."""
    step = Step("x", StepKind.REMOVE, "web-1", container="f00d" * 16)
    assert Memory().subject(step) == "container f00df00df00d"


def test_counts_cover_every_change_once():
    """Create, replace, remove and keep; leftovers are not counted."""
    assert counts(plan()) == {"create": 1, "replace": 3, "remove": 1, "keep": 1}
