"""A plan says what, where and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.golden import check_golden
from support.report_samples import plan
from support.routing_samples import routed_plan

from orchestrator.planning.types import Action
from orchestrator.report import plan_view
from orchestrator.report.style import ansi

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plan", {}),
        ("plan-verbose", {"verbose": True}),
        ("plan-narrow", {"width": 44}),
        ("plan-colour", {"style": ansi}),
    ],
)
def test_a_plan_as_agreed(name, options):
    """The plan reads as in the golden file."""
    check_golden(GOLDEN / f"{name}.txt", plan_view.lines(plan(), **options))


def test_a_plan_for_routers_as_agreed():
    """Routers, traffic that is astray, guards, a hold: each has its line."""
    check_golden(GOLDEN / "plan-routed.txt", plan_view.lines(routed_plan()))
    document = plan_view.document(routed_plan())
    assert [item["action"] for item in document["routers"]] == ["remove", "start", "change"]
    assert document["hold"] is True


def test_a_change_is_a_sentence():
    """What, where and why, ready to be quoted elsewhere."""
    assert plan_view.describe(plan().changes[0]) == "create api[1] on web-1: new"


def test_nothing_to_do():
    """An empty plan says so, and how much it looked at."""
    same = replace(plan(), builds=(), skipped=(), forgets=(), changes=plan().changes[2:3])
    assert plan_view.render_plan(same) == "shop r5 (apply)\n\nNo changes: 1 instance as wanted\n"
    assert same.empty


def test_forgotten_releases_are_work():
    """A plan that only forgets old releases is not called empty."""
    only = replace(plan(), changes=plan().changes[2:3])
    assert plan_view.summary(only).endswith("1 unchanged, 1 old release to forget")


@given(st.integers(24, 200))
def test_narrow_terminals_wrap_and_lose_nothing(width):
    """At any width every word is there and no line is longer than the terminal."""
    wide = " ".join(" ".join(plan_view.lines(plan())[:-1]).split())
    narrow = plan_view.lines(plan(), width=width)
    assert " ".join(" ".join(narrow[:-1]).split()).replace(" ", "") == wide.replace(" ", "")
    assert all(len(line) <= max(width, 24) for line in narrow[:-1])


def test_every_action_has_its_words():
    """No action is forgotten."""
    assert set(plan_view._SYMBOLS) == set(Action)
