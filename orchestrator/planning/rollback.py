"""The plan that puts an old release back in force.

Owns the desired state that a release record stands for: its own configurations, images, secrets
and routers' pictures, never today's. It must not know the spec.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from orchestrator.errors import HostUnreachable, RequestError
from orchestrator.planning.hold import refuse
from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import Index, by_host
from orchestrator.planning.reach import config_of
from orchestrator.planning.reconcile import Purpose, reconcile
from orchestrator.planning.routing.changes import pictures_in_force
from orchestrator.planning.types import (
    Artifact,
    Desired,
    DesiredInstance,
    Observed,
    Plan,
    Reason,
    Strategy,
    UpdatePolicy,
)
from orchestrator.protocol.messages import ReleaseRecord
from orchestrator.protocol.routing import RouterConfig


def rollback(
    project: str, observed: Observed, release: str | None = None, *, limit: Limit = EVERYTHING
) -> Plan:
    """Return the plan that puts ``release`` back in force on the whole fleet.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        release: Its id; ``None`` is the one before the release in force.
        limit: Services to leave it at. Not hosts: no release is in force on some of them.

    Raises:
        RequestError: There is no such release, another one is held, a host has lost a configuration of it,
            or ``limit`` names hosts.
        HostUnreachable: A host is down that the rollback would change.
    """
    if limit.hosts is not None:
        raise RequestError(
            "cannot roll back some hosts only: a release is in force on the whole fleet",
            hint="limit it to services, or not at all",
        )
    index = Index(observed)
    refuse(index, "roll back")
    target = _target(index, project, release)
    unchanged = _unchanged(index, target, limit)
    plan = reconcile(
        _desired(project, index, target, unchanged, _pictures(index, target, limit)),
        observed,
        limit=replace(limit, hosts=frozenset(index.up)),
        purpose=Purpose(words := f"rollback to {target.id}", Reason("rollback", words), resume=True),
    )
    return replace(plan, skipped=tuple(sorted((*plan.skipped, *unchanged.items()))))


def _target(index: Index, project: str, release: str | None) -> ReleaseRecord:
    if index.current is None:
        raise RequestError(f"cannot roll back {project}: it has no release", hint="deploy apply makes one")
    if release is not None:
        for record in index.records:
            if record.id == release:
                return record
        known = ", ".join(record.id for record in index.records)
        raise RequestError(
            f"cannot roll back to {release}: no host has a record of it", hint=f"there are {known}"
        )
    if len(index.records) < 2:
        raise RequestError(
            f"cannot roll back {project}: {index.current.id} is its only release",
            hint="keep_releases says how many old ones are kept",
        )
    return index.records[1]


def _unchanged(index: Index, target: ReleaseRecord, limit: Limit) -> dict[str, str]:
    """Return the hosts that are down and hold just what ``target`` wants on them, with why they are skipped.

    Raises:
        HostUnreachable: A host is down that ``target`` wants something else of.
    """
    wanted = by_host(target)
    unchanged: dict[str, str] = {}
    for host, error in sorted(index.down.items()):
        told = error.removeprefix(f"{host}: ")
        sides = (wanted.get(host, ()), index.holdings.get(host, ()))
        gets, holds = ({item for item in side if limit.service(item.service)} for side in sides)
        if gets == holds:
            unchanged[host] = f"{told}; nothing would change on it"
        else:
            raise HostUnreachable(
                host,
                f"{told}, and what it holds in {target.id} differs",
                hint="bring it back; a rollback is for the whole fleet",
            )
    return unchanged


def _pictures(index: Index, target: ReleaseRecord, limit: Limit) -> dict[str, RouterConfig]:
    """Return what each host's router served in ``target``, with the certificates of today.

    A certificate is no part of a release: an old one may have expired. With a limit to services the
    routers stay as they are, since they serve the others too.
    """
    now = pictures_in_force(index)
    if limit.services is not None:
        return now
    found: dict[str, RouterConfig] = {}
    for host, report in index.up.items():
        record = next((record for record in report.releases if record.id == target.id), None)
        if record is None or record.router is None:
            continue
        today = {item.name: item for item in now[host].certificates} if host in now else {}
        certificates = tuple(today.get(item.name, item) for item in record.router.certificates)
        found[host] = replace(record.router, certificates=certificates)
    return found


def _desired(
    project: str,
    index: Index,
    target: ReleaseRecord,
    unchanged: dict[str, str],
    routers: dict[str, RouterConfig],
) -> Desired:
    instances = tuple(_instances(index, target, unchanged))
    depends_on = dict(target.depends_on)
    services = sorted({instance.service for instance in target.instances})
    return Desired(
        project=project,
        spec_digest=target.spec_digest,
        instances=instances,
        artifacts=tuple(Artifact(name, id=image) for name, image in sorted(target.images)),
        depends_on=tuple((service, depends_on.get(service, ())) for service in services),
        keep_releases=tuple(sorted(target.services)),
        explanations=tuple((f"{item.service}[{item.slot}]", f"as in {target.id}") for item in instances),
        updates=tuple((service, _AT_ONCE) for service in sorted(_served(routers))),
        routers=tuple(sorted(routers.items())),
        endpoints=target.endpoints,
    )


_AT_ONCE = UpdatePolicy(Strategy.BLUE_GREEN, bake=0.0)
"""How traffic goes back: what it goes back to has served before and need not bake."""


def _served(routers: dict[str, RouterConfig]) -> set[str]:
    return {backend.service for router in routers.values() for backend in router.backends}


def _instances(index: Index, target: ReleaseRecord, unchanged: dict[str, str]) -> Iterator[DesiredInstance]:
    names = {image: name for name, image in target.images}
    stop_first = frozenset(target.stop_first)
    lost: defaultdict[str, list[str]] = defaultdict(list)
    for item in sorted(target.instances, key=lambda item: (item.service, item.slot, item.host)):
        if item.host in unchanged:
            continue
        config = config_of(index, item.host, (item.service, item.slot), item.digest)
        if config is None:
            lost[item.host].append(f"{item.service}[{item.slot}]")
            continue
        yield DesiredInstance(
            service=item.service,
            slot=item.slot,
            host=item.host,
            config=config,
            image=names.get(config.image, config.image.removeprefix("sha256:")[:12]),
            stop_first=item.service in stop_first,
        )
    if lost:
        raise RequestError(
            f"cannot roll back to {target.id}: not every host still has its configuration",
            hint="apply the spec of that time instead",
            context=[f"{host}: {', '.join(slots[:5])}" for host, slots in sorted(lost.items())],
        )
