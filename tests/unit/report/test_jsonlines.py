"""JSON lines: one object each, versioned, and the end exactly as documented."""

from __future__ import annotations

import io
import json
import typing

from support.report_samples import NOW, finished, run

from orchestrator import events as ev
from orchestrator.report import jsonlines
from orchestrator.report.output import Output


def written(events):
    """Return the documents a listener writes for ``events``."""
    stream = io.StringIO()
    listener = jsonlines.JsonListener(Output(stream), lambda: NOW)
    for event in events:
        listener(event)
    listener.close()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_event_has_its_form():
    """No event type is forgotten, and every name is the snake case of its type."""
    assert set(jsonlines._FIELDS) == set(typing.get_args(ev.Event))
    names = {name: kind.__name__.lower() for kind, (name, _) in jsonlines._FIELDS.items()}
    assert all(name.replace("_", "") == lower for name, lower in names.items())


def test_every_line_is_one_versioned_object():
    """Each event is one line that says what it is, in which version and when."""
    documents = written(run())
    assert len(documents) == len(run())
    assert all(d["version"] == 1 and next(iter(d)) == "event" for d in documents)
    assert all(d["time"] == NOW for d in documents[:-1])


def test_the_end_is_exactly_as_documented():
    """Scripts rely on the last line: its keys are these and no others."""
    (document,) = written([finished()])
    assert document == {
        "event": "finished",
        "version": 1,
        "ok": True,
        "exit_code": 0,
        "release": "r5",
        "held": False,
        "changes": {"create": 1, "replace": 3, "remove": 1, "keep": 1},
        "bytes_sent": 81_000,
        "round_trips": {"web-1": 5, "web-2": 4},
        "seconds": 3.4,
    }


def test_a_failed_end_says_why():
    """A failure carries the error, the hint and the context."""
    document = written(run())[-1]
    assert document["error"] == "api[2] on web-2 did not become healthy"
    assert document["hint"] == "see its log"
    assert document["context"] == ["GET /health: status 503"]


def test_counts_that_are_not_said_are_zero():
    """All four counts are always there."""
    (document,) = written([ev.Finished(ok=True, exit_code=0)])
    assert document["changes"] == {"create": 0, "replace": 0, "remove": 0, "keep": 0}


def test_what_hosts_say_is_cleaned():
    """`jq -r` on our output must not hand a host's escape sequences to the terminal."""
    (document,) = written([ev.HostFailed("web-1", "\x1b[31mred\x07")])
    assert document["message"] == "red"


def test_reasons_of_a_plan_are_data():
    """The plan's reasons keep their code, clause and key path."""
    planned = next(d for d in written(run()) if d["event"] == "planned")
    reasons = planned["plan"]["changes"][1]["reasons"]
    assert reasons[0] == {
        "code": "config-changed",
        "message": "environment LOG_LEVEL changed",
        "path": "environment.LOG_LEVEL",
    }
    assert planned["plan"]["counts"] == {"create": 1, "replace": 3, "remove": 1, "keep": 1}
