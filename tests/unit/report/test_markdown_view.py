"""The Markdown of a plan: the agreed form, its limits, and that nothing in it can break out."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.golden import check_golden
from support.report_samples import instance, plan
from support.routing_samples import routed_plan

from orchestrator.planning.types import Action, Change, Reason
from orchestrator.report.markdown_view import LIMIT, code, marker, render_markdown

GOLDEN = Path(__file__).parent / "golden"
HOSTILE = "``` @all </details><img src=x> [a](http://b) | <!-- x\n# ~~~ `"


def test_the_plan_as_agreed():
    """Every action, router and folded part in its place."""
    check_golden(GOLDEN / "plan.md", render_markdown(routed_plan()).splitlines())


def test_no_changes():
    """A plan with nothing to do is said in a line."""
    kept = tuple(change for change in plan().changes if change.action is Action.KEEP)
    text = render_markdown(replace(plan(), changes=kept, builds=(), skipped=(), forgets=()))
    assert "### Plan for `shop`: no changes: 1 instance as wanted\n" in text
    assert "```diff" not in text


def outside_code(text: str) -> str:
    """Return what a renderer reads as Markdown: the text without fenced blocks and code spans."""
    bare = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", bare)


@settings(deadline=None)
@given(st.one_of(st.just(HOSTILE), st.text("`|<>@[]()!\\#*_~-=\n\r\x1b ab"), st.text()))
def test_nothing_breaks_out_of_code(text):
    """Whatever a name, host or reason holds, the Markdown around it is the same."""

    def with_text(value: str) -> str:
        change = Change(
            Action.CREATE, value, 1, value, (Reason("new", value),), desired=replace(instance(), image=value)
        )
        made = replace(plan(), changes=(change,), skipped=((value, value),), reason=value, release=value)
        return outside_code(render_markdown(made))

    assert with_text(text) == with_text("harmless")


@settings(deadline=None)
@given(st.text())
def test_inline_code_is_one_line_with_a_fence_of_its_own(text):
    """Its fence is longer than every run of backticks inside."""
    shown = code(text)
    ticks = re.match("`+", shown)[0]
    assert "\n" not in shown
    assert shown.endswith(ticks)
    inner = shown[len(ticks) : -len(ticks)]
    assert all(len(run) != len(ticks) for run in re.findall("`+", inner))


def test_a_comment_stays_within_what_forges_take():
    """Thousands of changes and long reasons are cut, and the text says so."""
    many = tuple(
        Change(Action.CREATE, "api", n, "web-1", (Reason("new", "x" * 390),)) for n in range(1, 3000)
    )
    text = render_markdown(replace(plan(), changes=many))
    assert len(text) <= LIMIT
    assert text.count("+ create") > 40
    assert re.search(r"\.\.\. and 29\d\d more", text)


def test_the_marker_cannot_end_the_comment():
    """It is what a bot finds its earlier comment by, so it is plain."""
    assert marker("shop") == "<!-- deploy plan: shop -->"
    assert marker("a--> <b") == "<!-- deploy plan: a-b -->"
