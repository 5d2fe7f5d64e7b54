"""What hosts hold, and what every way out of a hold has in common.

Owns the lookups and the plan's frame. It must not know how a hold ends: that is :mod:`.hold`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from orchestrator.errors import RequestError
from orchestrator.planning.observed import Index, release_number
from orchestrator.planning.routing.changes import newest
from orchestrator.planning.routing.serving import armed, serving
from orchestrator.planning.types import (
    Change,
    Desired,
    DesiredInstance,
    JobPhase,
    Plan,
    Reason,
    RouterChange,
    Step,
    Strategy,
    UpdatePolicy,
)
from orchestrator.protocol.messages import Held


@dataclass(frozen=True)
class Settlement:
    """How a hold ends: what to show, and what to carry out."""

    plan: Plan
    steps: tuple[Step, ...]


def held(index: Index) -> dict[str, Held]:
    """Return what each host holds. A release that has been recorded anywhere is not held any more."""
    recorded = {(record.id, record.created_at) for record in index.records}
    return {
        host: report.held
        for host, report in sorted(index.up.items())
        if report.held is not None and (report.held.record.id, report.held.record.created_at) not in recorded
    }


def releases(index: Index) -> tuple[str, ...]:
    """Return the ids of the releases that are held, newest first; there is seldom more than one."""
    ids = {item.record.id for item in held(index).values()}
    return tuple(sorted(ids, key=release_number, reverse=True))


def refuse(index: Index, what: str = "apply") -> None:
    """Return when no release is held.

    Args:
        index: The fleet as it is.
        what: What is asked for: ``apply``, which may replace what is held when it is told so, or another.

    Raises:
        RequestError: One is, and the plan would pull the ground from under it.
    """
    if found := releases(index):
        ways = f"deploy promote {found[0]}, deploy abort {found[0]}"
        raise RequestError(
            f"cannot {what}: release {found[0]} is held and waits for its promote or abort",
            hint=f"{ways}, or deploy apply --replace-held" if what == "apply" else ways,
        )


def chosen(index: Index, project: str, release: str | None, verb: str) -> dict[str, Held]:
    """Return, by host, the held release that is meant.

    Args:
        index: The fleet as it is.
        project: Its name.
        release: The release's id; ``None`` when only one is held.
        verb: What is to be done with it, for messages.

    Raises:
        RequestError: None is held, not that one, or several and none was named.
    """
    found = held(index)
    known = releases(index)
    if not known:
        raise RequestError(
            f"cannot {verb}: no release of {project} is held", hint="deploy apply --hold makes one"
        )
    if release is None and len(known) > 1:
        raise RequestError(
            f"cannot {verb}: {' and '.join(known)} are held", hint=f"say which: deploy {verb} {known[0]}"
        )
    name = release or known[0]
    if name not in known:
        raise RequestError(f"cannot {verb} {name}: it is not held", hint=f"held: {', '.join(known)}")
    return {host: item for host, item in found.items() if item.record.id == name}


def router_change(index: Index, host: str, item: Held) -> RouterChange:
    """Return the way from the picture in force on a host to that of the release it holds."""
    record = newest(index.up[host])
    reasons = (Reason("promoted", f"the routes of {item.record.id}"),)
    return RouterChange(host, item.record.router, record.router if record is not None else None, reasons)


def policies(item: Held) -> tuple[tuple[str, UpdatePolicy], ...]:
    """Return how the services of a held release are cut over to: all at once, as each was to be."""
    drain, keep_old = dict(item.drain), dict(item.keep_old)
    found = ((name, UpdatePolicy(Strategy.BLUE_GREEN, bake=bake)) for name, bake in sorted(item.bake))
    return tuple(
        (
            name,
            replace(
                policy, drain=drain.get(name, policy.drain), keep_old=keep_old.get(name, policy.keep_old)
            ),
        )
        for name, policy in found
    )


def jobs(item: Held) -> tuple[tuple[str, JobPhase, DesiredInstance], ...]:
    """Return what runs once a held release stands; their images are where they run."""
    return tuple(
        (
            job.service,
            JobPhase.AFTER_CONFIRM,
            DesiredInstance(job.service, job.slot, job.host, job.config, image=""),
        )
        for job in item.jobs
    )


def plan_of(project: str, index: Index, found: Mapping[str, Held], reason: str) -> Plan:
    """Return a plan on the hosts of a held release that changes nothing yet."""
    record = next(iter(found.values())).record
    return Plan(
        project=project,
        release=record.id,
        reason=reason,
        desired=Desired(project, record.spec_digest, (), (), (), ()),
        changes=(),
        epoch=index.epoch,
        states=tuple((host, index.up[host].state) for host in found),
        previous=index.current,
        serving=serving(index, tuple(found)),
        armed=armed(index, tuple(found)),
    )


def place(change: Change) -> tuple[str, int, str, str]:
    """Return the place of a change within a plan."""
    container = change.current.container.id if change.current else ""
    return (change.service, change.slot, change.host, container)
