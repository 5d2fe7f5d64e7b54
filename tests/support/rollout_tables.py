"""The tables of docs/rollouts.md, made by the planner itself: the steps of each strategy, and their reverses.

``PYTHONPATH=tests:. python tests/support/rollout_tables.py`` writes them into the page; a test holds both
equal.
"""

from __future__ import annotations

import re
from pathlib import Path

from support.fake_fleet import FakeFleet
from support.routed import plan, policy, wanted
from support.runs import Run

from orchestrator.planning.release import records
from orchestrator.planning.rollout import rollout
from orchestrator.planning.types import CanaryStep, StepKind, UpdatePolicy
from orchestrator.planning.undo import REVERSED

PAGE = Path(__file__).parents[2] / "docs" / "rollouts.md"

_OLD = [("api", 1, "web-1", "1"), ("api", 2, "web-2", "1")]
_NEW = [("api", 1, "web-1", "2"), ("api", 2, "web-2", "2")]
_POLICIES = {
    "blue-green": policy(),
    "canary": policy("canary", canary=(CanaryStep(5, 30.0),)),
    "rolling": policy("rolling"),
    "recreate": policy("recreate"),
}


def tables() -> dict[str, str]:
    """Return every table by the name of its place in the page."""
    found = {name: _steps(chosen) for name, chosen in _POLICIES.items()}
    found["hold"] = _steps(policy(), hold=True)
    found["undo"] = _undo()
    return found


def filled(text: str) -> str:
    """Return the page with its tables made anew."""
    for name, table in tables().items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- end -->)",
            lambda found, table=table: f"{found[1]}{table}{found[2]}",  # type: ignore[misc]
            text,
            flags=re.DOTALL,
        )
    return text


def _steps(chosen: UpdatePolicy, *, hold: bool = False) -> str:
    fleet = FakeFleet(["web-1", "web-2"])
    assert Run(fleet).apply(plan(fleet, wanted(_OLD, policies={"api": chosen}))).ok
    made = plan(fleet, wanted(_NEW, policies={"api": chosen}), hold=hold)
    steps = rollout(made, records(made, created_at=1.0, author="ann@ci"))
    number = {step.id: place for place, step in enumerate(steps, 1)}
    rows = [
        f"| {number[step.id]} | {step.id} | {', '.join(str(number[b]) for b in step.after)} "
        f"| {'' if step.essential else 'clean-up'} |"
        for step in steps
    ]
    return "\n".join(["| | step | after | |", "|---|---|---|---|", *rows, ""])


def _undo() -> str:
    rows = [
        f"| {kind.value} | {REVERSED[kind].value if kind in REVERSED else 'nothing'} |" for kind in StepKind
    ]
    return "\n".join(["| step | taken back by |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
