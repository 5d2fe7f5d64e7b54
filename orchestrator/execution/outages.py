"""How long something that had to stop first was away.

Owns the clock of it, for reports: from the stop of the old instance until the new one serves. Pure; the
times are arguments.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.routing import Shift

_Place = tuple[str, str, int]
"""(host, service, slot)."""


class Outages:
    """Hears of every step of a run that ended well."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._routed = frozenset(_place(step) for step in steps if step.kind is StepKind.ATTACH)
        self._since: dict[_Place, float] = {}
        self._up: set[_Place] = set()

    def ended(self, step: Step, begun: float, now: float) -> str:
        """Take note of ``step``; return what to say when it ended an outage, else nothing.

        Args:
            step: It ended well.
            begun: When it was begun (seconds on any monotonic scale).
            now: When it ended.
        """
        place = _place(step)
        if step.kind is StepKind.STOP and place not in self._up:
            self._since.setdefault(place, begun)
        elif step.kind in _COMES_UP:
            self._up.add(place)
            if place not in self._routed:
                return self._told([place], now)
        elif isinstance(step.routing, Shift) and step.kind is StepKind.SHIFT:
            slots = {member.slot for member in step.routing.members}
            back = [(step.host, step.service, slot) for slot in sorted(slots)]
            return self._told([place for place in back if place in self._up], now)
        return ""

    def _told(self, places: Iterable[_Place], now: float) -> str:
        told = [
            f"{service}[{slot}] was away for {now - self._since.pop((host, service, slot)):.1f} s"
            for host, service, slot in places
            if (host, service, slot) in self._since
        ]
        return ", ".join(told)


_COMES_UP = frozenset({StepKind.START, StepKind.RESUME})


def _place(step: Step) -> _Place:
    return (step.host, step.service, step.slot)
