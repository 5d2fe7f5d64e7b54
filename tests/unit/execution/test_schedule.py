"""The schedule: order, fusion, limits, skipping. No I/O anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plans_by_hand import commit, ship, start, stop

from orchestrator.execution.lanes import Limits
from orchestrator.execution.schedule import OPERATIONS, Schedule, State
from orchestrator.planning.types import Step, StepKind


def ids(batches):
    """Return the step ids of each batch."""
    return [[step.id for step in batch.steps] for batch in batches]


def test_ready_operations_of_a_host_leave_together():
    """Two starts of one host are one batch; another host's is its own."""
    schedule = Schedule([start("a", slot=1), start("a", slot=2), start("b", slot=3)])
    assert ids(schedule.take()) == [["start a api[1]", "start a api[2]"], ["start b api[3]"]]
    assert schedule.take() == ()


def test_a_chain_joins_the_batch_of_its_head():
    """Start new, stop old, start the dependent: one request when all is on one host."""
    steps = [
        start("a"),
        stop("a", "c1", after=["start a api[1]"]),
        start("a", "web", after=["start a api[1]"]),
        stop("a", "c2", "web", after=["start a web[1]"]),
    ]
    (batch,) = Schedule(steps).take()
    assert {step.id for step in batch.steps} == {step.id for step in steps}


def test_a_step_that_waits_for_another_host_does_not_join():
    """Fusion never promises a host what only another host can grant."""
    steps = [start("a"), start("b"), stop("a", "c1", after=["start a api[1]", "start b api[1]"])]
    schedule = Schedule(steps)
    assert ids(schedule.take()) == [["start a api[1]"], ["start b api[1]"]]
    schedule.done("start a api[1]")
    assert schedule.take() == ()
    schedule.done("start b api[1]")
    assert ids(schedule.take()) == [["stop a api[1]"]]


def test_ships_and_commits_leave_alone():
    """Neither is an operation of a perform."""
    schedule = Schedule([ship("a"), ship("a", "old"), commit("a", [])])
    assert sorted(ids(schedule.take())) == [["commit a"], ["ship a new"], ["ship a old"]]


def test_ships_are_limited_per_host_and_overall():
    """What exceeds a limit leaves as soon as there is room."""
    steps = [ship(host, f"i{n}") for host in "ab" for n in range(3)]
    schedule = Schedule(steps, Limits(ships=3, ships_per_host=2))
    first = [name for (name,) in ids(schedule.take())]
    assert first == ["ship a i0", "ship a i1", "ship b i0"]
    schedule.done("ship a i1")
    assert ids(schedule.take()) == [["ship a i2"]]


def test_lanes_are_limited_and_a_chain_takes_one():
    """Two chains of two fit into two lanes; the third waits until a lane is free."""
    steps = [
        s
        for n in (1, 2, 3)
        for s in (start("a", slot=n), stop("a", f"c{n}", slot=n, after=[f"start a api[{n}]"]))
    ]
    schedule = Schedule(steps, Limits(operations_per_host=2))
    (batch,) = schedule.take()
    assert len(batch.steps) == 4
    schedule.done("start a api[1]")
    assert schedule.take() == ()
    schedule.done("stop a api[1]")
    assert ids(schedule.take()) == [["start a api[3]", "stop a api[3]"]]


def test_dependants_of_a_failure_are_skipped_once():
    """A diamond below a failure is reported once a step, all because of the one that failed."""
    steps = [
        start("a"),
        start("b", "l", after=["start a api[1]"]),
        start("c", "r", after=["start a api[1]"]),
        start("d", "end", after=["start b l[1]", "start c r[1]"]),
    ]
    schedule = Schedule(steps)
    schedule.take()
    skips = schedule.failed("start a api[1]")
    assert [(s.step.id, s.because) for s in skips] == [
        (name, "start a api[1]") for name in ("start b l[1]", "start c r[1]", "start d end[1]")
    ]
    assert schedule.settled


def test_stopping_spares_commits_that_follow_one():
    """A release that is being recorded is recorded everywhere."""
    steps = [commit("a", []), commit("b", ["commit a"], essential=False), start("c", after=["commit a"])]
    schedule = Schedule(steps)
    schedule.take()
    assert [skip.step.id for skip in schedule.stop("interrupted")] == ["start c api[1]"]
    schedule.done("commit a")
    assert ids(schedule.take()) == [["commit b"]]


def test_a_commit_that_waits_for_something_skipped_is_not_spared():
    """It would wait for ever."""
    steps = [commit("a", []), start("c", after=["commit a"]), commit("b", ["commit a", "start c api[1]"])]
    schedule = Schedule(steps)
    schedule.take()
    assert [skip.step.id for skip in schedule.stop("interrupted")] == ["start c api[1]", "commit b"]
    schedule.done("commit a")
    assert schedule.settled


def test_with_tolerance_nothing_is_fused_and_failures_unlock():
    """A restore goes on past a failure, which no host would do inside one request."""
    steps = [stop("a", "c1"), stop("a", "c2", slot=2, after=["stop a api[1]"])]
    schedule = Schedule(steps, tolerate=lambda _failed, _later: True)
    assert ids(schedule.take()) == [["stop a api[1]"]]
    assert schedule.failed("stop a api[1]") == ()
    assert ids(schedule.take()) == [["stop a api[2]"]]


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([start("a"), start("a")], "share an id"),
        ([start("a", after=["nothing"])], "not there"),
        ([start("a", after=["start b api[1]"]), start("b", after=["start a api[1]"])], "each other"),
    ],
)
def test_senseless_steps_are_refused(steps, message):
    """Duplicate ids, unknown predecessors and cycles are errors of the planner, said at once."""
    with pytest.raises(ValueError, match=message):
        Schedule(steps)


def test_a_limit_below_one_is_refused():
    """It would wait for ever."""
    with pytest.raises(ValueError, match="limit"):
        Limits(operations=0)


@st.composite
def dags(draw):
    """Steps of all kinds on three hosts, each waiting for some earlier ones."""
    steps: list[Step] = []
    for number in range(draw(st.integers(0, 14))):
        kind = draw(st.sampled_from([StepKind.START, StepKind.STOP, StepKind.SHIP, StepKind.COMMIT]))
        after = draw(st.sets(st.sampled_from([s.id for s in steps]), max_size=3)) if steps else set()
        host = draw(st.sampled_from("abc"))
        steps.append(Step(f"s{number}", kind, host, tuple(sorted(after)), essential=draw(st.booleans())))
    return steps


@given(dags(), st.data())
def test_any_order_of_outcomes_settles_every_step(steps, data):
    """Nothing is begun before its predecessors ended well, limits hold, and the end is always reached."""
    limits = Limits(operations=3, operations_per_host=2, ships=2, ships_per_host=1)
    schedule = Schedule(steps, limits)
    by_id = {step.id: step for step in steps}
    under_way: list[str] = []
    while True:
        for batch in schedule.take():
            inside = {step.id for step in batch.steps}
            for step in batch.steps:
                assert all(schedule.state(b) is State.DONE or b in inside for b in step.after)
            under_way += [step.id for step in batch.steps]
        if schedule.settled:
            break
        active = [name for name in under_way if schedule.startable(name)]
        operations = [by_id[name] for name in active if by_id[name].kind in OPERATIONS]
        assert len(operations) <= limits.operations
        assert all(sum(s.host == host for s in operations) <= limits.operations_per_host for host in "abc")
        # What waits for a failure of its own request can only be skipped.
        blocked = [
            n
            for n in under_way
            if any(schedule.state(b) in {State.FAILED, State.SKIPPED} for b in by_id[n].after)
        ]
        name = data.draw(st.sampled_from(sorted(active + blocked)))
        under_way.remove(name)
        if name in blocked:
            schedule.skipped(name, "upstream")
        elif data.draw(st.booleans()):
            schedule.done(name)
        else:
            schedule.failed(name)
            if by_id[name].essential and data.draw(st.booleans()):
                schedule.stop(name)
    assert not under_way
    assert all(schedule.state(step.id) in {State.DONE, State.FAILED, State.SKIPPED} for step in steps)
