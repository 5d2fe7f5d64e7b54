"""Maintenance of a route: on all routers that have it, under the lease, or as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_host import disconnects, fails
from support.routing_samples import good, picture, routed_record
from support.runs import Run

from orchestrator import maintenance
from orchestrator.errors import ApplyFailed, HostUnreachable, LeaseHeld, NotRestored, RequestError
from orchestrator.events import LeaseTaken
from orchestrator.execution.leases import Claim
from orchestrator.planning.observed import Index
from orchestrator.planning.types import Observed, ObservedHost
from orchestrator.protocol.messages import Acquire, HostReport

HOSTS = ("a", "b", "c")


def switch(run: Run, *, on: bool = True, epoch: int = 1) -> None:
    """Switch the route shop on all hosts."""
    maintenance.carry_out(
        run.world.fleet,
        Claim("shop", epoch, "ann@ci", "maintenance on shop", "r4"),
        HOSTS,
        "shop",
        on=on,
        loop=run.controller,
        interrupt=run.interrupt,
        listener=run.events.append,
    )


def test_it_is_switched_under_the_lease_and_the_lease_given_back():
    """Everywhere, once; afterwards the next run may have the lease in the same sessions."""
    fleet = FakeFleet(HOSTS)
    run = Run(fleet)
    switch(run)
    assert all(host.maintenance == {"shop"} and host.holder is None for host in fleet.hosts.values())
    assert run.heard(LeaseTaken) == [LeaseTaken(1, HOSTS)]
    switch(run, on=False, epoch=2)
    assert not any(host.maintenance for host in fleet.hosts.values())


def test_a_refusal_puts_the_others_back():
    """One host fails: no router answers another way than before."""
    fleet = FakeFleet(HOSTS)
    fleet.on("b maintain arrives", fails("engine", "the router does not answer"))
    with pytest.raises(ApplyFailed, match="it is off as before") as error:
        switch(Run(fleet))
    assert "the router does not answer" in error.value.context[0]
    assert not any(host.maintenance for host in fleet.hosts.values())


def test_what_cannot_be_put_back_is_said():
    """A second failure leaves the fleet split, and the exit code says so."""
    fleet = FakeFleet(HOSTS)

    def again(host) -> None:
        fleet.on("a maintain arrives", disconnects)
        fails()(host)

    fleet.on("b maintain arrives", again)
    with pytest.raises(NotRestored) as error:
        switch(Run(fleet))
    assert error.value.exit_code == 6
    assert fleet.hosts["a"].maintenance == {"shop"}


def test_somebody_else_is_changing_the_project():
    """Nothing is switched without the lease."""
    fleet = FakeFleet(HOSTS)
    other = Run(fleet)
    other.controller.session("a").request(Acquire("shop", 1, "bob@ci", "apply", "r5"))
    while fleet.pump():
        pass
    with pytest.raises(LeaseHeld):
        switch(Run(fleet), epoch=2)
    assert not any(host.maintenance for host in fleet.hosts.values())


def test_a_second_ctrl_c_says_what_may_be_split():
    """Nothing is known then, and that is what is said."""
    fleet = FakeFleet(HOSTS)
    run = Run(fleet)

    def press(_host) -> None:
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("a maintain arrives", press)
    with pytest.raises(NotRestored, match="some hosts only"):
        switch(run)


def test_the_routes_of_a_host_are_those_of_its_newest_record():
    """A host that took no part in the last release serves the one before."""
    report = good().host("web-1").report
    assert maintenance.routes_of(report) == ("db", "plain", "shop")
    older = replace(routed_record(picture()), id="r3")
    assert maintenance.routes_of(replace(report, releases=(older, routed_record(None)))) == (
        "db",
        "plain",
        "shop",
    )
    assert maintenance.routes_of(HostReport(epoch=0, key="")) == ()


def test_an_unknown_route_names_the_nearest():
    """And all there are."""
    with pytest.raises(RequestError) as error:
        maintenance.hosts_with(Index(good()), "shopp")
    assert error.value.hint == "did you mean 'shop'? there are: db, plain, shop"
    assert maintenance.hosts_with(Index(good()), "db") == ("web-1",)


def test_a_router_that_did_not_answer_is_not_forgotten():
    """Whoever switches is told that one router may answer as before."""
    up = good().host("web-1")
    fleet = Observed((up, ObservedHost("web-2", error="web-2: no route to host")))
    with pytest.raises(HostUnreachable, match="its router may answer shop as before"):
        maintenance.refuse_to_forget(Index(fleet), "shop")
    maintenance.refuse_to_forget(Index(good()), "shop")
