"""Masks in text the values of secrets that this run delivered.

A program that fails at its start may print its own password, and its last log lines are shown, often
in the log of a CI system. Owns the set of values seen and the masking of an event's free text; what is
never shown anyway (the instances themselves) is left alone.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from orchestrator import events as ev

SHORTEST = 6
"""Shorter values are not masked: they would blot out ordinary words, and guard little."""
MASK = "***"
_TEXTS = frozenset(
    (
        "message",
        "detail",
        "line",
        "reason",
        "error",
        "hint",
        "context",
        "probes",
        "logs",
        "states",
        "note",
        "failure",
    )
)
"""Fields of events and failures that hold free text."""


class Masker:
    """Learns the values from the plan; masks them in every event that follows."""

    def __init__(self) -> None:
        self._values: tuple[str, ...] = ()

    def __call__(self, event: ev.Event) -> ev.Event:
        """Return ``event`` with every value seen so far masked."""
        if isinstance(event, ev.Planned):
            self._learn(event)
            return event
        return cast("ev.Event", self._mask(event)) if self._values else event

    def _learn(self, event: ev.Planned) -> None:
        changed = (change.desired for change in event.plan.changes)
        found = set(self._values)
        for instance in (*event.plan.desired.instances, *changed):
            for _, value in instance.secrets if instance else ():
                lines = value.decode("utf-8", "ignore").splitlines()
                found.update(line.strip() for line in lines if len(line.strip()) >= SHORTEST)
        # Longest first: a value that holds another one is masked as a whole.
        self._values = tuple(sorted(found, key=lambda value: (-len(value), value)))

    def _mask(self, value: Any) -> Any:
        if isinstance(value, str):
            for secret in self._values:
                value = value.replace(secret, MASK)
            return value
        if isinstance(value, tuple):
            return tuple(self._mask(item) for item in value)
        if is_dataclass(value) and not isinstance(value, type):
            texts = {item.name: getattr(value, item.name) for item in fields(value) if item.name in _TEXTS}
            return replace(value, **{name: self._mask(text) for name, text in texts.items()})
        return value
