"""The plan that takes everything away.

Owns which things of a project there are. Volumes go only when it is told so; nothing else in planning
names one. It must not know the spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from orchestrator.errors import RequestError
from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import ACTIVE, Index
from orchestrator.planning.reach import reach
from orchestrator.planning.reconcile import Purpose, reconcile, sort_key
from orchestrator.planning.routing.changes import pictures_in_force, router_changes
from orchestrator.planning.routing.serving import armed, serving
from orchestrator.planning.types import Action, Change, Desired, Observed, Plan, Reason

_DESTROY = (Reason("destroy", "everything goes"),)


def destroy(project: str, observed: Observed, *, volumes: bool = False, limit: Limit = EVERYTHING) -> Plan:
    """Return the plan that stops and deletes everything of a project, and its releases.

    With a limit it is a release without what is destroyed: the rest goes on.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        volumes: Whether the volumes go as well, with all data in them.
        limit: The hosts and services to destroy.

    Raises:
        HostUnreachable: A host is down that holds something.
        RequestError: ``volumes`` of some services only: a volume belongs to none of them.
    """
    index = Index(observed)
    if volumes and limit.services is not None:
        raise RequestError(
            "cannot destroy the volumes of some services only: services share them",
            hint="limit it to hosts, or remove single volumes by hand",
        )
    chosen = {host: report for host, report in sorted(index.up.items()) if limit.host(host)}
    gone = tuple(
        (host, volume.name)
        for host, report in chosen.items()
        for volume in sorted(report.volumes, key=lambda volume: volume.name)
        if volumes
    )
    if limit != EVERYTHING:
        return replace(_part(project, index, limit), volumes=gone)
    scope = reach(_nothing(project), index, EVERYTHING)
    return Plan(
        project=project,
        release=index.current.id if index.current else "",
        reason="destroy",
        desired=_nothing(project),
        changes=tuple(sorted(_everything(index), key=sort_key)),
        epoch=index.epoch,
        states=tuple((host, report.state) for host, report in chosen.items()),
        skipped=scope.skipped,
        forgets=tuple((host, record.id) for host, report in chosen.items() for record in report.releases),
        images=tuple(_images(index)),
        volumes=gone,
        previous=index.current,
        routers=router_changes({}, index, chosen),
        serving=serving(index, chosen),
        armed=armed(index, chosen),
    )


def _part(project: str, index: Index, limit: Limit) -> Plan:
    services = sorted({service for service, _ in index.slots if limit.service(service)})
    # The routers of what stays go on: one that is left without instances answers 503 by itself.
    stay = pictures_in_force(index) if limit.services is not None else {}
    desired = replace(
        _nothing(project),
        keep_releases=tuple((service, 0) for service in services),
        routers=tuple(sorted(stay.items())),
        endpoints=index.current.endpoints if index.current else (),
    )
    return reconcile(desired, index.observed, limit=limit, purpose=Purpose("destroy", *_DESTROY))


def _nothing(project: str) -> Desired:
    return Desired(project, "", (), (), (), ())


def _everything(index: Index) -> Iterator[Change]:
    for slot, found in index.slots.items():
        for item in found:
            if item.container.state in ACTIVE:
                yield Change(Action.REMOVE, *slot, item.host, _DESTROY, current=item)
            yield Change(Action.DISCARD, *slot, item.host, _DESTROY, current=item)


def _images(index: Index) -> Iterator[tuple[str, str]]:
    """Yield the images this project has used: those of others on the same host stay."""
    for host in sorted(index.up):
        report = index.up[host]
        used = {container.image for container in report.containers}
        used |= {config.image for record in report.releases for config in record.configs}
        used |= {record.router.image for record in report.releases if record.router is not None}
        yield from ((host, image) for image in sorted(used & {image.id for image in report.images}))
