"""Leases: the order, what a refusal means, giving back, and two controllers that race."""

from __future__ import annotations

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_host import disconnects, fails, goes_down, hangs
from support.plans_by_hand import config
from support.runs import Run

from orchestrator.errors import HostNotReady, HostUnreachable, LeaseHeld, PlanStale
from orchestrator.execution import leases
from orchestrator.execution.world import Aborted

HOSTS = ("c", "a", "b")


def take(run: Run, epoch: int = 1, states=(), hosts=HOSTS):
    """Take the lease for ann."""
    claim = leases.Claim("shop", epoch, "ann@ci", "apply", "r2", states)
    return leases.take(
        run.world.fleet,
        claim,
        hosts,
        loop=run.controller,
        interrupt=run.interrupt,
        clock=lambda: 1000.0 + 3 * 3600,
    )


def held(fleet: FakeFleet) -> set[str]:
    """Return the hosts on which somebody holds the lease."""
    return {name for name, host in fleet.hosts.items() if host.holder is not None}


def test_the_first_host_is_asked_alone_and_the_rest_in_parallel():
    """The first by name arbitrates; nobody else is bothered before it has answered."""
    fleet = FakeFleet(HOSTS)
    assert take(Run(fleet)) == (("a", 1), ("b", 1), ("c", 1))
    assert fleet.points[:2] == ["a acquire arrives", "a acquire answers"]
    assert fleet.points[2:4] == ["b acquire arrives", "c acquire arrives"]
    assert all(host.epoch == 1 for host in fleet.hosts.values())


def test_a_held_lease_says_who_since_when_why_and_where():
    """Relative and absolute, so that it helps today and in a log of last week."""
    fleet = FakeFleet(HOSTS)
    take(Run(fleet))
    with pytest.raises(LeaseHeld) as error:
        take(Run(fleet), epoch=2)
    message = error.value.message
    assert "ann@ci" in message
    assert "on a" in message
    assert "apply (r2)" in message
    assert "3 hours ago (1970-01-01 00:16:40 UTC)" in message
    assert error.value.exit_code == 4


def test_a_refusal_gives_back_what_was_taken():
    """Held on the last host only: the first two are free again, and their sessions live on."""
    fleet = FakeFleet(HOSTS)
    take(Run(fleet), hosts=["c"])
    run = Run(fleet)
    with pytest.raises(LeaseHeld, match="on c"):
        take(run, epoch=2)
    assert held(fleet) == {"c"}
    assert not run.controller.sessions["a"].closed


def test_a_changed_host_makes_the_plan_stale():
    """The agent compares under its lock; the message names the host."""
    fleet = FakeFleet(HOSTS)
    states = tuple((name, host.state) for name, host in sorted(fleet.hosts.items()))
    fleet.hosts["b"].add(config())
    with pytest.raises(PlanStale, match="b has changed") as error:
        take(Run(fleet), states=states)
    assert held(fleet) == set()
    assert error.value.exit_code == 1


def test_an_epoch_that_was_seen_makes_the_plan_stale():
    """Somebody else has been there in between, even if nothing looks different."""
    fleet = FakeFleet(HOSTS)
    fleet.hosts["c"].epoch = 5
    with pytest.raises(PlanStale, match="another run has changed c"):
        take(Run(fleet), epoch=5)


def test_a_holder_explains_the_other_refusals():
    """Where one host is held and another has changed, the holder is the news."""
    fleet = FakeFleet(HOSTS)
    take(Run(fleet), hosts=["c"])
    fleet.hosts["b"].epoch = 7
    with pytest.raises(LeaseHeld) as error:
        take(Run(fleet), epoch=2)
    assert "another run has changed b since the plan was made" in error.value.context


def test_a_host_that_is_lost_or_broken_gives_everything_back():
    """Unreachable and any other refusal are errors of that host, with nothing held."""
    for effect, kind in ((disconnects, HostUnreachable), (fails("internal", "disk error"), HostNotReady)):
        fleet = FakeFleet(HOSTS)
        fleet.on("b acquire arrives", effect)
        with pytest.raises(kind) as error:
            take(Run(fleet))
        assert error.value.host == "b"
        assert held(fleet) == set()


def test_a_host_that_cannot_be_connected_is_an_error():
    """No session, no lease."""
    fleet = FakeFleet(HOSTS)
    goes_down(fleet.hosts["c"])
    with pytest.raises(HostUnreachable):
        take(Run(fleet))
    assert held(fleet) == set()


def test_a_second_ctrl_c_leaves_the_waiting():
    """A host that hangs cannot keep the user."""
    fleet = FakeFleet(HOSTS)
    run = Run(fleet)
    fleet.on("b acquire arrives", hangs)

    def press(_):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("c acquire answers", press)
    with pytest.raises(Aborted):
        take(run)


@pytest.mark.parametrize("moment", range(6))
@pytest.mark.parametrize("seed", range(5))
def test_of_two_controllers_that_race_exactly_one_wins(moment, seed):
    """The second starts at every moment of the first: never two holders, never a split fleet."""
    fleet = FakeFleet(HOSTS, seed=seed)
    won: list[str] = []

    def attempt(name: str, run: Run) -> None:
        try:
            take(run)
        except (LeaseHeld, PlanStale):
            return
        won.append(name)

    first, second = Run(fleet), Run(fleet)
    fleet.at(moment, lambda _: attempt("second", second))
    attempt("first", first)
    assert len(won) == 1
    winner = (first if won == ["first"] else second).controller
    assert all(host.holder is winner.sessions[name] for name, host in fleet.hosts.items())


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (7200, "2 hours"),
        (86400, "1 day"),
    ],
)
def test_spans_of_time_in_words(seconds, words):
    """The largest whole unit; a host's clock that is ahead counts as now."""
    assert leases._span(seconds) == words
