"""A run as plain lines: stable, one fact a line, made for pipes, logs and ``grep``.

Owns the line of every event and the listener that writes them. No colours, no cursor movement, no
control characters, no rich. The error that ended a run is :mod:`.errors_view`'s, on standard error: here
is only that it failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator import events as ev
from orchestrator.report import failure_view, plan_view
from orchestrator.report.failure_view import FailedStep
from orchestrator.report.mask import Masker
from orchestrator.report.output import Output
from orchestrator.report.style import Style, unstyled
from orchestrator.report.text import clean, duration, plural, short_id, size
from orchestrator.report.wording import Memory, doing, done

Lines = tuple[str, ...]


def event_lines(event: ev.Event, memory: Memory, *, verbose: bool = False, style: Style = unstyled) -> Lines:
    """Return what to print for ``event``: nothing for those that only a live view needs."""
    return _LINES[type(event)](event, memory, verbose, style)


class PlainListener:
    """Prints the lines of each event as it comes, from any thread."""

    def __init__(
        self, output: Output, *, verbose: bool = False, only: tuple[type, ...] | None = None
    ) -> None:
        """Print to ``output``; ``only`` limits it to these types of events."""
        self._output = output
        self._only = only
        self._verbose = verbose
        self._mask = Masker()
        self._memory = Memory()
        self._phases: dict[str, str] = {}
        self._lock = threading.Lock()

    def __call__(self, event: ev.Event) -> None:
        """Print ``event``."""
        with self._lock:
            event = self._mask(event)
            self._memory.observe(event)
            if (self._only is None or isinstance(event, self._only)) and not self._repeated(event):
                self._output.lines(event_lines(event, self._memory, verbose=self._verbose))

    def close(self) -> None:
        """Do nothing: every line is out already."""

    def _repeated(self, event: ev.Event) -> bool:
        """Tell whether ``event`` only moves the bytes of a phase that was already named."""
        if not isinstance(event, ev.StepProgress):
            return False
        seen = self._phases.get(event.step.id) == event.phase
        self._phases[event.step.id] = event.phase
        return seen


def _warned(event: ev.Warned, _memory: Memory, _verbose: bool, style: Style) -> Lines:
    hint = (f"  hint: {clean(event.hint)}",) if event.hint else ()
    return (f"{style('warning', 'warning')}: {clean(event.message)}", *hint)


def _host_connecting(event: ev.HostConnecting, _memory: Memory, verbose: bool, _style: Style) -> Lines:
    return (f"{clean(event.host)}: connecting",) if verbose else ()


def _host_connected(event: ev.HostConnected, _memory: Memory, _verbose: bool, _style: Style) -> Lines:
    shipped = ", agent sent" if event.shipped_agent else ""
    return (f"{clean(event.host)}: connected in {duration(event.seconds)}{shipped}",)


def _host_failed(event: ev.HostFailed, _memory: Memory, _verbose: bool, style: Style) -> Lines:
    host = clean(event.host)
    message = clean(event.message).removeprefix(f"{host}: ")
    hint = (f"  hint: {clean(event.hint)}",) if event.hint else ()
    return (
        f"{host}: {style('failed', 'bad')}: {message}",
        *(f"  {clean(line)}" for line in event.context),
        *hint,
    )


def _build_started(event: ev.BuildStarted, _memory: Memory, _verbose: bool, _style: Style) -> Lines:
    where = f" on {clean(event.builder)}" if event.builder else ""
    why = f": {clean(event.reason)}" if event.reason else ""
    return (f"image {clean(event.image)}: building{where}{why}",)


def _build_output(event: ev.BuildOutput, _memory: Memory, verbose: bool, _style: Style) -> Lines:
    return (f"image {clean(event.image)}: | {clean(event.line)}".rstrip(),) if verbose else ()


def _build_finished(event: ev.BuildFinished, _memory: Memory, verbose: bool, _style: Style) -> Lines:
    if event.cached and not verbose:
        return ()
    what = "unchanged" if event.cached else f"built in {duration(event.seconds)}"
    return (f"image {clean(event.image)}: {what}, id {short_id(event.id)}",)


def _planned(event: ev.Planned, _memory: Memory, verbose: bool, style: Style) -> Lines:
    return plan_view.lines(event.plan, verbose=verbose, style=style)


def _lease_taken(event: ev.LeaseTaken, _memory: Memory, _verbose: bool, _style: Style) -> Lines:
    return (f"lease: taken on {plural(len(event.hosts), 'host')}, epoch {event.epoch}",)


def _step_started(event: ev.StepStarted, memory: Memory, _verbose: bool, _style: Style) -> Lines:
    step = event.step
    return (f"{clean(step.host)}: {doing(step)} {memory.subject(step)}",)


def _step_progress(event: ev.StepProgress, memory: Memory, verbose: bool, _style: Style) -> Lines:
    if not verbose:
        return ()
    detail = f": {clean(event.detail)}" if event.detail else ""
    return (f"{clean(event.step.host)}: {memory.subject(event.step)} {clean(event.phase)}{detail}",)


def _step_finished(event: ev.StepFinished, memory: Memory, _verbose: bool, _style: Style) -> Lines:
    step = event.step
    what = clean(event.note) or f"{done(step)} in {duration(event.seconds)}"
    amount = f", {size(event.bytes_sent)}" if event.bytes_sent else ""
    return (f"{clean(step.host)}: {memory.subject(step)} {what}{amount}",)


def _step_failed(event: ev.StepFailed, memory: Memory, _verbose: bool, style: Style) -> Lines:
    return failure_view.lines(failed_step(event, memory), style)


def _step_skipped(event: ev.StepSkipped, memory: Memory, verbose: bool, _style: Style) -> Lines:
    if not verbose:
        return ()
    step = event.step
    why = (
        "interrupted" if event.because == "interrupted" else f"waits for {clean(event.because)}, which failed"
    )
    return (f"{clean(step.host)}: {step.kind.value} {memory.subject(step)} skipped: {why}",)


def _restore_started(event: ev.RestoreStarted, _memory: Memory, _verbose: bool, style: Style) -> Lines:
    return (
        f"{style('restoring', 'warning')}: {clean(event.reason)}, {plural(event.steps, 'step')} to take back",
    )


def _restore_finished(event: ev.RestoreFinished, _memory: Memory, verbose: bool, style: Style) -> Lines:
    head = (
        f"{style('restored', 'good')}: the old state is back"
        if event.ok
        else f"{style('not restored', 'bad')}: the old state could not be brought back"
    )
    # The error that follows says what state each host is in.
    return (head, *(f"  {clean(host)}: {clean(state)}" for host, state in event.states if verbose))


def _finished(event: ev.Finished, _memory: Memory, verbose: bool, style: Style) -> Lines:
    trips = ", ".join(f"{clean(host)} {count}" for host, count in sorted(event.round_trips.items()))
    return (*((f"round trips: {trips}",) if verbose and trips else ()), finished_line(event, style))


def failed_step(event: ev.StepFailed, memory: Memory) -> FailedStep:
    """Return what the failure's screen is made of."""
    return FailedStep(
        step=event.step,
        subject=memory.subject(event.step),
        message=event.message,
        failure=event.failure,
        seconds=event.seconds,
        standing=memory.standing(event.step),
    )


def finished_line(event: ev.Finished, style: Style = unstyled) -> str:
    """Return the last line of a run: what changed, the release, bytes and seconds."""
    if not event.ok:
        head = style("failed", "bad")
        spent = f"after {duration(event.seconds)}, {size(event.bytes_sent)} sent"
        return f"{head}: exit code {event.exit_code} {spent}"
    words = (("create", "created"), ("replace", "replaced"), ("remove", "removed"), ("keep", "unchanged"))
    changed = ", ".join(f"{event.changes.get(key, 0)} {word}" for key, word in words if key in event.changes)
    release = f"release {clean(event.release)}" if event.release else ""
    what = "; ".join(part for part in (release, changed) if part) or "nothing to report"
    spent = f"{size(event.bytes_sent)} sent in {duration(event.seconds)}"
    if event.held:
        name = clean(event.release)
        head = style("held", "warning")
        return f"{head}: {what}; {spent}; go on by deploy promote {name} or deploy abort {name}"
    return f"{style('done', 'good')}: {what}; {spent}"


_LINES: Mapping[type, Callable[[Any, Memory, bool, Style], Lines]] = {
    ev.Warned: _warned,
    ev.HostConnecting: _host_connecting,
    ev.HostConnected: _host_connected,
    ev.HostFailed: _host_failed,
    ev.BuildStarted: _build_started,
    ev.BuildOutput: _build_output,
    ev.BuildFinished: _build_finished,
    ev.Planned: _planned,
    ev.LeaseTaken: _lease_taken,
    ev.StepStarted: _step_started,
    ev.StepProgress: _step_progress,
    ev.StepFinished: _step_finished,
    ev.StepFailed: _step_failed,
    ev.StepSkipped: _step_skipped,
    ev.RestoreStarted: _restore_started,
    ev.RestoreFinished: _restore_finished,
    ev.Finished: _finished,
}
