"""Who gets the traffic now, as the routers report it, and where that is not who should.

Owns the reading of :class:`RoutingReport`. It must not know what routers should look like, or how traffic
is moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from orchestrator.planning.observed import Index
from orchestrator.planning.types import Action, Carried, Change
from orchestrator.protocol.messages import HostReport
from orchestrator.protocol.routing import Assigned, Member, RouterConfig, Shift

_Who = tuple[int, str]
"""(slot, release label) of a container."""


def serving(index: Index, hosts: Collection[str]) -> tuple[tuple[str, Shift], ...]:
    """Return (host, who gets a service's traffic there), sorted by host and service.

    The weight is the one the host's agent has on record: a container that is down for a moment, or a
    router that starts, keeps its place.
    """
    return tuple((host, shift) for host in sorted(hosts) for shift in _shifts(index.up[host]))


def unserved(
    wanted: Mapping[str, RouterConfig],
    index: Index,
    changes: Iterable[Change],
    carried: Iterable[Carried],
    hosts: Collection[str],
) -> tuple[tuple[str, str], ...]:
    """Return (host, service) whose router serves others than the instances kept there, sorted.

    An instance that is replaced or removed may serve: the rollout of that change takes it out. A service
    of which something on the host is outside the plan is left alone.

    Args:
        wanted: Host -> what its router should serve.
        index: The fleet as it is.
        changes: All changes.
        carried: What the plan does not look at.
        hosts: Those that may change; all of them answered.
    """
    kept: defaultdict[tuple[str, str], set[_Who]] = defaultdict(set)
    leaving: defaultdict[tuple[str, str], set[_Who]] = defaultdict(set)
    for change in changes:
        if change.current is not None:
            who = (change.slot, change.current.container.release)
            group = kept if change.action is Action.KEEP else leaving
            group[change.host, change.service].add(who)
    apart = {(item.instance.host, item.instance.service) for item in carried}
    found: list[tuple[str, str]] = []
    for host in sorted(hosts & wanted.keys()):
        now = _by_backend(index.up[host])
        services: defaultdict[str, list[set[_Who]]] = defaultdict(list)
        for backend in wanted[host].backends:
            services[backend.service].append(now.get(backend.name, set()))
        for service, groups in sorted(services.items()):
            place = (host, service)
            stay, go = kept[place], leaving[place]
            if place not in apart and any(stay - group or group - stay - go for group in groups):
                found.append(place)
    return tuple(found)


def armed(index: Index, hosts: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Return (host, cutover) of the guards that an earlier run left waiting for a confirm, sorted."""
    found: list[tuple[str, str]] = []
    for host in sorted(hosts):
        routing = index.up[host].routing
        if routing is not None and routing.guard is not None and routing.guard.state == "armed":
            found.append((host, routing.guard.cutover))
    return tuple(found)


def _shifts(report: HostReport) -> Iterable[Shift]:
    weights: defaultdict[str, dict[_Who, int]] = defaultdict(dict)
    for server in report.routing.servers if report.routing is not None else ():
        if _local(server) and server.recorded_weight > 0:
            who, here = (server.slot, server.release), weights[server.service]
            here[who] = max(here.get(who, 0), server.recorded_weight)
    for service in sorted(weights):
        members = (Member(*who, weight) for who, weight in sorted(weights[service].items()))
        yield Shift(service, tuple(members))


def _by_backend(report: HostReport) -> dict[str, set[_Who]]:
    found: defaultdict[str, set[_Who]] = defaultdict(set)
    for server in report.routing.servers if report.routing is not None else ():
        if _local(server) and server.recorded_weight > 0:
            found[server.backend].add((server.slot, server.release))
    return found


def _local(server: Assigned) -> bool:
    """Return whether a server is a container of this host: another host's instances have no slot here."""
    return bool(server.service) and server.slot > 0
