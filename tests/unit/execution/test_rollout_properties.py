"""What must never happen to routed services: random fleets, strategies, orders and faults, over many applies.

At any moment as many instances of a service serve as its policy promises; nothing that has traffic stops;
every run ends, and afterwards every service serves one configuration, or exit code 6 (or a second Ctrl-C)
has said otherwise; the next undisturbed apply always gets there.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.fake_fleet import FakeFleet
from support.fleet_host import FakeHost, disconnects, expires, fails, goes_down
from support.plans_by_hand import image
from support.routed import losses, plan, policy, serving, wanted
from support.runs import Run

from orchestrator.errors import Interrupted
from orchestrator.planning.types import CanaryStep

HOSTS = ("a", "b", "c")
SERVICES = ("api", "db", "web")
NEEDS = [("api", ("db",)), ("web", ("api", "db"))]
POLICIES = {
    "blue-green": policy(),
    "warm": policy(keep_old=60.0),
    "canary": policy("canary", canary=(CanaryStep(5, 1.0), CanaryStep(50, 1.0))),
    "rolling": policy("rolling"),
    "fast": policy("rolling", max_parallel=2),
    "recreate": policy("recreate"),
}

layouts = st.lists(
    st.tuples(st.sampled_from(SERVICES), st.integers(1, 3), st.sampled_from(HOSTS)),
    unique_by=lambda item: item[:2],
    max_size=6,
)
versions = st.sampled_from("123")
faults = st.lists(
    st.tuples(
        st.integers(0, 90), st.sampled_from(["fail", "disconnect", "down", "expire", "press"]), versions
    ),
    max_size=2,
)


class Rollouts(RuleBasedStateMachine):
    """Applies after applies, some of them disturbed."""

    @initialize(
        seed=st.integers(0, 2**16),
        chosen=st.fixed_dictionaries({name: st.sampled_from(sorted(POLICIES)) for name in SERVICES}),
        unrouted=st.sets(st.sampled_from(SERVICES), max_size=1),
    )
    def begin(self, seed: int, chosen: dict[str, str], unrouted: set[str]) -> None:
        """Start with an empty fleet."""
        self.fleet = FakeFleet(HOSTS, seed=seed)
        self.policies = {name: POLICIES[which] for name, which in chosen.items()}
        self.routed = set(SERVICES) - unrouted
        self.instances: list[tuple[str, int, str, str]] = []
        self.promised: dict[str, int] = {}
        self.least: list[str] = []
        self.fleet.watchers.append(self.look)

    def look(self) -> None:
        """Count who serves, at every point of every run."""
        for service, count in self.promised.items():
            if (found := len(serving(self.fleet, service))) < count:
                self.least.append(f"{service}: {found} of {count} at {self.fleet.points[-1]}")

    def desired(self, instances):
        """Return what should run, behind routers everywhere."""
        return wanted(
            instances, NEEDS, routed=self.routed, policies=self.policies, hosts=HOSTS if instances else ()
        )

    def promise(self, new) -> None:
        """Work out how many have to serve during an apply: what both sides have, but what may be away."""
        self.promised = {}
        for service in self.routed:
            before = [item for item in self.instances if item[0] == service]
            after = [item for item in new if item[0] == service]
            if before and after:
                away = self.policies[service].max_unavailable
                self.promised[service] = max(0, min(len(before), len(after)) - away)

    def is_serving(self, instances) -> bool:
        """Tell whether exactly ``instances`` get the traffic of their services."""
        return all(
            serving(self.fleet, service)
            == sorted((host, slot, image(v)) for name, slot, host, v in instances if name == service)
            for service in self.routed & {item[0] for item in instances}
        )

    def heal(self) -> None:
        """Bring hosts back, let guards go off that nobody confirmed."""
        for host in self.fleet.hosts.values():
            host.down = False
            host.router.expire()
        self.fleet._at.clear()

    @rule(layout=layouts, version=versions, chosen=faults)
    def apply(self, layout, version: str, chosen) -> None:
        """Apply, with what befalls it."""
        new = [(*item, version) for item in layout]
        run = Run(self.fleet)

        def press(_: FakeHost) -> None:
            run.interrupt.press()

        def down(host: FakeHost) -> None:
            # Who cannot be told to take its traffic back may have been the only one.
            self.promised = {}
            goes_down(host)

        def expire(host: FakeHost) -> None:
            # One host has gone back by itself; the others follow when they are told.
            self.promised = {}
            expires(host)

        effects = {
            "fail": fails(),
            "disconnect": disconnects,
            "down": down,
            "expire": expire,
            "press": press,
        }
        made = plan(self.fleet, self.desired(new))
        self.promise(new)
        for number, what, _ in chosen:
            self.fleet.at(number, effects[what])
        outcome = run.apply(made)
        self.fleet._at.clear()
        assert all(host.holder is None for host in self.fleet.hosts.values())
        up = all(not host.down for host in self.fleet.hosts.values())
        aborted = isinstance(outcome.error, Interrupted) and run.interrupt.abort
        if outcome.ok or outcome.release:
            assert self.is_serving(new) or not up
            self.instances = new
        elif not aborted and outcome.error.exit_code != 6:
            assert self.is_serving(self.instances) or not up
        else:
            self.promised = {}
        self.heal()
        self.promised = {}
        if chosen:
            # Whatever is left in between, one undisturbed apply is enough.
            again = plan(self.fleet, self.desired(new))
            assert Run(self.fleet).apply(again).ok
            self.instances = new
        assert self.is_serving(new)
        left = plan(self.fleet, self.desired(new))
        assert left.empty, (left.routers, left.unserved, left.unrecorded, left.forgets, left.images)

    @invariant()
    def nothing_with_traffic_ever_stops(self) -> None:
        """Not on the way there, and not on the way back."""
        if hasattr(self, "fleet"):
            assert not losses(self.fleet)

    @invariant()
    def never_fewer_than_promised(self) -> None:
        """At any point of any run."""
        if hasattr(self, "fleet"):
            assert not self.least


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=4, deadline=None)
