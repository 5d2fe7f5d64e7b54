"""Plans that only take away: prune what is no longer needed, destroy everything.

Owns these two. Volumes go with nothing but a destroy that says so. It must not know the spec.
"""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.planning.limit import EVERYTHING
from orchestrator.planning.observed import ACTIVE, Index
from orchestrator.planning.reach import reach
from orchestrator.planning.reconcile import sort_key
from orchestrator.planning.retention import retention
from orchestrator.planning.types import Action, Change, Desired, Observed, Plan, Reason

_DESTROY = (Reason("destroy", "everything goes"),)


def prune_plan(project: str, observed: Observed, *, keep: int | None = None) -> Plan:
    """Return the plan that deletes what serves nothing, on the hosts that answer.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        keep: Old releases to keep of every service; ``None`` is what each service says.
    """
    index = Index(observed)
    services = {service for service, _ in index.slots}
    goes = retention(
        index,
        (),
        slots=index.slots,
        keep={} if keep is None else dict.fromkeys(services, keep),
        participants=(),
        forget_on=index.up,
    )
    return Plan(
        project=project,
        release=index.current.id if index.current else "",
        reason="prune",
        desired=_nothing(project),
        changes=tuple(sorted(goes.discards, key=sort_key)),
        epoch=index.epoch,
        states=_states(index),
        skipped=tuple(sorted(index.down.items())),
        forgets=goes.forgets,
        images=goes.images,
        previous=index.current,
    )


def destroy_plan(project: str, observed: Observed, *, volumes: bool = False) -> Plan:
    """Return the plan that stops and deletes everything of a project, and its releases.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        volumes: Whether the volumes go as well, with all data in them.

    Raises:
        HostUnreachable: A host is down that holds something.
    """
    index = Index(observed)
    scope = reach(_nothing(project), index, EVERYTHING)
    return Plan(
        project=project,
        release=index.current.id if index.current else "",
        reason="destroy",
        desired=_nothing(project),
        changes=tuple(sorted(_everything(index), key=sort_key)),
        epoch=index.epoch,
        states=_states(index),
        skipped=scope.skipped,
        forgets=tuple((host, record.id) for host in sorted(index.up) for record in index.up[host].releases),
        images=tuple(_images(index)),
        volumes=tuple(
            (host, volume.name)
            for host in sorted(index.up)
            for volume in sorted(index.up[host].volumes, key=lambda volume: volume.name)
            if volumes
        ),
        previous=index.current,
    )


def _nothing(project: str) -> Desired:
    return Desired(project, "", (), (), (), ())


def _states(index: Index) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((host, report.state) for host, report in index.up.items()))


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
        yield from ((host, image) for image in sorted(used & {image.id for image in report.images}))
