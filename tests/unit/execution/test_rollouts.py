"""Rollouts of routed services on the fleet in memory, strategy by strategy and fault by fault."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_host import disconnects, expires, fails, goes_down
from support.plans_by_hand import image, plan_for
from support.routed import losses, plan, policy, serving, wanted
from support.runs import Run

from orchestrator.errors import ApplyFailed, NotRestored
from orchestrator.events import StepFailed, StepFinished
from orchestrator.execution.restore import without
from orchestrator.planning.types import Step, StepKind

HOSTS = ("a", "b")
OLD = [("api", 1, "a", "1"), ("api", 2, "b", "1"), ("db", 1, "a", "1")]
NEW = [("api", 1, "a", "2"), ("api", 2, "b", "2"), ("db", 1, "a", "2")]
NEEDS = [("api", ("db",))]


def fleet_with(what=None, *, seed=None) -> FakeFleet:
    """Return a fleet on which ``OLD`` serves."""
    fleet = FakeFleet(HOSTS, seed=seed)
    assert Run(fleet).apply(plan(fleet, what or wanted(OLD, NEEDS))).ok
    fleet.points.clear()
    return fleet


def versions(fleet: FakeFleet, service: str = "api") -> list[str]:
    """Return the images that get a service's traffic."""
    return [item for _, _, item in serving(fleet, service)]


def test_blue_green_is_one_transaction_on_all_hosts():
    """Nobody gets traffic before all are proved; nothing old stops before all hosts have confirmed."""
    fleet = fleet_with()
    run = Run(fleet)
    assert run.apply(plan(fleet, wanted(NEW, NEEDS))).ok
    points = fleet.points
    shifts = [n for n, point in enumerate(points) if point.endswith("shifting")]
    confirms = [n for n, point in enumerate(points) if point.endswith("confirm answers")]
    stops = [n for n, point in enumerate(points) if point.endswith("stopping")]
    attached = [n for n, point in enumerate(points) if point.endswith("] attached")]
    armed = [n for n, point in enumerate(points) if point.endswith(" armed")]
    assert len(attached) == 3
    assert len(armed) == len(confirms) == 2
    assert max(attached) < min(armed)
    assert max(armed) < min(shifts)
    assert max(shifts) < min(confirms)
    assert max(confirms) < min(stops)
    assert points.index("a shift db[0] shifted") < points.index("a shift api[0] shifting")
    assert versions(fleet) == [image("2")] * 2
    assert not losses(fleet)
    assert plan(fleet, wanted(NEW, NEEDS)).empty


@pytest.mark.parametrize(
    "point",
    [
        "a start db[1] healthy",
        "b start api[2] checking",
        "b attach api[2] attaching",
        "a arm r2-2 arming",
        "b shift api[0] shifting",
        "a shift db[0] shifted",
        "b watch api[0] watching",
    ],
)
@pytest.mark.parametrize("effect", [fails(), disconnects])
def test_whatever_fails_before_the_confirm_puts_all_hosts_back(point, effect):
    """The old instances serve on every host, and none of them was ever stopped."""
    fleet = fleet_with()
    before = fleet.running
    fleet.on(point, effect)
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert point in fleet.points
    assert isinstance(outcome.error, ApplyFailed)
    assert fleet.running == before
    assert versions(fleet) == [image("1")] * 2
    guards = [host.router.guard for host in fleet.hosts.values()]
    assert not [guard for guard in guards if guard is not None and guard.state == "armed"]
    assert not losses(fleet)
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok


def test_a_host_that_went_back_by_itself_takes_the_others_with_it():
    """A late confirm fails the release, on the host that has confirmed in time too."""
    fleet = fleet_with()
    before = fleet.running
    fleet.on("b confirm arrives", expires)
    run = Run(fleet)
    outcome = run.apply(plan(fleet, wanted(NEW, NEEDS)))
    assert isinstance(outcome.error, ApplyFailed)
    [failed] = run.heard(StepFailed)
    assert failed.failure.code == "reverted"
    assert fleet.hosts["a"].router.guard.state == "confirmed"
    assert fleet.running == before
    assert versions(fleet) == [image("1")] * 2
    assert not losses(fleet)


def test_a_confirm_whose_answer_is_lost_stands():
    """The host says on being asked that it has confirmed: the rest is finished."""
    fleet = fleet_with()
    fleet.on("b confirm answers", disconnects)
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert outcome.ok
    assert outcome.release == "r2"
    assert versions(fleet) == [image("2")] * 2
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert plan(fleet, wanted(NEW, NEEDS)).empty


@pytest.mark.parametrize("point", ["b connects anew", "b confirm arrives"])
@pytest.mark.parametrize("effect", [fails(), disconnects])
def test_a_confirm_that_does_not_arrive_is_tried_once_more(point, effect):
    """The other host has confirmed and this one still waits: going on is quicker than going back."""
    fleet = fleet_with()
    fleet.on(point, effect)
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert outcome.ok
    assert versions(fleet) == [image("2")] * 2
    assert not losses(fleet)


def test_a_host_that_no_confirm_reaches_takes_the_others_with_it():
    """It goes back by itself in the end, so everybody does."""
    fleet = fleet_with()
    before = fleet.running
    fleet.on("b connects anew", fails())
    fleet.on("b observe arrives", lambda _: fleet.on("b connects anew", fails()))
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert isinstance(outcome.error, ApplyFailed)
    assert fleet.running == before
    assert versions(fleet) == [image("1")] * 2
    assert not losses(fleet)


def test_a_host_that_is_cut_off_during_the_cutover_goes_back_with_the_others():
    """What can be reached is wholly old, and the run says that one host is unknown; that one reverts."""
    fleet = fleet_with()
    fleet.on("b watch api[0] watching", goes_down)
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert isinstance(outcome.error, NotRestored)
    fleet.hosts["b"].router.expire()
    assert versions(fleet) == [image("1")] * 2
    fleet.hosts["b"].down = False
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert versions(fleet) == [image("2")] * 2


def test_a_record_that_fails_after_the_confirm_is_written_in_a_second_try():
    """From the confirm on nothing is taken back."""
    fleet = fleet_with()
    fleet.on("a commit arrives", fails("no-space", "disk full"))
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert outcome.ok
    assert outcome.release == "r2"
    assert versions(fleet) == [image("2")] * 2


def test_a_controller_that_dies_after_the_cutover_leaves_work_for_the_next():
    """The guards go back by themselves; the next apply adopts what is there and cuts over again."""
    fleet = fleet_with()
    run = Run(fleet)

    def dies(_host):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("a watch api[0] watched", dies)
    assert not run.apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert versions(fleet) == [image("2")] * 2
    for host in fleet.hosts.values():
        host.router.expire()
    assert versions(fleet) == [image("1")] * 2
    again = Run(fleet)
    assert again.apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert versions(fleet) == [image("2")] * 2
    assert not [name for name in again.names(StepFinished) if name.startswith("start")]
    assert not losses(fleet)
    assert plan(fleet, wanted(NEW, NEEDS)).empty


def test_a_guard_left_armed_is_disarmed_by_the_next_run():
    """Else it would go back after the old instances have been stopped."""
    fleet = fleet_with()
    run = Run(fleet)

    def dies(_host):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("a watch api[0] watched", dies)
    assert not run.apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok
    for host in fleet.hosts.values():
        host.router.expire()
    assert versions(fleet) == [image("2")] * 2
    assert plan(fleet, wanted(NEW, NEEDS)).empty


def test_rolling_never_has_fewer_serving_than_before():
    """One batch after the other; a failure in the second puts the first back."""
    rolling = {"api": policy("rolling")}
    old = [("api", n, host, "1") for n, host in enumerate("aabb", 1)]
    new = [("api", n, host, "2") for n, host in enumerate("aabb", 1)]
    fleet = fleet_with(wanted(old, policies=rolling))
    least: list[int] = []
    fleet.watchers.append(lambda: least.append(len(serving(fleet, "api"))))
    fleet.on("b watch api[0] watching", fails())
    outcome = Run(fleet).apply(plan(fleet, wanted(new, policies=rolling)))
    assert isinstance(outcome.error, ApplyFailed)
    assert versions(fleet) == [image("1")] * 4
    assert Run(fleet).apply(plan(fleet, wanted(new, policies=rolling))).ok
    assert versions(fleet) == [image("2")] * 4
    assert min(least) == 4
    assert not losses(fleet)


def test_a_rolling_failure_can_stay_where_it_is():
    """on_failure: pause; the next apply goes on from there."""
    rolling = {"api": policy("rolling", on_failure="pause")}
    fleet = fleet_with(wanted(OLD, NEEDS, policies=rolling))
    fleet.on("b start api[2] healthy", fails())
    outcome = Run(fleet).apply(plan(fleet, wanted([*NEW[:2], OLD[2]], NEEDS, policies=rolling)))
    assert "paused" in outcome.error.message
    assert sorted(versions(fleet)) == sorted([image("1"), image("2")])
    assert Run(fleet).apply(plan(fleet, wanted([*NEW[:2], OLD[2]], NEEDS, policies=rolling))).ok
    assert versions(fleet) == [image("2")] * 2


def test_the_start_deadline_goes_with_every_start_and_every_way_back():
    """The host is told how long an instance may take; the health check says it where the spec does not."""
    for given, told in ((policy("rolling", start_deadline=30.0), 30.0), (policy("rolling"), 0.0)):
        fleet = fleet_with(wanted(OLD, NEEDS, policies={"api": given}))
        fleet.performed.clear()
        fleet.on("b watch api[0] watching", fails())
        changed = wanted([*NEW[:2], OLD[2]], NEEDS, policies={"api": given})
        assert not Run(fleet).apply(plan(fleet, changed)).ok
        operations = [op for _, request in fleet.performed for op in request.operations]
        assert {op.kind: op.seconds for op in operations if op.kind in {"start", "resume"}} == {
            "start": told,
            "resume": told,
        }


def test_recreate_says_how_long_it_was_away():
    """What cannot exist twice stops first, out of the router before."""
    recreate = {"db": policy("recreate")}
    fleet = fleet_with(wanted(OLD, NEEDS, policies=recreate))
    run = Run(fleet)
    assert run.apply(plan(fleet, wanted([*OLD[:2], NEW[2]], NEEDS, policies=recreate))).ok
    notes = [event.note for event in run.heard(StepFinished) if event.note]
    assert [note for note in notes if note.startswith("db[1] was away for")]
    assert versions(fleet, "db") == [image("2")]
    assert not losses(fleet)


def test_recreate_that_fails_starts_the_old_one_again():
    """It serves again, and the run ends with 3."""
    recreate = {"db": policy("recreate")}
    fleet = fleet_with(wanted(OLD, NEEDS, policies=recreate))
    before = fleet.running
    fleet.on("a start db[1] healthy", fails())
    outcome = Run(fleet).apply(plan(fleet, wanted([*OLD[:2], NEW[2]], NEEDS, policies=recreate)))
    assert isinstance(outcome.error, ApplyFailed)
    assert fleet.running == before
    assert versions(fleet, "db") == [image("1")]


def test_an_old_one_that_cannot_be_drained_stops_all_the_same():
    """It fails nothing."""
    fleet = fleet_with()
    fleet.on("a drain api[1] draining", fails("router", "no answer"))
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS)))
    assert outcome.ok
    assert outcome.left
    assert "a stop api[1] stopped" in fleet.points


def test_old_instances_stay_warm_for_a_while():
    """They run without traffic; the plan after is empty; going back starts nothing."""
    warm = {"api": policy(keep_old=600.0), "db": policy(keep_old=600.0)}
    fleet = fleet_with(wanted(OLD, NEEDS, policies=warm))
    old = fleet.running
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS, policies=warm))).ok
    assert all(old[name] <= fleet.running[name] for name in HOSTS)
    assert plan(fleet, wanted(NEW, NEEDS, policies=warm)).empty
    run = Run(fleet)
    assert run.apply(plan(fleet, wanted(OLD, NEEDS, policies=warm))).ok
    assert versions(fleet) == [image("1")] * 2
    assert not [name for name in run.names(StepFinished) if name.startswith(("start", "resume"))]
    assert not losses(fleet)
    # The next change of the service stops what was warm.
    third = [(*item[:3], "3") for item in NEW]
    assert Run(fleet).apply(plan(fleet, wanted(third, NEEDS))).ok
    assert sum(len(found) for found in fleet.running.values()) == 3


def test_warm_instances_end_with_the_first_apply_after_their_time():
    """It counts from the release that took their place; then the plan is empty again."""
    warm = {"api": policy(keep_old=600.0)}
    fleet = fleet_with(wanted(OLD, NEEDS, policies=warm))
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS, policies=warm))).ok
    new = wanted(NEW, NEEDS, policies=warm)
    replaced_at = max(record.created_at for record in fleet.hosts["a"].releases.values())
    assert plan_for(fleet, new, now=replaced_at + 599.0).empty
    late = plan_for(fleet, new, now=replaced_at + 600.0)
    assert Run(fleet).apply(late).ok
    assert sum(len(found) for found in fleet.running.values()) == 3
    assert versions(fleet) == [image("2")] * 2
    assert plan_for(fleet, new, now=replaced_at + 600.0).empty
    assert not losses(fleet)


def test_traffic_that_went_astray_is_put_right():
    """Nothing changes but who is served."""
    fleet = fleet_with()
    host = fleet.hosts["a"]
    key = next(key for key in host.router.table if key[0] == "api")
    host.router.table[key] = 0
    made = plan(fleet, wanted(OLD, NEEDS))
    assert made.unserved == (("a", "api"),)
    assert Run(fleet).apply(made).ok
    assert versions(fleet) == [image("1")] * 2


def test_a_renamed_service_is_never_without_an_instance_on_its_route():
    """The route moves only after the new backend has traffic, and the old one leaves last."""
    fleet = fleet_with()
    new = [("web", 1, "a", "1"), ("web", 2, "b", "1"), ("db", 1, "a", "1")]
    run = Run(fleet)
    assert run.apply(plan(fleet, wanted(new, [("web", ("db",))]))).ok
    points = fleet.points
    routed = [n for n, point in enumerate(points) if point == "a router  configuring"]
    shifted = points.index("a shift web[0] shifted")
    stopped = points.index("a stop api[1] stopping")
    drained = points.index("a drain api[1] drained")
    assert routed[0] < shifted < routed[1] < drained < routed[2]
    assert drained < stopped
    assert versions(fleet, "web") == [image("1")] * 2
    assert not losses(fleet)
    assert plan(fleet, wanted(new, [("web", ("db",))])).empty


def test_bad_to_good_does_not_ask_the_bad_one():
    """An unhealthy current version can be replaced."""
    fleet = fleet_with()
    for host in fleet.hosts.values():
        for container in host.containers.values():
            container.healthy = False
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert versions(fleet) == [image("2")] * 2


def test_good_to_bad_to_fixed():
    """A failed apply leaves the old one; another failure too; the fixed one goes through."""
    fleet = fleet_with()
    for version in ("2", "3"):
        bad = [(*item[:3], version) for item in NEW]
        fleet.on("a start api[1] healthy", fails())
        assert not Run(fleet).apply(plan(fleet, wanted(bad, NEEDS))).ok
        assert versions(fleet) == [image("1")] * 2
    fixed = [(*item[:3], "4") for item in NEW]
    assert Run(fleet).apply(plan(fleet, wanted(fixed, NEEDS))).ok
    assert versions(fleet) == [image("4")] * 2
    assert not losses(fleet)


def test_steps_of_a_plan_without_routers_know_no_routing():
    """Everything as before."""
    fleet = fleet_with(wanted(OLD, NEEDS, routed=()))
    run = Run(fleet)
    assert run.apply(plan(fleet, wanted(NEW, NEEDS, routed=()))).ok
    kinds = {event.step.kind for event in run.heard(StepFinished)}
    assert kinds <= {StepKind.SHIP, StepKind.START, StepKind.STOP, StepKind.COMMIT, StepKind.REMOVE}


def test_an_unchanged_fleet_keeps_its_traffic():
    """Nothing to do."""
    fleet = fleet_with()
    made = plan(fleet, wanted(OLD, NEEDS))
    assert made.empty
    assert replace(made, hold=False) == made


def test_going_back_keeps_its_order_without_a_host_that_is_gone():
    """A shift and the detach after it may be ordered through a step of a host that nobody can reach."""
    shift = Step("shift", StepKind.SHIFT, "a", service="api")
    through = (Step("hub", StepKind.SHIFT, "b", ("shift",)), Step("hub 2", StepKind.DISARM, "b", ("hub",)))
    detach = Step("detach", StepKind.DETACH, "a", ("hub 2", "shift"), service="api")
    stop = Step("stop", StepKind.STOP, "a", ("detach", "hub"), service="api")
    assert without((shift, *through, detach, stop), {"b"}) == (
        shift,
        replace(detach, after=("shift",)),
        replace(stop, after=("detach", "shift")),
    )
