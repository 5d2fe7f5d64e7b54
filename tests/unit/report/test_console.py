"""The console: a board on a virtual terminal."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest
from rich.console import Console
from support.report_samples import NOW, finished, plan, run, start

from orchestrator import events as ev
from orchestrator.report.board import Row
from orchestrator.report.console import ConsoleListener, _Shown, board_table
from orchestrator.report.output import Output

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch):
    """Give every test a terminal of 100 by 12."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "12")


def drawn(events, **options):
    """Return all that was written to the terminal."""
    stream = io.StringIO()
    listener = ConsoleListener(Output(stream), clock=lambda: NOW, **options)
    for event in events:
        listener(event)
    listener.close()
    listener.close()
    return stream.getvalue()


def test_a_whole_run_is_shown():
    """The plan, the failure, the restore, the hosts and the end are on the screen."""
    text = ESCAPE.sub("", drawn(run()))
    for expected in (
        "± replace api[2] on web-2: environment LOG_LEVEL changed",
        "web-2: start api[2] failed after 1 min",
        "GET http://172.18.0.2:8080/health: status 503",
        "restored: the old state is back",
        "failed: exit code 3 after 1 min 3 s",
    ):
        assert expected in text
    assert re.search(r"web-1 +restored +as before", text)


def test_the_cursor_is_given_back():
    """Every hiding of the cursor is followed by showing it."""
    text = drawn([*run()[:10], ev.StepStarted(start())])
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") > 0
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


def test_nothing_moves_while_the_plan_is_being_read():
    """The board is away between the plan and the first change, when a question is asked."""
    stream = io.StringIO()
    listener = ConsoleListener(Output(stream), clock=lambda: NOW)
    listener(ev.HostConnecting("web-1"))
    listener(ev.Planned(plan()))
    assert listener._shown is None
    listener(ev.LeaseTaken(8, ("web-1",)))
    assert listener._shown is not None
    listener.close()
    assert listener._shown is None


def test_no_colour_when_told_so():
    """Under NO_COLOR no colour and no weight is set; the cursor still moves."""
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", drawn(run(), colour=False)))
    assert codes <= {"", "0"}


def test_hostile_text_is_harmless():
    """Neither escape sequences nor markup of a host's text reach the terminal."""
    text = drawn([ev.StepFailed(start(), "[red]x[/red]\x1b]0;owned\x07\x1b[2J", None, 1.0)])
    assert "\x1b]" not in text
    assert "\x1b[2J" not in text
    assert "[red]x[/red]" in ESCAPE.sub("", text)


def test_many_hosts_stay_within_the_terminal():
    """A hundred hosts on twelve lines: the board draws ten, the last counting the others."""
    stream = io.StringIO()
    listener = ConsoleListener(Output(stream), clock=lambda: NOW)
    for number in range(100):
        listener(ev.HostConnecting(f"web-{number:03}"))
    assert len(listener._rows()) == 10
    listener.close()
    assert "and 91 more" in ESCAPE.sub("", stream.getvalue())


def test_a_narrow_terminal_keeps_one_line_per_host():
    """What does not fit is cut off, never wrapped: wrapping makes a board jump."""
    stream = io.StringIO()
    Console(file=stream, width=30, force_terminal=True).print(
        board_table((Row("web-1", "checking", "api[1]", "x" * 200, "good"),) * 3, colour=True)
    )
    lines = ESCAPE.sub("", stream.getvalue()).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 30 for line in lines)


def test_events_from_many_threads():
    """Threads that report at once neither deadlock nor lose an end."""
    stream = io.StringIO()
    listener = ConsoleListener(Output(stream), clock=time.monotonic, verbose=True)

    def work(host):
        for slot in range(20):
            listener(ev.StepStarted(start(host, slot=slot)))
            listener(ev.StepFinished(start(host, slot=slot), 0.1))

    threads = [threading.Thread(target=work, args=(f"web-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    listener(finished())
    text = ESCAPE.sub("", stream.getvalue())
    assert text.count(" healthy in 0.1 s") == 80
    assert "done: release r5" in text


def test_a_terminal_that_goes_away_stops_nothing():
    """A closed window does not end the apply."""

    class Gone(io.StringIO):
        def write(self, text):
            raise OSError

    listener = ConsoleListener(Output(Gone()), clock=lambda: NOW)
    for event in run():
        listener(event)
    listener.close()


def test_a_still_board_is_not_drawn_again(monkeypatch):
    """While nothing changes nothing is written, so nothing can flicker; a change is drawn."""
    monkeypatch.setattr("orchestrator.report.console.REFRESHES", 1000)
    drawings = threading.Semaphore(0)
    looks = threading.Semaphore(0)
    rows = [(Row("web-1", "starting"),)]

    def look():
        looks.release()
        return rows[0]

    shown = _Shown(Console(file=io.StringIO(), force_terminal=True), look, colour=True, transient=True)
    monkeypatch.setattr(shown._live, "refresh", drawings.release)
    for _ in range(20):
        assert looks.acquire(timeout=20)
    while drawings.acquire(blocking=False):
        pass
    for _ in range(20):
        assert looks.acquire(timeout=20)
    assert not drawings.acquire(blocking=False)
    rows[0] = (Row("web-1", "healthy"),)
    assert drawings.acquire(timeout=20)
    shown.close()
