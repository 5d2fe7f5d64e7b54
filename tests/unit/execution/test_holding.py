"""Hold, promote and abort on the fleet in memory: from any machine, exactly what was tested."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_host import fails, goes_down
from support.plans_by_hand import image
from support.routed import losses, plan, policy, serving, wanted
from support.runs import Run

from orchestrator.errors import ApplyFailed, HostUnreachable, RequestError
from orchestrator.events import StepFinished
from orchestrator.execution.apply import Outcome, carry_out
from orchestrator.planning.hold import Settlement, abort, held, promote, refuse
from orchestrator.planning.observed import Index, observed
from orchestrator.planning.rollback import rollback
from orchestrator.planning.types import JobPhase

HOSTS = ("a", "b")
OLD = [("api", 1, "a", "1"), ("api", 2, "b", "1"), ("db", 1, "a", "1")]
NEW = [("api", 1, "a", "2"), ("api", 2, "b", "2"), ("db", 1, "a", "2")]
NEEDS = [("api", ("db",))]


def seen(fleet: FakeFleet):
    """Return what the hosts say."""
    reports = {name: host.report() for name, host in fleet.hosts.items() if not host.down}
    gone = {name: HostUnreachable(name, "no route") for name, host in fleet.hosts.items() if host.down}
    return observed({**reports, **gone}, "shop")


def settle(fleet: FakeFleet, settlement: Settlement) -> tuple[Run, Outcome]:
    """Carry out how a hold ends."""
    run = Run(fleet)
    outcome = carry_out(settlement.plan, settlement.steps, run.world, author="bob@ci", clock=lambda: 2000.0)
    run.controller.close()
    return run, outcome


def versions(fleet: FakeFleet) -> list[str]:
    """Return the images that get the traffic of ``api``."""
    return [item for _, _, item in serving(fleet, "api")]


@pytest.fixture
def fleet() -> FakeFleet:
    """Return a fleet that serves ``OLD`` and holds ``NEW``."""
    fleet = FakeFleet(HOSTS)
    assert Run(fleet).apply(plan(fleet, wanted(OLD, NEEDS))).ok
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS), hold=True))
    assert outcome.ok
    assert (outcome.release, outcome.held) == ("", "r2")
    return fleet


def test_a_held_release_runs_without_traffic(fleet):
    """Old ones serve, new ones are in the router, nothing is recorded, nothing armed."""
    assert versions(fleet) == [image("1")] * 2
    assert sum(len(found) for found in fleet.running.values()) == 6
    assert ("api", 1, "r2") in fleet.hosts["a"].router.table
    assert set(fleet.hosts["a"].releases) == {"r1"}
    assert fleet.hosts["a"].router.guard.state == "confirmed"
    assert set(held(Index(seen(fleet)))) == {"a", "b"}


def test_nothing_else_is_planned_meanwhile(fleet):
    """An apply and a rollback are refused with the reason."""
    with pytest.raises(RequestError, match="r2 is held and waits"):
        refuse(Index(seen(fleet)))
    with pytest.raises(RequestError, match="cannot roll back: release r2 is held"):
        rollback("shop", seen(fleet))


def test_promote_cuts_over_to_the_tested_instances(fleet):
    """It starts nothing, retires the old ones, records the very release, and forgets the hold."""
    tested = {name: host.running for name, host in fleet.hosts.items()}
    run, outcome = settle(fleet, promote("shop", seen(fleet)))
    assert outcome.ok
    assert outcome.release == "r2"
    assert versions(fleet) == [image("2")] * 2
    assert not [name for name in run.names(StepFinished) if name.startswith(("start", "resume"))]
    assert all(fleet.running[name] < tested[name] for name in HOSTS)
    assert all(host.router.held is None for host in fleet.hosts.values())
    assert not losses(fleet)
    assert plan(fleet, wanted(NEW, NEEDS)).empty


def test_promote_runs_the_late_jobs_once_and_keeps_the_rest_of_the_policy():
    """Jobs after the confirm wait for it; drain and keep_old are those of the spec that was held."""
    fleet = FakeFleet(HOSTS)
    assert Run(fleet).apply(plan(fleet, wanted(OLD, NEEDS))).ok
    desired = wanted(NEW, NEEDS, policies={"api": policy(drain=7.0), "db": policy(keep_old=60.0)})
    job = replace(
        desired.instances[0], slot=2, config=replace(desired.instances[0].config, command=("warm",))
    )
    early = replace(job, slot=1)
    jobs = (("api", JobPhase.BEFORE_CUTOVER, early), ("api", JobPhase.AFTER_CONFIRM, job))
    made = plan(fleet, desired, hold=True)
    made = replace(made, desired=replace(made.desired, jobs=jobs))
    assert Run(fleet).apply(made).ok
    router = fleet.hosts["a"].router
    assert router.jobs == [("r2", "api-before-cutover-1")]
    old_db = fleet.hosts["a"].find(("db", 1, "r1"))
    fleet.performed.clear()
    run, outcome = settle(fleet, promote("shop", seen(fleet)))
    assert outcome.ok
    assert router.jobs[1:] == [("r2", "api-after-confirm-1")]
    operations = [op for _, request in fleet.performed for op in request.operations]
    assert [op.config for op in operations if op.kind == "job"] == [job.config]
    assert {op.seconds for op in operations if op.kind == "drain" and op.service == "api"} == {7.0}
    assert old_db in fleet.hosts["a"].running
    names = run.names(StepFinished)
    assert names.index("commit b") < names.index("job a api-after-confirm-1")


def test_a_promote_that_fails_leaves_the_release_held(fleet):
    """The old ones serve, the tested ones keep their places, and a second promote goes through."""
    before = fleet.running
    fleet.on("b watch api[0] watching", fails())
    _, outcome = settle(fleet, promote("shop", seen(fleet)))
    assert isinstance(outcome.error, ApplyFailed)
    assert fleet.running == before
    assert versions(fleet) == [image("1")] * 2
    assert ("api", 1, "r2") in fleet.hosts["a"].router.table
    _, outcome = settle(fleet, promote("shop", seen(fleet), "r2"))
    assert outcome.ok
    assert versions(fleet) == [image("2")] * 2
    assert not losses(fleet)


def test_abort_stops_what_was_held_and_keeps_it(fleet):
    """Nothing that serves is touched, and the plan after knows of nothing but leftovers."""
    _, outcome = settle(fleet, abort("shop", seen(fleet)))
    assert outcome.ok
    assert versions(fleet) == [image("1")] * 2
    assert sum(len(found) for found in fleet.running.values()) == 3
    assert sum(len(host.containers) for host in fleet.hosts.values()) == 6
    assert not held(Index(seen(fleet)))
    assert not losses(fleet)
    assert Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS))).ok
    assert versions(fleet) == [image("2")] * 2
    assert plan(fleet, wanted(NEW, NEEDS)).empty


def test_abort_goes_where_it_can(fleet):
    """A host that is down keeps its part, which can be aborted later."""
    goes_down(fleet.hosts["b"])
    settlement = abort("shop", seen(fleet))
    assert [host for host, _ in settlement.plan.skipped] == ["b"]
    assert settle(fleet, settlement)[1].ok
    fleet.hosts["b"].down = False
    assert set(held(Index(seen(fleet)))) == {"b"}
    assert settle(fleet, abort("shop", seen(fleet)))[1].ok
    assert not held(Index(seen(fleet)))


def test_promote_refuses_what_is_not_what_was_tested(fleet):
    """Gone, unhealthy, a host away, another record: each with its reason."""
    host = fleet.hosts["a"]
    tested = host.containers[host.find(("api", 1, "r2"))]
    tested.healthy = False
    with pytest.raises(RequestError, match=r"api\[1\] on a is not what was tested: it is unhealthy"):
        promote("shop", seen(fleet))
    tested.healthy, tested.state = True, "exited"
    with pytest.raises(RequestError, match="it is exited"):
        promote("shop", seen(fleet))
    tested.state = "running"
    with pytest.raises(RequestError, match="cannot promote r7: it is not held"):
        promote("shop", seen(fleet), "r7")
    kept, fleet.hosts["b"].router.held = fleet.hosts["b"].router.held, None
    with pytest.raises(RequestError, match="b does not hold it"):
        promote("shop", seen(fleet))
    fleet.hosts["b"].router.held = kept
    goes_down(fleet.hosts["b"])
    with pytest.raises(HostUnreachable, match="it has a part in r2"):
        promote("shop", seen(fleet))


def test_without_a_hold_there_is_nothing_to_settle():
    """Said with what to do."""
    fleet = FakeFleet(HOSTS)
    with pytest.raises(RequestError, match="no release of shop is held"):
        promote("shop", seen(fleet))


def test_a_failure_while_staging_leaves_nothing_held():
    """It ends as any failed apply does."""
    fleet = FakeFleet(HOSTS)
    assert Run(fleet).apply(plan(fleet, wanted(OLD, NEEDS))).ok
    before = fleet.running
    fleet.on("b hold r2 holding", fails("no-space", "disk full"))
    outcome = Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS), hold=True))
    assert isinstance(outcome.error, ApplyFailed)
    assert fleet.running == before
    assert all(host.router.held is None for host in fleet.hosts.values())


def test_what_cannot_run_twice_cannot_be_held():
    """Refused before anything is touched."""
    recreate = {"db": policy("recreate")}
    fleet = FakeFleet(HOSTS)
    assert Run(fleet).apply(plan(fleet, wanted(OLD, NEEDS, policies=recreate))).ok
    fleet.points.clear()
    with pytest.raises(RequestError, match=r"cannot hold r2: db\[1\] on a cannot run beside what runs"):
        Run(fleet).apply(plan(fleet, wanted(NEW, NEEDS, policies=recreate), hold=True))
    assert not fleet.points


def test_another_hold_ends_what_was_held(fleet):
    """A preview must reach the new release alone; what serves is not touched."""
    third = [(*where[:3], "3") for where in NEW]
    outcome = Run(fleet).apply(plan(fleet, wanted(third, NEEDS), hold=True, unholds=HOSTS))
    assert outcome.ok
    assert versions(fleet) == [image("1")] * 2
    seats = {key for host in fleet.hosts.values() for key in host.router.table}
    assert {release for _, _, release in seats} == {"r1", outcome.held}
