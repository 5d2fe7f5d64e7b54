"""The progress deadline: what counts, what does not, and how a run ends that gets nowhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_fleet import FakeFleet, StuckError
from support.fleet_host import hangs
from support.plans_by_hand import config, ship, start, stop
from support.runs import Run

from orchestrator.errors import ApplyFailed
from orchestrator.execution.progress import Progress


def slow(host: str, service: str = "api", slot: int = 1, seconds: float = 60.0):
    """Return a start with a progress deadline."""
    return replace(start(host, service, slot), progress=seconds)


def test_the_clock_starts_with_the_first_and_again_with_each_that_is_healthy():
    """It stands while nothing of the service is being started."""
    progress, first, second = Progress(), slow("a"), slow("a", slot=2)
    assert progress.patience(lambda: 0.0) is None
    progress.begun(first, 10.0)
    progress.begun(second, 30.0)
    assert progress.patience(lambda: 0.0) == 70.0
    assert progress.late(lambda: 69.0) == ()
    progress.ended(first, 50.0)
    assert progress.patience(lambda: 0.0) == 110.0
    assert progress.late(lambda: 110.0) == (second,)
    progress.ended(second, 60.0)
    assert progress.patience(lambda: 0.0) is None
    assert progress.late(lambda: 1e9) == ()


def test_services_do_not_count_for_each_other():
    """One that gets on does not hide one that does not."""
    progress, api, web = Progress(), slow("a"), slow("a", "web")
    progress.begun(api, 0.0)
    progress.begun(web, 0.0)
    progress.begun(slow("b", "web", 2), 0.0)
    progress.ended(web, 50.0)
    assert progress.late(lambda: 60.0) == (api,)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.floats(0, 100)), max_size=40))
def test_nothing_is_late_that_is_not_under_way(news):
    """Whatever is heard, and however often."""
    progress, now, open_ = Progress(), 0.0, set()
    for slot, begins, later in news:
        now += later
        step = slow("a", slot=slot + 1)
        (progress.begun if begins else progress.ended)(step, now)
        (open_.add if begins else open_.discard)(step.id)
        assert {found.id for found in progress.late(partial(float, now))} <= open_
        assert (progress.patience(partial(float, now)) is None) == (not open_)


def test_a_run_that_gets_nowhere_fails_and_goes_back():
    """A host that starts nothing and says nothing: the deadline ends the run, and what ran runs."""
    fleet = FakeFleet(["a"])
    old = fleet.hosts["a"].add(config("api", "old"))
    new = replace(slow("a"), after=("ship a new",))
    fleet.on("a start api[1] creating", hangs)
    run = Run(fleet)
    outcome = run.carry_out([ship("a"), new, stop("a", old, after=[new.id])])
    assert isinstance(outcome.error, ApplyFailed)
    assert "no instance of api became healthy for 60 s" in outcome.error.message
    assert fleet.hosts["a"].running == {old}
    assert run.controller.slept >= 50


def test_without_a_deadline_it_waits():
    """0 is for ever."""
    fleet = FakeFleet(["a"])
    fleet.on("a start api[1] creating", hangs)
    with pytest.raises(StuckError):
        Run(fleet).carry_out([ship("a"), replace(start("a"), after=("ship a new",))])
