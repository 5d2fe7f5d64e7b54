"""The lab's subnet never overlaps what the machine already uses."""

from __future__ import annotations

import ipaddress
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.lab.network import candidates, free_subnet, mac
from orchestrator.lab.processes import LabError

NETWORKS = st.builds(
    lambda address, length: f"{ipaddress.IPv4Address(address)}/{length}",
    st.integers(0x0A000000, 0x0AFFFFFF),
    st.integers(12, 32),
)


@given(st.text("0123456789abcdef", min_size=8, max_size=8), st.lists(NETWORKS, max_size=8))
def test_a_chosen_subnet_is_free(ident, taken):
    """Whatever routes there are, hosts and gateways of other networks stay reachable."""
    chosen = ipaddress.IPv4Network(free_subnet(ident, taken))
    assert chosen.prefixlen == 24
    assert chosen.subnet_of(ipaddress.IPv4Network("10.0.0.0/8"))
    assert not any(chosen.overlaps(ipaddress.IPv4Network(other, strict=False)) for other in taken)


def test_labs_have_favourites_of_their_own():
    """Two labs rarely compete, and one gets its old subnet again."""
    first = next(candidates("00000000"))
    assert first == next(candidates("00000000"))
    assert first != next(candidates("00000001"))
    assert len(set(itertools.islice(candidates("00000000"), 1000))) == 1000


def test_a_host_keeps_its_network_card():
    """A hardware address of our own (locally administered, not multicast) for each address."""
    assert mac("10.1.2.255") == "02:00:0a:01:02:ff"


def test_no_free_subnet_is_an_error():
    """A machine that routes all of 10/8 has no room."""
    with pytest.raises(LabError, match="cannot find a free subnet"):
        free_subnet("00000000", ["10.0.0.0/8"])
