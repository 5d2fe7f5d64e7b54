"""The board: one row per host, in a fixed order, whatever happens."""

from __future__ import annotations

import typing

from hypothesis import given
from hypothesis import strategies as st
from support.report_samples import plan, run, ship, start

from orchestrator import events as ev
from orchestrator.planning.types import Step, StepKind
from orchestrator.report.board import Board, Row, fit
from orchestrator.report.wording import Memory


def board_after(events, *, step=1.0):
    """Return a board that took ``events``, one every ``step`` seconds."""
    memory = Memory()
    board = Board(memory)
    for number, event in enumerate(events):
        memory.observe(event)
        board.apply(event, number * step)
    return board


def test_every_event_is_taken():
    """No event type is forgotten."""
    assert set(Board(Memory())._handlers) == set(typing.get_args(ev.Event))


@given(st.lists(st.sampled_from(run()), max_size=30))
def test_any_order_of_events_gives_rows_in_order(events):
    """Events may come in any order from any thread: rows stay sorted, one per host."""
    rows = board_after(events).rows(100.0)
    names = [row.name for row in rows if not row.name.startswith("image ")]
    assert names == sorted(set(names))


def test_a_host_from_connecting_to_healthy():
    """The row follows the host through all its phases."""
    memory = Memory()
    board = Board(memory)
    step = start()
    states = []
    for now, event in enumerate(
        [
            ev.HostConnecting("web-1"),
            ev.HostConnected("web-1", 0.1),
            ev.Planned(plan()),
            ev.StepStarted(ship()),
            ev.StepProgress(ship(), "sending", done=0, total=100),
            ev.StepFinished(ship(), 1.0, 100),
            ev.StepStarted(step),
            ev.StepProgress(step, "checking"),
            ev.StepFinished(step, 2.0),
        ]
    ):
        memory.observe(event)
        board.apply(event, now)
        states.append(next(row for row in board.rows(now) if row.name == "web-1").state)
    assert states == [
        "connecting", "connected", "waiting", "sending", "sending", "sent", "starting", "checking", "healthy",
    ]  # fmt: skip


def test_bytes_and_rate_while_sending():
    """Shipping shows how much of how much, and how fast."""
    events = [
        ev.Planned(plan()),
        ev.StepStarted(ship()),
        ev.StepProgress(ship(), "sending", done=0, total=9_000_000),
        ev.StepProgress(ship(), "sending", done=4_000_000, total=9_000_000),
    ]
    (row,) = [row for row in board_after(events).rows(4.0) if row.name == "web-1"]
    assert row == Row("web-1", "sending", "image tomcat", "4.0 MB of 9.0 MB, 2.0 MB/s")


def test_parallel_steps_show_the_oldest():
    """Several steps on one host do not make its row jump: the oldest stays until it ends."""
    one, two = start(slot=1), start(slot=2)
    board = board_after([ev.StepStarted(one), ev.StepStarted(two)])
    assert board.rows(1.5) == (Row("web-1", "starting", "api[1]", "1 s, and 1 more"),)
    board.apply(ev.StepFinished(one, 1.0), 2.0)
    assert board.rows(2.0)[0].subject == "api[2]"


def test_a_failed_host_stays_failed_until_it_is_restored():
    """A later success of another step does not hide a failure."""
    one, two = start(slot=1), start(slot=2)
    board = board_after(
        [ev.StepStarted(one), ev.StepStarted(two), ev.StepFailed(one, "exited"), ev.StepFinished(two, 1.0)]
    )
    assert board.rows(9.0)[0].state == "failed"
    board.apply(ev.RestoreStarted("failed", 1), 9.0)
    board.apply(ev.RestoreFinished(ok=True, states=(("web-1", "as before"),)), 10.0)
    assert board.rows(10.0)[0] == Row("web-1", "restored", "", "as before", "good")


@given(st.integers(0, 60), st.integers(1, 30))
def test_the_board_never_exceeds_its_height(count, height):
    """Beyond the terminal's height the rest is counted, and nothing is lost from the count."""
    rows = tuple(Row(f"web-{n}", "sending" if n % 2 else "healthy") for n in range(count))
    shown = fit(rows, height)
    assert len(shown) <= height
    if count > height:
        assert shown[-1].name == f"and {count - height + 1} more"
    else:
        assert shown == rows


def test_traffic_that_is_watched_has_a_row_of_its_own():
    """Sessions that are left and errors per second stay in sight while other steps go on."""
    board = Board(Memory())
    drain = Step("drain web-1 api[1]", StepKind.DRAIN, "web-1", service="api", slot=1, release="r4")
    watch = Step("watch web-1 api", StepKind.WATCH, "web-1", service="api")
    board.apply(ev.StepStarted(start()), 0)
    board.apply(ev.StepProgress(start(slot=2), "starting"), 0)
    board.apply(ev.StepProgress(drain, "draining"), 0)
    assert [(row.name, row.detail) for row in board.rows(0)] == [("web-1", "and 2 more")]
    board.apply(ev.StepProgress(drain, "draining", "12 sessions"), 0)
    board.apply(ev.StepProgress(watch, "watching", "0.2 errors/s, 0.1 on the old"), 0)
    assert [(row.name, row.state, row.detail) for row in board.rows(3)] == [
        ("web-1", "starting", "3 s, and 1 more"),
        ("", "draining", "3 s, 12 sessions"),
        ("", "watching", "3 s, 0.2 errors/s, 0.1 on the old"),
    ]
