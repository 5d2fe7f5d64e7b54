"""docs/cli-output.md says what the program prints: every event, every field, every exit code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.report_samples import NOW, finished, observed, plan, record, run
from support.routing_samples import routed_plan, troubled

from orchestrator import errors
from orchestrator.planning.types import Action, StepKind
from orchestrator.report import plan_view, routes_view, status_view
from orchestrator.report.jsonlines import event_document

TEXT = (Path(__file__).parents[3] / "docs" / "cli-output.md").read_text(encoding="utf-8")


def rows():
    """Return the first two cells of every row of the event table: name -> fields."""
    found = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", TEXT, re.MULTILINE)
    return {name: re.findall(r"`(\w+)`", fields) for name, fields in found}


@pytest.mark.parametrize("event", run()[:-1], ids=lambda event: type(event).__name__)
def test_events_are_documented_field_by_field(event):
    """The table lists exactly the fields an event has, in their order."""
    document = event_document(event, NOW)
    assert rows()[document["event"]] == [key for key in document if key not in {"event", "version", "time"}]


@pytest.mark.parametrize("event", [finished(), run()[-1]])
def test_the_end_is_documented(event):
    """Every field of the last line is named."""
    document = event_document(event, NOW)
    assert all(f"`{key}`" in TEXT for key in document)


def test_documents_are_documented():
    """Every key of every document, and of the plan, is named."""
    for document in (
        plan_view.document(plan()),
        plan_view.document(routed_plan()),
        status_view.status_document(observed(), now=NOW),
        status_view.status_document(troubled(), now=NOW),
        routes_view.routes_document(troubled(), now=NOW),
        routes_view.maintenance_document("shop", ("web-1",), (), on=True),
        status_view.history_document((record(),), current="r4"),
        status_view.release_document((record(),)),
    ):
        assert [key for key in keys(document) if f"`{key}`" not in TEXT] == []


def keys(value):
    """Yield the keys of nested objects, but not of maps whose keys are names."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in {"images", "configs"}:
                yield from keys(item)
    elif isinstance(value, list):
        for item in value:
            yield from keys(item)


def test_closed_sets_are_complete():
    """Every action, kind of step and exit code is in the reference."""
    assert all(f"`{action.value}`" in TEXT for action in Action)
    assert all(f"`{kind.value}`" in TEXT for kind in StepKind)
    raised = {
        getattr(errors, name).exit_code for name in dir(errors) if hasattr(getattr(errors, name), "exit_code")
    }
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)} == raised | {0, 2}
