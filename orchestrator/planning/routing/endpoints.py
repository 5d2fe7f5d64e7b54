"""The stable addresses of services: one inside the project, one between hosts.

Owns the allocation. What a release gave a service stays; what is new is found by hashing names and
probing on, so that it depends on no order. Pure. It must not know which host uses which address.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from typing import TypeVar

from orchestrator.errors import Problem, SpecError
from orchestrator.protocol.messages import Endpoint
from orchestrator.spec.model import Project
from orchestrator.spec.routing_rules import discovered, listeners

_T = TypeVar("_T", str, int)

MESH_PORTS = range(20000, 32768)
"""Ports between hosts: below the ones that kernels give to outgoing connections."""


def virtual_network(project: Project) -> str:
    """Return the network that the services' addresses come from, as a CIDR.

    It is the upper quarter of 10/8, a /24 for each project by the hash of its name, unless the spec says
    otherwise.
    """
    router = project.routing
    if router is not None and router.network:
        return router.network
    number = _hash(project.project)
    return f"10.{192 + number % 64}.{number >> 6 & 255}.0/24"


def endpoints(project: Project, current: Iterable[Endpoint] = ()) -> tuple[Endpoint, ...]:
    """Return the addresses of every routed or discovered port of a service, sorted.

    Args:
        project: The spec.
        current: Those of the release in force. They are kept, unless the network they are in has changed
            or the spec now gives their port to something else.

    Raises:
        SpecError: The network has fewer addresses than there are services.
    """
    own = discovered(project)
    ports = {(name, port) for name, exposed in own.items() for port in exposed}
    ports |= {(route.service, route.port) for route in project.routes.values() if project.routing is not None}
    known = sorted(current, key=lambda item: (item.service, item.port, item.virtual, item.mesh))
    virtuals = _virtuals(project, sorted(own), known)
    meshes = _meshes(project, sorted(ports), known)
    return tuple(
        Endpoint(name, port, virtuals[name] if port in own.get(name, ()) else "", meshes[name, port])
        for name, port in sorted(ports)
    )


def _virtuals(project: Project, names: Sequence[str], known: Sequence[Endpoint]) -> dict[str, str]:
    """Return one address for each name: its old one while that is in the network, else a free one."""
    network = ipaddress.IPv4Network(virtual_network(project))
    size = network.num_addresses - 2  # neither the network's own address nor its broadcast
    if len(names) > size:
        raise SpecError(
            [
                Problem(
                    f"{len(names)} services need an address of their own, and {network} has {size}",
                    path="router.network",
                    hint="give the router a larger network",
                )
            ]
        )
    found: dict[str, str] = {}
    taken: set[str] = set()
    for item in known:
        mine = item.service in names and item.service not in found and item.virtual not in taken
        if mine and _inside(item.virtual, network):
            found[item.service] = item.virtual
            taken.add(item.virtual)
    left = {item.virtual for item in known}
    for name in names:
        if name not in found:
            start = _hash(f"{project.project}/{name}")
            free = _free((str(network[1 + (start + step) % size]) for step in range(size)), taken, left)
            found[name] = free
            taken.add(free)
    return found


def _meshes(
    project: Project, ports: Sequence[tuple[str, int]], known: Sequence[Endpoint]
) -> dict[tuple[str, int], int]:
    """Return one port between hosts for each port of a service."""
    router = project.routing
    taken = {binding.port for binding in listeners(project)}
    taken |= {port.published for service in project.services.values() for port in service.ports}
    if router is not None and router.preview_port:
        taken.add(router.preview_port)
    found: dict[tuple[str, int], int] = {}
    wanted = set(ports)
    for item in known:
        key = (item.service, item.port)
        if key in wanted and key not in found and item.mesh in MESH_PORTS and item.mesh not in taken:
            found[key] = item.mesh
            taken.add(item.mesh)
    left, size = {item.mesh for item in known}, len(MESH_PORTS)
    for name, port in ports:
        if (name, port) not in found:
            start = _hash(f"{project.project}/{name}/{port}")
            free = _free((MESH_PORTS[(start + step) % size] for step in range(size)), taken, left)
            found[name, port] = free
            taken.add(free)
    return found


def _free(candidates: Iterable[_T], taken: set[_T], left: set[_T]) -> _T:
    """Return the first candidate that nothing has, if possible one that nothing had just now either.

    What a service leaves behind is still served until the cutover is over.
    """
    spare: _T | None = None
    for candidate in candidates:
        if candidate in taken:
            continue
        if candidate not in left:
            return candidate
        spare = candidate if spare is None else spare
    assert spare is not None  # noqa: S101 - there are more candidates than are taken
    return spare


def _inside(address: str, network: ipaddress.IPv4Network) -> bool:
    """Return whether an address that a host reported is one this network gives out."""
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return parsed in network and parsed not in (network.network_address, network.broadcast_address)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
