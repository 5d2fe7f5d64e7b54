"""What must never happen, over random fleets, plans, orders and faults.

A run always ends. Afterwards every host that can be reached is wholly old or wholly new, or exit code 6
has said otherwise; and the next undisturbed apply always succeeds.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fake_fleet import FakeFleet
from support.fleet_host import FakeHost, disconnects, fails, goes_down
from support.plans_by_hand import desired, image, plan_for
from support.runs import Run

from orchestrator.errors import Interrupted

HOSTS = ("a", "b", "c")
SERVICES = ("api", "db", "web")
NEEDS = [("api", ("db",)), ("web", ("api", "db"))]

releases = st.lists(
    st.tuples(st.sampled_from(SERVICES), st.integers(1, 2), st.sampled_from(HOSTS), st.sampled_from("12")),
    unique_by=lambda item: item[:2],
    max_size=6,
)
ports = st.sets(st.sampled_from(SERVICES), max_size=1)
faults = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["fail", "disconnect", "down", "press"])), max_size=3
)


def hook(fleet: FakeFleet, run: Run, chosen) -> None:
    """Hook the chosen faults into the points to come."""

    def press(_: FakeHost) -> None:
        run.interrupt.press()

    effects = {"fail": fails(), "disconnect": disconnects, "down": goes_down, "press": press}
    for number, what in chosen:
        fleet.at(number, effects[what])


def serving(fleet: FakeFleet, host: str) -> list[tuple[str, int, str]]:
    """Return (service, slot, image) of everything that runs on a host."""
    running = [c for c in fleet.hosts[host].containers.values() if c.state == "running"]
    return sorted((c.service, c.slot, c.config.image) for c in running)


@settings(max_examples=300, deadline=None)
@given(old=releases, new=releases, fixed=ports, chosen=faults, seed=st.integers(0, 2**16))
def test_every_run_ends_wholly_old_or_wholly_new_or_says_so(old, new, fixed, chosen, seed):
    """Whatever goes wrong, up to three times in one run."""
    fleet = FakeFleet(HOSTS, seed=seed)
    assert Run(fleet).apply(plan_for(fleet, desired(old, NEEDS, fixed))).ok
    before = fleet.running
    wanted = desired(new, NEEDS, fixed)
    run = Run(fleet)
    hook(fleet, run, chosen)
    outcome = run.apply(plan_for(fleet, wanted))
    up = [name for name, host in fleet.hosts.items() if not host.down]
    is_old = all(fleet.running[name] == before[name] for name in up)
    is_new = all(
        serving(fleet, name) == sorted((s, n, image(v)) for s, n, h, v in new if h == name) for name in up
    )
    aborted = isinstance(outcome.error, Interrupted) and run.interrupt.abort
    assert all(host.holder is None for host in fleet.hosts.values())
    if outcome.ok or outcome.release:
        assert is_new
    elif not aborted and outcome.error.exit_code != 6:
        assert is_old

    for host in fleet.hosts.values():
        host.down = False
    fleet._at.clear()
    assert Run(fleet).apply(plan_for(fleet, wanted)).ok
    assert all(
        serving(fleet, name) == sorted((s, n, image(v)) for s, n, h, v in new if h == name) for name in HOSTS
    )
    assert plan_for(fleet, wanted).empty


@settings(max_examples=100, deadline=None)
@given(old=releases, new=releases, number=st.integers(0, 60), seed=st.integers(0, 2**16))
def test_one_failure_never_needs_exit_code_6_while_all_hosts_are_there(old, new, number, seed):
    """With every host reachable the old containers are the ones that run afterwards, or all is new."""
    fleet = FakeFleet(HOSTS, seed=seed)
    assert Run(fleet).apply(plan_for(fleet, desired(old, NEEDS))).ok
    before = fleet.running
    fleet.at(number, fails())
    outcome = Run(fleet).apply(plan_for(fleet, desired(new, NEEDS)))
    assert outcome.ok or outcome.error.exit_code in {1, 3, 5}
    assert outcome.ok or fleet.running == before
