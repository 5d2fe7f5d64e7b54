"""Applies from lease to outcome: every failure and every interrupt at every point of a real plan.

The plan under test replaces instances on three hosts side by side, one with a fixed port by stopping
first, creates one and removes one, all made by the real planning from what the fleet reports.
"""

from __future__ import annotations

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_host import disconnects, fails, goes_down, hangs
from support.plans_by_hand import commit, desired, image, plan_for, remove, ship, start, stop
from support.runs import Run

from orchestrator.errors import ApplyFailed, Interrupted, LeaseHeld, NotRestored, PlanStale
from orchestrator.events import LeaseTaken, RestoreFinished, RestoreStarted, StepFailed, StepSkipped, Warned
from orchestrator.execution.apply import apply
from orchestrator.planning.destroy import destroy
from orchestrator.planning.observed import observed
from orchestrator.protocol.messages import LeaseInfo

HOSTS = ("web-1", "web-2", "web-3")
OLD = [
    ("api", 1, "web-1", "api-1"),
    ("api", 2, "web-2", "api-1"),
    ("db", 1, "web-3", "db-1"),
    ("gone", 1, "web-2", "gone-1"),
]
NEW = [
    ("api", 1, "web-1", "api-2"),
    ("api", 2, "web-2", "api-2"),
    ("db", 1, "web-3", "db-2"),
    ("extra", 1, "web-3", "extra-1"),
]
NEEDS = [("api", ("db",)), ("extra", ("api",))]


def make_fleet(seed: int | None = None) -> FakeFleet:
    """Return a fleet on which OLD is in force."""
    fleet = FakeFleet(HOSTS, seed=seed)
    outcome = Run(fleet).apply(plan_for(fleet, desired(OLD, NEEDS, ports=["db"])))
    assert outcome.ok
    fleet.points.clear()
    fleet.requests.clear()
    return fleet


def update(fleet: FakeFleet, run: Run | None = None):
    """Apply NEW."""
    run = run or Run(fleet)
    return run.apply(plan_for(fleet, desired(NEW, NEEDS, ports=["db"])))


def serving(fleet: FakeFleet) -> set[tuple[str, int, str, str]]:
    """Return (service, slot, host, image) of everything that runs."""
    return {
        (c.service, c.slot, host.name, c.config.image)
        for host in fleet.hosts.values()
        for c in host.containers.values()
        if c.state == "running"
    }


def named(instances) -> set[tuple[str, int, str, str]]:
    """Return ``instances`` in the form of :func:`serving`."""
    return {(service, slot, host, image(version)) for service, slot, host, version in instances}


POINTS = tuple(dict.fromkeys(fleet.points)) if update(fleet := make_fleet()).ok else ()
"""Everything that happens during that apply."""


def test_an_apply_ends_with_the_new_release_in_force():
    """Everything runs, is recorded on every host, and the next plan is empty."""
    fleet = make_fleet()
    run = Run(fleet)
    outcome = update(fleet, run)
    assert outcome.ok
    assert outcome.error is None
    assert outcome.release == "r2"
    assert outcome.counts == {"create": 1, "replace": 3, "remove": 1, "keep": 0}
    assert serving(fleet) == named(NEW)
    assert all("r2" in host.releases for host in fleet.hosts.values())
    assert run.heard(LeaseTaken) == [LeaseTaken(2, HOSTS)]
    assert plan_for(fleet, desired(NEW, NEEDS, ports=["db"])).empty


def test_round_trips_are_few_and_counted():
    """Acquire, perform, commit: one more perform where a host waits for another in between."""
    fleet = make_fleet()
    outcome = update(fleet)
    assert set(outcome.round_trips) == set(HOSTS)
    assert max(outcome.round_trips.values()) <= 5
    assert outcome.round_trips["web-1"] == 3
    assert outcome.bytes_sent > 0


def test_a_plan_without_steps_touches_nothing():
    """Not even a lease is taken."""
    fleet = make_fleet()
    run = Run(fleet)
    outcome = run.apply(plan_for(fleet, desired(OLD, NEEDS, ports=["db"])))
    assert outcome.ok
    assert not outcome.release
    assert outcome.counts["keep"] == 4
    assert not fleet.requests


def check_wholly_old_or_told(fleet: FakeFleet, outcome, before: dict[str, frozenset[str]]) -> None:
    """Assert that the fleet is wholly old, wholly new, or that exit code 6 says so."""
    if outcome.ok:
        assert serving(fleet) == named(NEW)
    elif outcome.release:
        assert outcome.error.exit_code == 130
        assert serving(fleet) == named(NEW)
    elif outcome.error.exit_code == 6:
        assert outcome.error.context
    else:
        assert outcome.error.exit_code in {1, 3, 5, 130}
        assert fleet.running == before
        assert not any("r2" in host.releases for host in fleet.hosts.values())


@pytest.mark.parametrize("point", POINTS)
def test_a_failure_anywhere_puts_the_old_containers_back(point):
    """Whatever is refused or fails, once: the very same containers run as before, or all is new."""
    fleet = make_fleet()
    before = fleet.running
    fleet.on(point, fails("no-space", "no space left on device"))
    outcome = update(fleet)
    check_wholly_old_or_told(fleet, outcome, before)
    assert outcome.ok or outcome.error.exit_code != 6


@pytest.mark.parametrize("point", POINTS)
def test_an_interrupt_anywhere_puts_the_old_containers_back(point):
    """The first Ctrl-C restores, unless the release is being recorded: then that is finished."""
    fleet = make_fleet()
    before = fleet.running
    run = Run(fleet)
    fleet.on(point, lambda _: run.interrupt.press())
    outcome = update(fleet, run)
    check_wholly_old_or_told(fleet, outcome, before)
    assert outcome.ok or isinstance(outcome.error, Interrupted)


@pytest.mark.parametrize("point", POINTS)
def test_a_cut_session_anywhere_heals_at_once(point):
    """The host can be reached again: a lease under a higher epoch, and all is as before."""
    fleet = make_fleet()
    before = fleet.running
    fleet.on(point, disconnects)
    outcome = update(fleet)
    check_wholly_old_or_told(fleet, outcome, before)
    assert outcome.ok or outcome.error.exit_code in {3, 5}


@pytest.mark.parametrize("point", POINTS)
def test_a_host_that_dies_anywhere_leaves_the_others_whole(point):
    """The reachable hosts end wholly old or wholly new; exit code 6 when the dead one had begun."""
    fleet = make_fleet()
    before = fleet.running
    fleet.on(point, goes_down)
    outcome = update(fleet)
    up = {name for name, host in fleet.hosts.items() if not host.down}
    old = all(fleet.running[name] == before[name] for name in up)
    new = {item for item in serving(fleet) if item[2] in up} == {i for i in named(NEW) if i[2] in up}
    assert old or new
    if not outcome.ok and outcome.error.exit_code != 6:
        assert fleet.running == before


@pytest.mark.parametrize("point", POINTS)
def test_a_second_ctrl_c_anywhere_stops_at_once_and_the_next_apply_heals(point):
    """No promise but this one: the leases are gone, and the next apply makes it whole."""
    fleet = make_fleet()
    run = Run(fleet)

    def press_twice(_):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on(point, press_twice)
    outcome = update(fleet, run)
    assert outcome.ok or isinstance(outcome.error, Interrupted)
    assert all(host.holder is None for host in fleet.hosts.values())
    assert update(fleet).ok
    assert serving(fleet) == named(NEW)


@pytest.mark.parametrize("seed", range(30))
def test_after_any_failure_the_next_apply_finishes(seed):
    """Level-triggered: nothing has to be remembered from one run to the next."""
    fleet = make_fleet(seed)
    fleet.on(POINTS[seed * 7 % len(POINTS)], fails())
    update(fleet)
    assert update(fleet).ok
    assert serving(fleet) == named(NEW)


def test_a_failure_explains_itself_on_one_screen():
    """What was tried, what came back, the last lines, how long it took, and what every host is in."""
    fleet = make_fleet()
    fleet.on("web-2 start api[2] healthy", fails())
    run = Run(fleet)
    error = update(fleet, run).error
    assert isinstance(error, ApplyFailed)
    assert error.message == "cannot start api[2] on web-2: GET /health answered 500"
    assert error.hint
    failed = run.heard(StepFailed)[0]
    assert failed.failure is not None
    assert failed.failure.probes == ("GET /health answered 500",)
    assert failed.failure.logs == ("boom",)
    assert not any("boom" in line for line in error.context), "said once, by the failure's own event"
    assert "web-2: restored: what ran before runs" in error.context
    assert len(error.context) <= 40
    assert run.heard(RestoreStarted)[0].reason == error.message
    assert run.heard(RestoreFinished)[0].ok
    assert len(run.names(StepSkipped)) == len(set(run.names(StepSkipped)))


def test_a_failure_before_anything_changed_restores_nothing():
    """An image that cannot be sent has changed no host."""
    fleet = make_fleet()
    fleet.on(f"web-3 load {image('db-2')}", fails("no-space", "disk full"))
    run = Run(fleet)
    fleet_before = fleet.running
    error = update(fleet, run).error
    assert isinstance(error, ApplyFailed)
    assert "deploy prune" in error.hint
    assert fleet.running == fleet_before
    assert error.context[-1] == "web-3: unchanged"


def test_a_restore_that_fails_keeps_what_serves_and_says_so():
    """The old one does not come back: the new one is not stopped, and exit code 6 tells it apart."""
    fleet = make_fleet()
    fleet.on("web-1 stop api[1] stopped", lambda _: None)
    fleet.on("web-2 start api[2] healthy", fails())
    fleet.on("web-1 resume api[1] healthy", fails("unhealthy", "the old one is broken"))
    run = Run(fleet)
    error = update(fleet, run).error
    assert isinstance(error, NotRestored)
    assert ("api", 1, "web-1", image("api-2")) in serving(fleet)
    assert any(line.startswith("web-1: not restored: cannot start again api[1]") for line in error.context)
    assert not run.heard(RestoreFinished)[0].ok


def test_a_dead_host_is_named_with_what_it_may_have_done():
    """Exit code 6 lists what is known of every host."""
    fleet = make_fleet()
    fleet.on("web-2 start api[2] checking", goes_down)
    error = update(fleet).error
    assert isinstance(error, NotRestored)
    (line,) = [line for line in error.context if line.startswith("web-2")]
    assert line.startswith("web-2: unknown: connection lost")
    assert "start api[2]" in line


def test_a_host_whose_commit_is_lost_decides_nothing_alone():
    """Nobody knows whether the release was recorded: the new instances stay or go as one."""
    fleet = make_fleet()
    fleet.on("web-1 commit answers", goes_down)
    outcome = update(fleet)
    assert not outcome.ok
    assert outcome.error.exit_code == 6


def test_a_host_that_hangs_while_restoring_yields_to_a_second_ctrl_c():
    """The first press restores; while that hangs, the second ends the run and frees every lease."""
    fleet = make_fleet()
    run = Run(fleet)

    def hang_and_press(host):
        run.interrupt.press()
        hangs(host)

    fleet.on("web-2 start api[2] checking", lambda _: run.interrupt.press())
    fleet.on("web-1 resume api[1] starting", hang_and_press)
    outcome = update(fleet, run)
    assert isinstance(outcome.error, Interrupted)
    assert any("the next apply heals it" in line for line in outcome.error.context)
    assert all(host.holder is None for host in fleet.hosts.values())


def test_a_second_ctrl_c_closes_every_session():
    """The agents end with them, and the leases with the agents."""
    fleet = make_fleet()
    run = Run(fleet)

    def press_twice(_):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("web-2 start api[2] checking", press_twice)
    wanted = plan_for(fleet, desired(NEW, NEEDS, ports=["db"]))
    outcome = apply(wanted, run.world, author="ann@ci", clock=lambda: 0.0)
    assert isinstance(outcome.error, Interrupted)
    assert all(session.closed for session in run.controller.sessions.values())
    with pytest.raises(Interrupted):
        outcome.raise_for_error()


def test_an_interrupt_while_recording_lets_the_recording_finish():
    """The release is in force on every host, and the exit code still says 130."""
    fleet = make_fleet()
    run = Run(fleet)
    fleet.on("web-1 commit arrives", lambda _: run.interrupt.press())
    outcome = update(fleet, run)
    assert isinstance(outcome.error, Interrupted)
    assert outcome.release == "r2"
    assert "in force" in outcome.error.message
    assert all("r2" in host.releases for host in fleet.hosts.values())


def test_a_lease_held_elsewhere_stops_before_anything_changes():
    """Nothing but leases was asked for, and what was taken is free again."""
    fleet = make_fleet()
    other = Run(fleet).controller
    host = fleet.hosts["web-2"]
    host.holder = other.session("web-2")
    host.lease = LeaseInfo("bob@ci", "apply", "r2", 1000.0, 1)
    outcome = update(fleet)
    assert isinstance(outcome.error, LeaseHeld)
    assert {kind for _, kind in fleet.requests} == {"acquire", "release"}


def test_a_fleet_that_changed_since_planning_is_refused():
    """The plan carries the state of every host it was made from."""
    fleet = make_fleet()
    wanted = plan_for(fleet, desired(NEW, NEEDS, ports=["db"]))
    host = fleet.hosts["web-3"]
    next(iter(host.containers.values())).state = "exited"
    outcome = Run(fleet).apply(wanted)
    assert isinstance(outcome.error, PlanStale)
    assert "web-3" in outcome.error.message


def test_a_clean_up_that_fails_is_told_and_fails_nothing():
    """It is left for the next run, and the outcome says what."""
    fleet = FakeFleet(["a"])
    left = fleet.hosts["a"].add(desired([("api", 1, "a", "x")]).instances[0].config)
    new = start("a", slot=2, after=["ship a new"])
    outcome = Run(fleet).carry_out([ship("a"), new, commit("a", [new.id]), remove("a", left, ["commit a"])])
    assert outcome.ok
    assert outcome.left == ("cannot remove api[1] on a: it runs",)


def test_a_destroy_uses_the_same_executor():
    """Nothing is recorded; all that ran is stopped and removed."""
    fleet = make_fleet()
    reports = {name: host.report() for name, host in fleet.hosts.items()}
    outcome = Run(fleet).apply(destroy("shop", observed(reports, "shop")))
    assert outcome.ok
    assert not outcome.release
    assert not any(host.containers or host.releases for host in fleet.hosts.values())


def test_a_destroy_interrupted_while_cleaning_up_puts_nothing_back():
    """All is stopped and partly deleted: the next destroy goes on."""
    fleet = make_fleet()
    run = Run(fleet)
    reports = {name: host.report() for name, host in fleet.hosts.items()}
    first = next(iter(fleet.hosts["web-1"].containers.values()))
    fleet.on(f"web-1 remove {first.service}[{first.slot}] removing", lambda _: run.interrupt.press())
    outcome = run.apply(destroy("shop", observed(reports, "shop")))
    assert isinstance(outcome.error, Interrupted)
    assert not run.heard(RestoreStarted)
    assert not serving(fleet)


def test_a_destroy_interrupted_before_anything_is_deleted_is_taken_back():
    """However much is stopped: what is stopped can run again."""
    fleet = make_fleet()
    run = Run(fleet)
    before = serving(fleet)
    reports = {name: host.report() for name, host in fleet.hosts.items()}
    waiting = {
        f"{name} stop {one.service}[{one.slot}] stopping"
        for name, host in fleet.hosts.items()
        for one in host.containers.values()
    }

    def stopping(point: str) -> None:
        waiting.discard(point)
        if not waiting:
            run.interrupt.press()

    for point in tuple(waiting):
        fleet.on(point, lambda _, point=point: stopping(point))
    outcome = run.apply(destroy("shop", observed(reports, "shop")))
    assert isinstance(outcome.error, Interrupted)
    assert outcome.error.message == "interrupted; what ran before runs"
    assert run.heard(RestoreFinished)[0].ok
    assert serving(fleet) == before


def test_a_stop_after_the_fact_is_a_warning():
    """A step that fails after the release is recorded everywhere cannot fail it any more."""
    fleet = FakeFleet(["a"])
    old = fleet.hosts["a"].add(desired([("api", 1, "a", "x")]).instances[0].config)
    late = stop("a", old, after=["commit a"])
    fleet.on("a stop api[1] stopping", fails("engine", "stuck"))
    run = Run(fleet)
    outcome = run.carry_out([commit("a", []), late])
    assert outcome.ok
    assert outcome.release == "r2"
    assert "in force all the same" in run.heard(Warned)[0].message
