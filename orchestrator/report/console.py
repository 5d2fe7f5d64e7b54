"""A run on a terminal: a live board of all hosts, and above it what is worth keeping.

Owns the drawing, with rich, and when the board is shown: it is taken away while the plan waits for an
answer, and stays in its last state when the run ends. Imported only for terminals, because rich costs
40 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import IO, Literal, cast

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator import events as ev
from orchestrator.report import plan_view
from orchestrator.report.board import Board, Row, fit
from orchestrator.report.mask import Masker
from orchestrator.report.output import Output
from orchestrator.report.plain import event_lines
from orchestrator.report.style import Role, ansi, unstyled
from orchestrator.report.wording import Memory

REFRESHES = 8
"""Looks at the board a second; it is drawn again only when it reads differently, so nothing flickers."""
_MARGIN = 2
"""Lines of the terminal that the board leaves free: one above, one for the cursor."""

_KEPT = (
    ev.Warned,
    ev.HostFailed,
    ev.BuildFinished,
    ev.StepFailed,
    ev.RestoreStarted,
    ev.RestoreFinished,
    ev.Finished,
)
"""Events whose lines stay on the screen; the board shows the rest."""
_ACTIVITY = (ev.HostConnecting, ev.BuildStarted, ev.LeaseTaken, ev.StepStarted)
"""Events that bring the board up."""
_STYLES: dict[Role, str] = {
    "create": "green",
    "replace": "yellow",
    "remove": "red",
    "good": "green",
    "bad": "bold red",
    "warning": "yellow",
    "strong": "bold",
    "dim": "dim",
}


class ConsoleListener:
    """Draws the run on a terminal. Events may come from any thread."""

    def __init__(
        self, output: Output, *, clock: Callable[[], float], verbose: bool = False, colour: bool = True
    ) -> None:
        """Prepare to draw; nothing is shown yet.

        Args:
            output: The terminal.
            clock: Seconds, only ever forward (``time.monotonic``).
            verbose: Keep a line of every step, and the builders' output.
            colour: False under ``NO_COLOR``.
        """
        self._clock = clock
        self._verbose = verbose
        self._style = ansi if colour else unstyled
        self._colour = colour
        self._console = Console(
            file=cast("IO[str]", output),
            force_terminal=True,
            color_system="standard" if colour else None,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._mask = Masker()
        self._memory = Memory()
        self._board = Board(self._memory)
        self._state = threading.Lock()
        """Guards memory and board. The drawing thread takes it, so nothing is drawn while it is held."""
        self._screen = threading.Lock()
        """Guards the live board's coming and going."""
        self._shown: _Shown | None = None

    def __call__(self, event: ev.Event) -> None:
        """Take ``event`` in and show it."""
        with self._state:
            event = self._mask(event)
            self._memory.observe(event)
            self._board.apply(event, self._clock())
            lines = self._lines(event)
            preparing = self._memory.plan is None
        with self._screen:
            if isinstance(event, (ev.Planned, ev.Finished)):
                self._take_down()
            elif isinstance(event, _ACTIVITY):
                self._bring_up(transient=preparing)
            self._print(lines)

    def close(self) -> None:
        """Give the terminal back, cursor and all. May be called twice."""
        with self._screen:
            self._take_down()

    def _lines(self, event: ev.Event) -> tuple[str, ...]:
        if isinstance(event, ev.Planned):
            width = self._console.width
            return plan_view.lines(event.plan, verbose=self._verbose, width=width, style=self._style)
        if isinstance(event, _KEPT) or (self._verbose and not isinstance(event, ev.StepProgress)):
            return event_lines(event, self._memory, verbose=self._verbose, style=self._style)
        return ()

    def _print(self, lines: tuple[str, ...]) -> None:
        if lines:
            text = Text("\n").join(Text.from_ansi(line) if line else Text() for line in lines)
            self._console.print(text, soft_wrap=True)

    def _bring_up(self, *, transient: bool) -> None:
        if self._shown is None:
            self._shown = _Shown(self._console, self._rows, colour=self._colour, transient=transient)

    def _take_down(self) -> None:
        if self._shown is not None:
            self._shown.close()
            self._shown = None

    def _rows(self) -> tuple[Row, ...]:
        height = max(1, self._console.height - _MARGIN)
        with self._state:
            return fit(self._board.rows(self._clock()), height)


class _Shown:
    """The board while it is on the screen, and the thread that keeps it current."""

    def __init__(
        self, console: Console, rows: Callable[[], tuple[Row, ...]], *, colour: bool, transient: bool
    ) -> None:
        self._rows = rows
        self._live = Live(
            console=console,
            get_renderable=lambda: board_table(rows(), colour=colour),
            auto_refresh=False,
            transient=transient,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep_current, name="deploy-console", daemon=True)
        self._live.start(refresh=True)
        self._thread.start()

    def close(self) -> None:
        """Draw the last state, or nothing of it when it is transient, and give the cursor back."""
        self._end.set()
        self._thread.join()
        self._live.stop()

    def _keep_current(self) -> None:
        drawn: tuple[Row, ...] = ()
        while not self._end.wait(1 / REFRESHES):
            rows = self._rows()
            if rows != drawn:
                self._live.refresh()
                drawn = rows


def board_table(rows: tuple[Row, ...], *, colour: bool) -> Table:
    """Return ``rows`` as a table of one line each; what does not fit is cut off at the right."""
    table = Table.grid(padding=(0, 2, 0, 0))
    overflow: Literal["ellipsis"] = "ellipsis"
    table.add_column(no_wrap=True, overflow=overflow, max_width=32, min_width=8)
    table.add_column(no_wrap=True, overflow=overflow, min_width=10)
    table.add_column(no_wrap=True, overflow=overflow, max_width=32, min_width=16)
    table.add_column(no_wrap=True, overflow=overflow, ratio=1)
    for row in rows:
        style = _STYLES[row.role] if colour and row.role else ""
        dim = "dim" if colour else ""
        table.add_row(Text(row.name), Text(row.state, style), Text(row.subject), Text(row.detail, dim))
    return table
