"""Routed services on the fleet in memory: what should run, what routers should serve, what was promised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from support.fake_fleet import FakeFleet
from support.plans_by_hand import desired, image, plan_for

from orchestrator.planning.types import Desired, Plan, Strategy, UpdatePolicy
from orchestrator.protocol.routing import Backend, Listener, Remote, Route, RouterConfig, Virtual

Instances = Iterable[tuple[str, int, str, str]]
"""(service, slot, host, version)."""


def policy(strategy: str = "blue-green", **fields: object) -> UpdatePolicy:
    """Return a policy; without other words an old instance may be away only where it has to be."""
    chosen = Strategy(strategy)
    unavailable = 1 if chosen is Strategy.RECREATE else 0
    return replace(UpdatePolicy(chosen, max_unavailable=unavailable), **fields)  # type: ignore[arg-type]


def picture(host: str, instances: Instances, routes: Mapping[str, str]) -> RouterConfig:
    """Return what the router of ``host`` should serve: every service of ``instances``, wherever it runs."""
    instances = list(instances)
    backends = []
    for service in sorted({item[0] for item in instances}):
        elsewhere = sorted({where for name, _, where, _ in instances if name == service and where != host})
        remotes = tuple(Remote(where, f"{where}.example", 7001) for where in elsewhere)
        backends.append(Backend(service, 80, remotes=remotes))
    listener = Listener(
        80, routes=tuple(Route(name, f"{service}_80") for name, service in sorted(routes.items()))
    )
    virtuals = tuple(Virtual(f"10.192.0.{n}", b.name, 80) for n, b in enumerate(backends, 1))
    return RouterConfig("shop", image("router"), tuple(backends), (listener,), virtuals=virtuals)


def wanted(
    instances: Instances,
    needs: Iterable[tuple[str, tuple[str, ...]]] = (),
    *,
    routed: Iterable[str] | None = None,
    policies: Mapping[str, UpdatePolicy] | None = None,
    ports: Iterable[str] = (),
    hosts: Iterable[str] = (),
) -> Desired:
    """Return what should run, behind routers on every host that has an instance.

    Args:
        instances: What runs where.
        needs: What depends on what.
        routed: Services that routers serve; all by default.
        policies: How services are replaced.
        ports: Services with a fixed port of the host.
        hosts: Hosts that have a router in any case.
    """
    instances = list(instances)
    made = desired(instances, needs, ports)
    services = {item[0] for item in instances}
    routed = services & set(services if routed is None else routed)
    served = [item for item in instances if item[0] in routed]
    places = sorted({item[2] for item in served} | (set(hosts) if served else set()))
    routes = {service: service for service in routed}
    return replace(
        made,
        updates=tuple(sorted((name, p) for name, p in (policies or {}).items() if name in services)),
        routers=tuple((host, picture(host, served, routes)) for host in places),
    )


def plan(fleet: FakeFleet, what: Desired, **fields: object) -> Plan:
    """Return the real plan from what the fleet is to ``what``."""
    return replace(plan_for(fleet, what), **fields)  # type: ignore[arg-type]


def serving(fleet: FakeFleet, service: str) -> list[tuple[str, int, str]]:
    """Return (host, slot, image) of every running instance of a service that gets traffic, sorted."""
    found = []
    for name, host in fleet.hosts.items():
        for _, slot, release in host.router.serving(service):
            container = host.containers[host.find((service, slot, release)) or ""]
            found.append((name, slot, container.config.image))
    return sorted(found)


def losses(fleet: FakeFleet) -> list[str]:
    """Return everything that would have cost requests."""
    return [loss for host in fleet.hosts.values() for loss in host.router.losses]
