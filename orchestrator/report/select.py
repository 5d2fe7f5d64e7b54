"""Which view a run gets: JSON lines, a live console or plain lines.

Owns the choice and nothing of what is shown. The console, and rich with it, is imported only when it
is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol, TextIO

from orchestrator import events as ev
from orchestrator.report.jsonlines import JsonListener
from orchestrator.report.output import Output
from orchestrator.report.plain import PlainListener
from orchestrator.report.style import Style, is_smart, style_for


class View(Protocol):
    """A listener that holds something which must be given back, such as the terminal's cursor."""

    def __call__(self, event: ev.Event) -> None:
        """Show ``event``. Called from any thread; never raises for a stream that went away."""
        ...

    def close(self) -> None:
        """Give everything back. May be called twice, and without a ``Finished`` before."""
        ...


def make_listener(
    stdout: TextIO,
    stderr: TextIO,
    *,
    json: bool,
    verbose: bool,
    environ: Mapping[str, str],
    clock: Callable[[], float] = time.time,
) -> View:
    """Return the view that suits where the output goes.

    Args:
        stdout: Where the run is shown.
        stderr: Where a person sees trouble while JSON goes into a file or a pipe.
        json: ``--json``: one object a line on ``stdout`` and nothing else there.
        verbose: ``-v``.
        environ: For ``NO_COLOR`` and ``TERM``.
        clock: Seconds since the epoch, for the ``time`` of JSON lines.
    """
    output = Output(stdout)
    if json:
        lines = JsonListener(output, clock)
        return Both(lines, quiet(stderr)) if stderr.isatty() and not stdout.isatty() else lines
    if not is_smart(stdout, environ):
        return PlainListener(output, verbose=verbose)
    from orchestrator.report.console import ConsoleListener  # noqa: PLC0415 - rich costs 40 ms

    colour = not environ.get("NO_COLOR")
    return ConsoleListener(output, clock=time.monotonic, verbose=verbose, colour=colour)


def quiet(stderr: TextIO) -> View:
    """Return the view for commands whose result is a document: trouble only, as plain lines on ``stderr``."""
    return PlainListener(Output(stderr), only=(ev.Warned, ev.HostFailed, ev.StepFailed))


def make_style(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Return the colours ``stream`` can show; none under ``NO_COLOR``, in a pipe or on a dumb terminal."""
    return style_for(stream, environ)


class Both:
    """Shows every event in two views."""

    def __init__(self, first: View, second: View) -> None:
        self._views = (first, second)

    def __call__(self, event: ev.Event) -> None:
        """Show ``event`` in both."""
        for view in self._views:
            view(event)

    def close(self) -> None:
        """Close both."""
        for view in self._views:
            view.close()
