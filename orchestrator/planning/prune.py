"""The plan that deletes what serves nothing and is not kept.

Owns nothing but the question asked of :mod:`.retention`. It must not know the spec.
"""

from __future__ import annotations

from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import Index
from orchestrator.planning.reconcile import sort_key
from orchestrator.planning.retention import retention
from orchestrator.planning.types import Desired, Observed, Plan


def prune(project: str, observed: Observed, *, keep: int | None = None, limit: Limit = EVERYTHING) -> Plan:
    """Return the plan that deletes old releases and leftovers, on the hosts that answer.

    The release in force stays, and so does everything that runs.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        keep: Old releases to keep of every service; ``None`` is what each service says.
        limit: The hosts and services to prune.
    """
    index = Index(observed)
    hosts = sorted(host for host in index.up if limit.host(host))
    slots = [slot for slot in index.slots if limit.service(slot[0])]
    goes = retention(
        index,
        (),
        slots=slots,
        hosts=frozenset(hosts),
        keep={} if keep is None else dict.fromkeys(index.services, keep),
        participants=(),
        forget_on=hosts if limit.services is None else (),
        router_images={
            host: report.routing.image for host, report in index.up.items() if report.routing is not None
        },
    )
    return Plan(
        project=project,
        release=index.current.id if index.current else "",
        reason="prune",
        desired=Desired(project, "", (), (), (), ()),
        changes=tuple(sorted(goes.discards, key=sort_key)),
        epoch=index.epoch,
        states=tuple((host, index.up[host].state) for host in hosts),
        skipped=tuple(sorted(item for item in index.down.items() if limit.host(item[0]))),
        forgets=goes.forgets,
        images=goes.images,
        previous=index.current,
    )
