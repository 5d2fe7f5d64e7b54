"""What every host is doing right now: the state behind the live console.

Owns the reduction of events to rows by host and by image, in a fixed order, and the fitting of rows into
a height. Knows no terminal; the time is an argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator import events as ev
from orchestrator.planning.types import Step, StepKind
from orchestrator.report.style import Role
from orchestrator.report.text import clean, duration, short_id, size
from orchestrator.report.wording import Memory, doing, done

_TRAFFIC = frozenset((StepKind.DRAIN, StepKind.WATCH))
"""Steps whose detail is a number that people watch: sessions left, errors per second. Each has a row."""


@dataclass(frozen=True)
class Row:
    """One line of the board."""

    name: str
    """Empty: of the host in the row above."""
    state: str
    """One word: ``connecting``, ``sending``, ``checking``, ``healthy``, ``failed``, ..."""
    subject: str = ""
    detail: str = ""
    role: Role | None = None


@dataclass
class _Active:
    step: Step
    since: float
    phase: str
    detail: str = ""
    sent: int = 0
    total: int = 0
    sending_since: float = 0.0


@dataclass
class _Lane:
    """What is known of one host or image."""

    state: str
    since: float
    subject: str = ""
    detail: str = ""
    role: Role | None = None
    failed: bool = False
    busy: bool = False
    active: dict[str, _Active] = field(default_factory=dict)


class Board:
    """Takes events in any order of hosts and tells what each host is doing."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._images: dict[str, _Lane] = {}
        self._hosts: dict[str, _Lane] = {}
        self._handlers: Mapping[type, Callable[[Any, float], None]] = {
            ev.Warned: self._ignore,
            ev.HostConnecting: self._connecting,
            ev.HostConnected: self._connected,
            ev.HostFailed: self._host_failed,
            ev.BuildStarted: self._build_started,
            ev.BuildOutput: self._build_output,
            ev.BuildFinished: self._build_finished,
            ev.Planned: self._planned,
            ev.LeaseTaken: self._ignore,
            ev.StepStarted: self._step_started,
            ev.StepProgress: self._step_progress,
            ev.StepFinished: self._step_finished,
            ev.StepFailed: self._step_failed,
            ev.StepSkipped: self._step_skipped,
            ev.RestoreStarted: self._restore_started,
            ev.RestoreFinished: self._restore_finished,
            ev.Finished: self._ignore,
        }

    def apply(self, event: ev.Event, now: float) -> None:
        """Take ``event`` in. ``now`` is seconds on any clock that only goes forward."""
        self._handlers[type(event)](event, now)

    def rows(self, now: float) -> tuple[Row, ...]:
        """Return all rows: images by name, then hosts by name."""
        images = (_lane_row(f"image {name}", lane, now) for name, lane in sorted(self._images.items()))
        hosts = (
            row for name, lane in sorted(self._hosts.items()) for row in self._host_rows(name, lane, now)
        )
        return (*images, *hosts)

    def _host_rows(self, name: str, lane: _Lane, now: float) -> Iterator[Row]:
        """Yield the host's row, and one for each further step that tells of traffic right now."""
        yield self._host_row(name, lane, now)
        if lane.active and not lane.failed:
            for entry in list(lane.active.values())[1:]:
                if entry.step.kind in _TRAFFIC and entry.detail:
                    subject = self._memory.subject(entry.step)
                    yield Row("", clean(entry.phase), subject, _progress(entry, now))

    def _host_row(self, name: str, lane: _Lane, now: float) -> Row:
        if not lane.active or lane.failed:
            return _lane_row(name, lane, now)
        first = next(iter(lane.active.values()))
        others = sum(
            not (entry.step.kind in _TRAFFIC and entry.detail) for entry in list(lane.active.values())[1:]
        )
        more = f"and {others} more" if others else ""
        detail = ", ".join(part for part in (_progress(first, now), more) if part)
        return Row(clean(name), clean(first.phase), self._memory.subject(first.step), detail)

    def _lane(self, host: str, now: float) -> _Lane:
        return self._hosts.setdefault(host, _Lane("connected", now))

    def _ignore(self, _event: ev.Event, _now: float) -> None:
        """Leave the board as it is: the event is about the run, not about one host."""

    def _connecting(self, event: ev.HostConnecting, now: float) -> None:
        self._hosts[event.host] = _Lane("connecting", now, busy=True)

    def _connected(self, event: ev.HostConnected, now: float) -> None:
        detail = "agent sent" if event.shipped_agent else ""
        self._hosts[event.host] = _Lane("connected", now, detail=detail)

    def _host_failed(self, event: ev.HostFailed, now: float) -> None:
        message = clean(event.message).removeprefix(f"{clean(event.host)}: ")
        self._hosts[event.host] = _Lane("failed", now, detail=message, role="bad", failed=True)

    def _build_started(self, event: ev.BuildStarted, now: float) -> None:
        self._images[event.image] = _Lane("building", now, subject=clean(event.builder), busy=True)

    def _build_output(self, event: ev.BuildOutput, _now: float) -> None:
        if event.image in self._images:
            self._images[event.image].detail = clean(event.line)

    def _build_finished(self, event: ev.BuildFinished, now: float) -> None:
        if event.cached:
            self._images.pop(event.image, None)
            return
        detail = duration(event.seconds)
        self._images[event.image] = _Lane("built", now, short_id(event.id), detail, "good")

    def _planned(self, event: ev.Planned, now: float) -> None:
        for host in event.plan.hosts:
            self._lane(host, now).state = "waiting"

    def _step_started(self, event: ev.StepStarted, now: float) -> None:
        step = event.step
        self._lane(step.host, now).active[step.id] = _Active(step, now, doing(step))

    def _step_progress(self, event: ev.StepProgress, now: float) -> None:
        step = event.step
        active = self._lane(step.host, now).active
        entry = active.setdefault(step.id, _Active(step, now, event.phase))
        entry.phase, entry.detail = event.phase, event.detail
        if event.total and not entry.total:
            entry.sending_since = now
        entry.sent, entry.total = event.done, event.total

    def _step_finished(self, event: ev.StepFinished, now: float) -> None:
        step = event.step
        detail = clean(event.note) or duration(event.seconds)
        self._settle(step, now, _Lane(done(step), now, self._memory.subject(step), detail, "good"))

    def _step_failed(self, event: ev.StepFailed, now: float) -> None:
        step = event.step
        subject, message = self._memory.subject(step), clean(event.message)
        self._settle(step, now, _Lane("failed", now, subject, message, "bad", failed=step.essential))

    def _settle(self, step: Step, now: float, outcome: _Lane) -> None:
        lane = self._lane(step.host, now)
        lane.active.pop(step.id, None)
        if not lane.failed:
            outcome.active = lane.active
            self._hosts[step.host] = outcome

    def _step_skipped(self, event: ev.StepSkipped, now: float) -> None:
        lane = self._lane(event.step.host, now)
        if lane.state == "waiting":
            lane.state = "skipped"

    def _restore_started(self, _event: ev.RestoreStarted, _now: float) -> None:
        for lane in self._hosts.values():
            lane.active.clear()
            lane.failed = False

    def _restore_finished(self, event: ev.RestoreFinished, now: float) -> None:
        role: Role = "good" if event.ok else "bad"
        state = "restored" if event.ok else "broken"
        for host, detail in event.states:
            self._hosts[host] = _Lane(state, now, detail=clean(detail), role=role)


def fit(rows: Sequence[Row], height: int) -> tuple[Row, ...]:
    """Return at most ``height`` rows; the last one counts, by state, those that had no room."""
    if len(rows) <= height:
        return tuple(rows)
    shown, rest = rows[: max(0, height - 1)], rows[max(0, height - 1) :]
    states = ", ".join(f"{count} {state}" for state, count in sorted(Counter(r.state for r in rest).items()))
    return (*shown, Row(f"and {len(rest)} more", states, role="dim"))


def _lane_row(name: str, lane: _Lane, now: float) -> Row:
    elapsed = _elapsed(now - lane.since) if lane.busy else ""
    detail = ", ".join(part for part in (elapsed, lane.detail) if part)
    return Row(clean(name), lane.state, lane.subject, detail, lane.role)


def _progress(active: _Active, now: float) -> str:
    if not active.total:
        return ", ".join(p for p in (_elapsed(now - active.since), clean(active.detail)) if p)
    seconds = now - active.sending_since
    rate = f", {size(active.sent / seconds)}/s" if seconds > 0.2 else ""
    return f"{size(active.sent)} of {size(active.total)}{rate}"


def _elapsed(seconds: float) -> str:
    """Return whole seconds, so that the screen changes once a second and not at every look."""
    return f"{int(seconds)} s" if 1 <= seconds < 60 else duration(int(seconds)) if seconds >= 60 else ""
