"""Addresses never move, never collide, and depend on no order."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import project

from orchestrator.errors import SpecError
from orchestrator.planning.routing.endpoints import MESH_PORTS, endpoints, virtual_network
from orchestrator.protocol.messages import Endpoint
from orchestrator.spec.model import Project

names = st.lists(st.from_regex(r"[a-z]{1,6}", fullmatch=True), unique=True, max_size=8)


def using(services: list[str], *, network: str = "10.200.7.0/28", **fields: Any) -> Project:
    """Return a project in which one service uses all the others, in the order given."""
    every: dict[str, Any] = {name: {"expose": [80, 81]} for name in services}
    every["zz-user"] = {"depends_on": services}
    return project(every, router={"network": network}, **fields)


@given(names, st.randoms())
def test_order_does_not_matter(services: list[str], random: Any) -> None:
    """The same services get the same addresses whatever their order, and no two the same."""
    found = endpoints(using(services))
    shuffled = list(services)
    random.shuffle(shuffled)
    assert endpoints(using(shuffled)) == found
    assert [(item.service, item.port) for item in found] == [
        (name, port) for name in sorted(services) for port in (80, 81)
    ]
    assert len({item.mesh for item in found}) == len(found)
    virtuals = {item.service: item.virtual for item in found}
    assert len(set(virtuals.values())) == len(services)
    network = ipaddress.IPv4Network("10.200.7.0/28")
    assert {ipaddress.IPv4Address(virtual) for virtual in virtuals.values()} <= set(network.hosts())
    assert all(item.mesh in MESH_PORTS and item.virtual == virtuals[item.service] for item in found)


@given(names, names)
def test_nothing_moves(before: list[str], after: list[str]) -> None:
    """Whatever comes and goes, what stays keeps its addresses, although the network is nearly full."""
    old = endpoints(using(before))
    new = {(item.service, item.port): item for item in endpoints(using(after), old)}
    assert all(new[item.service, item.port] == item for item in old if item.service in after)


@given(
    st.lists(
        st.builds(
            Endpoint, names.map(lambda n: (n or ["a"])[0]), st.integers(0, 90), st.text(), st.integers()
        )
    )
)
def test_a_record_of_any_kind_is_no_harm(known: list[Endpoint]) -> None:
    """What a host reports may be nonsense: it is not kept then."""
    found = endpoints(using(["a", "b"]), known)
    assert len({item.mesh for item in found}) == 4
    assert len({item.virtual for item in found}) == 2


def test_what_was_left_behind_is_not_taken_at_once() -> None:
    """It is served until the cutover is over: a new service gets another address while there is one."""
    old = endpoints(using([f"s{number}" for number in range(7)]))
    new = endpoints(using([f"t{number}" for number in range(7)]), old)
    assert not {item.virtual for item in old} & {item.virtual for item in new}
    assert not {item.mesh for item in old} & {item.mesh for item in new}


def test_addresses_leave_a_network_that_has_changed() -> None:
    """A new network is a wish for new addresses; ports between hosts stay."""
    old = endpoints(using(["a"]))
    new = endpoints(using(["a"], network="10.201.0.0/24"), old)
    assert all(item.virtual.startswith("10.201.0.") for item in new)
    assert [item.mesh for item in new] == [item.mesh for item in old]


def test_a_port_the_spec_now_uses_is_given_up() -> None:
    """A route on the very port that was between hosts wins."""
    (old, *_) = endpoints(using(["a"]))
    route = {"service": "a", "port": 80, "bind": old.mesh}
    (new, *_) = endpoints(using(["a"], routes={"r": route}), (old,))
    assert new == replace(old, mesh=new.mesh)
    assert new.mesh != old.mesh


def test_routed_services_have_no_address_unless_used() -> None:
    """A route alone needs a port between hosts and nothing else."""
    model = project({"web": {"expose": [80]}}, routes={"r": {"service": "web", "port": 80}})
    (only,) = endpoints(model)
    assert (only.service, only.port, only.virtual) == ("web", 80, "")


def test_without_a_router_there_is_nothing() -> None:
    """``expose`` alone changes nothing."""
    assert endpoints(project({"a": {"expose": [80]}, "b": {"depends_on": ["a"]}})) == ()


def test_a_network_that_is_too_small() -> None:
    """The message says what to do."""
    with pytest.raises(SpecError) as caught:
        endpoints(using([f"s{number}" for number in range(15)]))
    assert caught.value.problems[0].path == "router.network"


def test_the_default_network_comes_from_the_name() -> None:
    """Two projects on one host seldom share one."""
    nets = {virtual_network(Project(project=name)) for name in ("shop", "blog", "mail")}
    assert len(nets) == 3
    assert all(ipaddress.IPv4Network(net).subnet_of(ipaddress.IPv4Network("10.192.0.0/10")) for net in nets)
