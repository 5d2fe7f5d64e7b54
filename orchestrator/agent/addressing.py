"""Addresses that containers keep: a network cut in two, and the choice of a free address in our half.

An engine that gives out addresses by itself gives a container another one whenever it is restarted, and
its old one to somebody else; whoever sends traffic to addresses (the router) would then send it to the
wrong container. So the engine has the lower half of a project's network, and we name addresses in the
upper one. Pure; :mod:`.stage` asks the engine.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Dict, Iterable, Iterator, Mapping, Optional

LABEL = "deploy.addresses"
FIXED = "fixed"
"""Value of the label of a network in which we name addresses."""

_LONGEST_PREFIX = 28
"""A smaller network is too small to be cut in two."""


def subnet_of(network: Mapping[str, Any]) -> str:
    """Return the IPv4 subnet of a network's inspect; empty when it has none."""
    for config in (network.get("IPAM") or {}).get("Config") or ():
        subnet = str(config.get("Subnet") or "")
        if ":" not in subnet:
            return subnet
    return ""


def halved(subnet: str) -> Optional[Dict[str, Any]]:
    """Return the ``IPAM`` of a network that leaves its upper half to us; ``None`` when it is too small."""
    whole = ipaddress.IPv4Network(subnet)
    if whole.prefixlen > _LONGEST_PREFIX:
        return None
    lower = next(whole.subnets())
    return {"Config": [{"Subnet": subnet, "IPRange": str(lower), "Gateway": str(lower[1])}]}


def free(subnet: str, taken: Iterable[str]) -> str:
    """Return the lowest address of the upper half that is not taken; empty when all are."""
    upper = list(ipaddress.IPv4Network(subnet).subnets())[1]
    used = set(taken)
    return next((str(address) for address in upper.hosts() if str(address) not in used), "")


def named(listing: Iterable[Mapping[str, Any]], network: str) -> Iterator[str]:
    """Yield the addresses that containers of a listing were created with, stopped ones included."""
    for item in listing:
        endpoint = ((item.get("NetworkSettings") or {}).get("Networks") or {}).get(network) or {}
        address = (endpoint.get("IPAMConfig") or {}).get("IPv4Address")
        if address:
            yield str(address)
