"""Addresses that containers keep: chosen by us, in the half of the network that the engine leaves alone."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent import addressing


@given(st.integers(16, 28), st.integers(0, 40))
def test_an_address_is_never_given_twice_nor_by_the_engine(prefix, count):
    """Every one is in the subnet, outside the engine's half, and new."""
    subnet = f"10.0.0.0/{prefix}"
    ipam = addressing.halved(subnet)
    assert ipam is not None
    engines = ipaddress.ip_network(ipam["Config"][0]["IPRange"])
    assert ipaddress.ip_address(ipam["Config"][0]["Gateway"]) in engines
    taken: list[str] = []
    for _ in range(count):
        address = addressing.free(subnet, taken)
        if not address:
            assert len(taken) >= 2 ** (31 - prefix) - 2
            return
        assert address not in taken
        assert ipaddress.ip_address(address) in ipaddress.ip_network(subnet)
        assert ipaddress.ip_address(address) not in engines
        taken.append(address)


def test_a_small_network_is_left_to_the_engine():
    """There is not enough to share."""
    assert addressing.halved("10.0.0.0/29") is None


def test_what_an_engine_says_is_read():
    """The first IPv4 subnet; the addresses containers were created with, not those they have by chance."""
    network = {"IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "10.1.0.0/24"}]}}
    assert addressing.subnet_of(network) == "10.1.0.0/24"
    assert addressing.subnet_of({}) == ""
    listing = [
        {"NetworkSettings": {"Networks": {"shop": {"IPAMConfig": {"IPv4Address": "10.1.0.129"}}}}},
        {"NetworkSettings": {"Networks": {"shop": {"IPAMConfig": None, "IPAddress": "10.1.0.2"}}}},
        {"NetworkSettings": {"Networks": {"other": {"IPAMConfig": {"IPv4Address": "10.1.0.130"}}}}},
    ]
    assert list(addressing.named(listing, "shop")) == ["10.1.0.129"]
