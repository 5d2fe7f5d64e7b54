"""Whether everything that wants a fixed port of a host gets it.

Owns the rules about ports: between instances, and between instances and the router of their host. It
must not know what runs now; what has to stop first for its port is :mod:`.clashes`'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchestrator.errors import Problem
from orchestrator.planning.types import DesiredInstance
from orchestrator.protocol.routing import RouterConfig

_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


def addresses_clash(one: str, other: str) -> bool:
    """Return whether one port cannot be published on both addresses of a host."""
    return one == other or one in _ANY or other in _ANY


def port_conflicts(instances: Iterable[DesiredInstance]) -> Iterator[Problem]:
    """Yield a problem for each port of a host that two instances claim."""
    claims: dict[tuple[str, int, str], list[tuple[str, DesiredInstance]]] = {}
    for item in instances:
        for port in item.config.ports:
            if port.published:
                claim = (item.host, port.published, port.protocol)
                claims.setdefault(claim, []).append((port.host_ip, item))
    for (host, published, protocol), found in sorted(claims.items(), key=lambda claim: claim[0]):
        for index, (address, item) in enumerate(found):
            other = next((known for ip, known in found[:index] if addresses_clash(ip, address)), None)
            if other is not None:
                yield Problem(
                    f"port {published}/{protocol} of {host} is published by"
                    f" {other.service}[{other.slot}] and by {item.service}[{item.slot}]",
                    path=f"services.{item.service}.ports",
                    hint="publish different ports, use more hosts, or fewer replicas",
                )


def router_conflicts(
    instances: Iterable[DesiredInstance], routers: Iterable[tuple[str, RouterConfig]]
) -> Iterator[Problem]:
    """Yield the problems, one at each place, with a port that an instance publishes and a router needs."""
    held = {host: tuple(_held(config)) for host, config in routers}
    told: set[tuple[str, int, str]] = set()
    for item in instances:
        for port in item.config.ports:
            for address, number, what, path in held.get(item.host, ()):
                mine = port.published == number and port.protocol == "tcp"
                if not mine or not addresses_clash(address, port.host_ip):
                    continue
                if (item.service, number, path) in told:
                    continue
                told.add((item.service, number, path))
                message = f"port {number} of {item.host} is published by {item.service} and {what}"
                hint = f"leave it out of the ports of {item.service}, or use another"
                yield Problem(message, path=f"services.{item.service}.ports", hint=hint)
                yield Problem(message, path=path, hint=hint)


def _held(config: RouterConfig) -> Iterator[tuple[str, int, str, str]]:
    """Yield (address, port, what for, key path) of everything a router listens on."""
    for listener in config.listeners:
        route = listener.routes[0].name
        yield listener.address, listener.port, f"is what route {route} listens on", f"routes.{route}"
    for virtual in config.virtuals:
        service = virtual.backend.rpartition("_")[0]
        what = f"is where the router serves {service} to those that depend on it"
        yield virtual.address, virtual.port, what, f"services.{service}.expose"
    if config.preview_port:
        yield "", config.preview_port, "is the router's preview_port", "router.preview_port"
