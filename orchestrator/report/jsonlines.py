"""A run as JSON lines, for machines: one object a line, versioned, never a secret.

Owns the JSON form of every event, written field by field: nothing of an event is shown because it is
there, only because it is listed here. The reference is ``docs/cli-output.md``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import events as ev
from orchestrator.planning.types import Step
from orchestrator.protocol.messages import Failure
from orchestrator.report import plan_view
from orchestrator.report.mask import Masker
from orchestrator.report.output import Output
from orchestrator.report.text import clean, clean_lines

VERSION = 1
"""Raised when a field changes its meaning or goes away; new fields do not raise it."""

Document = dict[str, Any]


def event_document(event: ev.Event, now: float) -> Document:
    """Return ``event`` as JSON values. ``now`` is seconds since the epoch."""
    name, fields = _FIELDS[type(event)]
    header: Document = {"event": name, "version": VERSION}
    if not isinstance(event, ev.Finished):
        header["time"] = round(now, 3)
    return header | fields(event)


class JsonListener:
    """Writes one line per event, from any thread."""

    def __init__(self, output: Output, clock: Callable[[], float]) -> None:
        self._output = output
        self._clock = clock
        self._mask = Masker()
        self._lock = threading.Lock()

    def __call__(self, event: ev.Event) -> None:
        """Write ``event``."""
        with self._lock:
            document = event_document(self._mask(event), self._clock())
            self._output.lines((json.dumps(document, separators=(", ", ": ")),))

    def close(self) -> None:
        """Do nothing: every line is out already."""


def _step(step: Step) -> Document:
    document: Document = {
        "id": clean(step.id),
        "kind": step.kind.value,
        "host": clean(step.host),
        "essential": step.essential,
    }
    if step.service:
        document |= {"service": clean(step.service), "slot": step.slot}
    for key, value in (("image", step.image), ("name", step.name), ("container", step.container)):
        if value:
            document[key] = clean(value)
    if step.record is not None:
        document["release"] = clean(step.record.id)
    return document


def _failure(failure: Failure | None) -> Document | None:
    if failure is None:
        return None
    return {
        "code": clean(failure.code),
        "message": clean(failure.message),
        "probes": list(clean_lines(failure.probes)),
        "logs": list(clean_lines(failure.logs)),
        "seconds": round(failure.seconds, 3),
    }


def _finished(event: ev.Finished) -> Document:
    document: Document = {
        "ok": event.ok,
        "exit_code": event.exit_code,
        "release": clean(event.release),
        "held": event.held,
        "changes": {key: event.changes.get(key, 0) for key in ("create", "replace", "remove", "keep")},
        "bytes_sent": event.bytes_sent,
        "round_trips": {clean(host): count for host, count in event.round_trips.items()},
        "seconds": round(event.seconds, 3),
    }
    if not event.ok:
        document |= {
            "error": clean(event.error),
            "hint": clean(event.hint),
            "context": list(clean_lines(event.context)),
        }
    return document


_FIELDS: Mapping[type, tuple[str, Callable[[Any], Document]]] = {
    ev.Warned: ("warned", lambda e: {"message": clean(e.message), "hint": clean(e.hint)}),
    ev.HostConnecting: ("host_connecting", lambda e: {"host": clean(e.host)}),
    ev.HostConnected: (
        "host_connected",
        lambda e: {
            "host": clean(e.host),
            "seconds": round(e.seconds, 3),
            "shipped_agent": e.shipped_agent,
        },
    ),
    ev.HostFailed: (
        "host_failed",
        lambda e: {
            "host": clean(e.host),
            "message": clean(e.message),
            "hint": clean(e.hint),
            "context": [clean(line) for line in e.context],
        },
    ),
    ev.BuildStarted: (
        "build_started",
        lambda e: {"image": clean(e.image), "builder": clean(e.builder), "reason": clean(e.reason)},
    ),
    ev.BuildOutput: ("build_output", lambda e: {"image": clean(e.image), "line": clean(e.line)}),
    ev.BuildFinished: (
        "build_finished",
        lambda e: {
            "image": clean(e.image),
            "id": clean(e.id),
            "seconds": round(e.seconds, 3),
            "cached": e.cached,
        },
    ),
    ev.Planned: ("planned", lambda e: {"plan": plan_view.document(e.plan)}),
    ev.LeaseTaken: ("lease_taken", lambda e: {"epoch": e.epoch, "hosts": [clean(h) for h in e.hosts]}),
    ev.StepStarted: ("step_started", lambda e: {"step": _step(e.step)}),
    ev.StepProgress: (
        "step_progress",
        lambda e: {
            "step": clean(e.step.id),
            "host": clean(e.step.host),
            "phase": clean(e.phase),
            "detail": clean(e.detail),
            "done": e.done,
            "total": e.total,
        },
    ),
    ev.StepFinished: (
        "step_finished",
        lambda e: {
            "step": clean(e.step.id),
            "host": clean(e.step.host),
            "seconds": round(e.seconds, 3),
            "bytes_sent": e.bytes_sent,
            "note": clean(e.note),
        },
    ),
    ev.StepFailed: (
        "step_failed",
        lambda e: {
            "step": clean(e.step.id),
            "host": clean(e.step.host),
            "message": clean(e.message),
            "failure": _failure(e.failure),
            "seconds": round(e.seconds, 3),
        },
    ),
    ev.StepSkipped: (
        "step_skipped",
        lambda e: {"step": clean(e.step.id), "host": clean(e.step.host), "because": clean(e.because)},
    ),
    ev.RestoreStarted: ("restore_started", lambda e: {"reason": clean(e.reason), "steps": e.steps}),
    ev.RestoreFinished: (
        "restore_finished",
        lambda e: {"ok": e.ok, "states": {clean(host): clean(state) for host, state in e.states}},
    ),
    ev.Finished: ("finished", _finished),
}
