"""The guard: exactly one of confirm and expiry wins, whatever the order, and both outlive what armed it."""

from __future__ import annotations

import threading

import pytest

from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import Paths
from orchestrator.agent.router import guard, watchman
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.table import SERVING, Seat, Table
from orchestrator.protocol.routing import Arm

NAME = "r2-7"


@pytest.fixture
def journal(tmp_path):
    """A project whose router has one seat."""
    made = Journal(Paths(tmp_path), "shop")
    Home(made.files).put_table(Table((Seat("web", 1, "r1", "c", "10.0.0.1", 1, SERVING, 256),)))
    return made


@pytest.fixture
def clock(monkeypatch):
    """Set the time since boot."""

    def move(seconds: float) -> None:
        monkeypatch.setattr(guard, "since_boot", lambda: seconds)

    move(100.0)
    return move


def entry(journal):
    """What is guarded."""
    return guard.read(Home(journal.files))


def test_a_confirm_in_time_stands(journal, clock):
    """Twice as well, and whatever time passes."""
    assert guard.arm(journal, Arm(NAME, 30.0)) == ""
    assert guard.arm(journal, Arm(NAME, 30.0)) == "was armed already"
    assert guard.confirm(journal, NAME) == "confirmed"
    clock(1000.0)
    assert guard.expire(journal, NAME) is False
    assert guard.confirm(journal, NAME) == "confirmed"
    assert entry(journal).quarantine == ()


def test_a_late_confirm_is_told_so(journal, clock):
    """Even when nobody was there to see the deadline pass; the release is quarantined."""
    guard.arm(journal, Arm(NAME, 30.0))
    clock(130.0)
    assert guard.confirm(journal, NAME) == "reverted"
    found = entry(journal)
    assert (found.state, found.restored, found.quarantine) == ("reverted", False, ("r2",))
    assert found.table.seats[0].release == "r1"
    with pytest.raises(OperationFailed, match="was reverted already"):
        guard.arm(journal, Arm(NAME, 30.0))


def test_a_confirm_of_something_else_confirms_nothing(journal, clock):
    """The cutover is the capability."""
    guard.arm(journal, Arm(NAME, 30.0))
    assert guard.confirm(journal, "r2-8") == "reverted"
    assert entry(journal).state == "armed"


def test_a_reboot_is_the_end_of_an_unconfirmed_cutover(journal, clock, monkeypatch):
    """However much time was left."""
    guard.arm(journal, Arm(NAME, 30.0))
    monkeypatch.setattr(guard, "boot_id", lambda: "another boot")
    assert entry(journal).overdue
    assert guard.confirm(journal, NAME) == "reverted"


def test_a_disarmed_guard_does_nothing(journal, clock):
    """Its controller has put things back."""
    guard.arm(journal, Arm(NAME, 30.0))
    assert guard.disarm(journal, "r9-9") == "was not armed"
    assert guard.disarm(journal, NAME) == ""
    clock(1000.0)
    assert guard.expire(journal, NAME) is False
    assert guard.report(Home(journal.files)) is None


def test_two_cutovers_are_never_under_way_at_once(journal, clock):
    """The second is refused until the first is decided."""
    guard.arm(journal, Arm(NAME, 30.0))
    with pytest.raises(OperationFailed, match="is not decided yet"):
        guard.arm(journal, Arm("r3-8", 30.0))


@pytest.mark.parametrize(
    "order", [Arm("", 10.0), Arm(NAME, 0.0), Arm(NAME, float("inf")), Arm(NAME, float("nan"))]
)
def test_a_guard_without_end_is_refused(journal, order):
    """Or without a name."""
    with pytest.raises(OperationFailed):
        guard.arm(journal, order)


def test_of_many_confirms_and_expiries_exactly_one_side_wins(journal, clock, monkeypatch):
    """All at the very moment of the deadline, some clocks a little ahead."""
    guard.arm(journal, Arm(NAME, 30.0))
    times = threading.local()
    monkeypatch.setattr(guard, "since_boot", lambda: getattr(times, "now", 129.9))
    outcomes = []

    def confirm(now: float) -> None:
        times.now = now
        outcomes.append(guard.confirm(journal, NAME))

    def expire() -> None:
        times.now = 130.1
        guard.expire(journal, NAME)

    threads = [threading.Thread(target=confirm, args=(129.9 + 0.1 * (n % 3),)) for n in range(6)]
    threads += [threading.Thread(target=expire) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(outcomes)) == 1
    assert entry(journal).state == outcomes[0]


def test_a_run_whose_cutover_was_reverted_moves_nothing_forward(journal, clock):
    """A later run may."""
    guard.arm(journal, Arm(NAME, 30.0))
    clock(130.0)
    guard.expire(journal, NAME)
    with pytest.raises(OperationFailed, match="gone back by itself"):
        guard.refuse_after_revert(journal, 7)
    guard.refuse_after_revert(journal, 8)


def test_a_damaged_entry_guards_nothing(journal, capsys):
    """And says so."""
    home = Home(journal.files)
    home.guard_file.write_text("{")
    assert guard.read(home) == guard.Entry()
    assert "damaged" in capsys.readouterr().err


def test_the_watching_process_ends_with_the_cutover(journal, tmp_path):
    """There is one at a time, and none is left when the cutover is decided."""

    class Engine:
        socket_path = "/nonexistent"

    home = Home(journal.files)
    guard.arm(journal, Arm(NAME, 60.0))
    watchman.start(Engine(), journal, tmp_path)
    assert watchman.watched(home)
    watchman.start(Engine(), journal, tmp_path)
    guard.confirm(journal, NAME)
    while watchman.watched(home):
        threading.Event().wait(0.02)
