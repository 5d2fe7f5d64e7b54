"""A plan as Markdown, fit for a comment on a pull request or a merge request.

Owns the layout, and the safety of it. Names, reasons and errors come from files and hosts that somebody
else may have written; all of it stands in code, fenced or between backticks, where no markup, link or
mention of GitHub's or GitLab's works, and a fence is always longer than any run of backticks inside it.
Pure: a plan in, text out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

from orchestrator.planning.types import Action, Change, Plan
from orchestrator.report import plan_view
from orchestrator.report.text import clean, plural

LIMIT = 60_000
"""Characters of the whole text; GitHub refuses a comment of more than 65,536."""
_ROOM = 20_000
"""Characters of one block, so that the blocks that follow still have room."""

_SIGNS: Mapping[Action, str] = {
    Action.KEEP: " ",
    Action.CREATE: "+",
    Action.REPLACE: "!",
    Action.REPLACE_STOP_FIRST: "!",
    Action.RESUME: "!",
    Action.REMOVE: "-",
    Action.DISCARD: "-",
}
"""First character of a line in a ``diff`` block: it is what gives the line its colour."""


def render_markdown(plan: Plan) -> str:
    """Return the plan as Markdown that ends with a line end, at most :data:`LIMIT` characters.

    Its first line is a comment that names the project: what a bot finds its earlier comment by.
    """
    kept = [change for change in plan.changes if change.action is Action.KEEP]
    changed = [change for change in plan.changes if change.action is not Action.KEEP]
    blocks = [
        marker(plan.project),
        f"### Plan for {code(plan.project)}: {_headline(plan)}",
        _fence((*(_change(change) for change in changed), *_traffic(plan)), "diff"),
        _notes(plan),
        _details(f"{plural(len(plan.builds), 'image')} to build or pull", _builds(plan)),
        _details(f"{plural(len(kept), 'instance')} unchanged", [_change(change) for change in kept]),
        _details("Where each instance is placed and why", _placement(plan) if changed else ()),
        _details("Clean-up after it", _cleanup(plan)),
    ]
    text, left_out = "", 0
    for block in blocks:
        if block and len(text) + len(block) < LIMIT:
            text += f"{block}\n\n"
        else:
            left_out += bool(block)
    if left_out:
        text += f"{plural(left_out, 'part')} left out: too long for a comment.\n\n"
    return text.rstrip("\n") + "\n"


def marker(project: str) -> str:
    """Return the comment that the Markdown of a project's plans begins with."""
    return f"<!-- deploy plan: {re.sub(r'[^a-z0-9_]+', '-', project.lower())} -->"


def code(text: str) -> str:
    """Return ``text`` as inline code, whatever it holds."""
    line = clean(text) or " "
    ticks = "`" * (_longest_run(line) + 1)
    padding = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def _headline(plan: Plan) -> str:
    if plan.empty:
        return plan_view.summary(plan).lower()
    words = plan_view.summary(plan).removeprefix("Plan: ")
    return f"{words} ({code(plan.reason)}, {code(plan.release)})"


def _change(change: Change) -> str:
    return f"{_SIGNS[change.action]} {plan_view.describe(change)}"


def _traffic(plan: Plan) -> Iterator[str]:
    for symbol, sentence, _ in plan_view.traffic(plan):
        yield f"{symbol.replace('±', '!')} {sentence}"


def _notes(plan: Plan) -> str:
    notes = [f"- Skipped {code(host)}: {code(why)}" for host, why in plan.skipped]
    return "\n".join(_cut(notes))


def _builds(plan: Plan) -> Sequence[str]:
    return [
        clean(f"pull {item.name}: {item.reference}" if item.reference else f"build {item.name}")
        for item in plan.builds
    ]


def _placement(plan: Plan) -> Sequence[str]:
    return [clean(f"{name}: {why}") for name, why in plan.desired.explanations]


def _cleanup(plan: Plan) -> Sequence[str]:
    return [
        *(clean(f"forget {release} on {host}") for host, release in plan.forgets),
        *(clean(f"remove image {image} on {host}") for host, image in plan.images),
        *(clean(f"remove volume {volume} on {host}") for host, volume in plan.volumes),
    ]


def _details(summary: str, lines: Sequence[str]) -> str:
    """Return a part that is folded up; ``summary`` is a text of ours and is not escaped."""
    if not lines:
        return ""
    return f"<details><summary>{summary}</summary>\n\n{_fence(lines, 'text')}\n\n</details>"


def _fence(lines: Sequence[str], language: str) -> str:
    if not lines:
        return ""
    shown = _cut(lines)
    ticks = "`" * max(3, max(_longest_run(line) for line in shown) + 1)
    return "\n".join((f"{ticks}{language}", *shown, ticks))


def _cut(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines that fit into a block; a last one says how many did not."""
    ends = accumulate(len(line) + 1 for line in lines)
    fit = sum(end <= _ROOM for end in ends)
    return lines if fit == len(lines) else [*lines[:fit], f"  ... and {len(lines) - fit} more"]


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
