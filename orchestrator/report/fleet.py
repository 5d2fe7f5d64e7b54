"""What `deploy status` and `deploy history` say, before it becomes text.

Owns the joining of what hosts reported with the release in force: which instance is as it should be,
which is missing, what each release changed. Pure; the time is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.planning.types import Observed, ObservedHost
from orchestrator.protocol.messages import ContainerReport, ReleaseRecord
from orchestrator.report.text import clean, parse_moment

STOPPED = frozenset(("created", "exited", "dead"))


@dataclass(frozen=True)
class InstanceStatus:
    """One instance as it is, or as it should be and is not."""

    service: str
    slot: int
    host: str
    release: str
    state: str
    """The engine's word, or ``missing`` (the host lacks it) or ``unknown`` (the host did not answer)."""
    health: str
    restarts: int = 0
    uptime: float | None = None
    """Seconds since it started; ``None`` when it does not run."""
    image: str = ""
    """Image id."""
    exit_code: int = 0
    held: bool = False
    """It is of a release that is held: it runs, and gets no traffic yet."""
    note: str = ""
    """What a person should know: what the health check got, that it was changed, that it is left over."""

    @property
    def good(self) -> bool:
        """True when it runs, is healthy and there is nothing to say about it."""
        return self.state == "running" and self.health == "healthy" and not self.note


@dataclass(frozen=True)
class FleetStatus:
    """Everything `deploy status` shows."""

    release: str
    """The release in force; empty before the first."""
    instances: tuple[InstanceStatus, ...]
    """Sorted by (service, slot, host)."""
    kept: int
    """Stopped instances of other releases: what a rollback starts again, and failed starts."""
    down: tuple[tuple[str, str], ...]
    """(host, why) of hosts that did not answer."""
    leases: tuple[tuple[str, str, str, str, float], ...]
    """(host, owner, reason, release, since) of whoever is changing the project now."""


@dataclass(frozen=True)
class ReleaseChanges:
    """How a release differs from the one before; all zero and ``known`` false when that one is forgotten."""

    created: int = 0
    replaced: int = 0
    removed: int = 0
    known: bool = True


def release_number(release: str) -> int:
    """Return 7 for ``r7``; -1 for what is no release id."""
    found = re.fullmatch(r"r([0-9]{1,15})", release)
    return int(found[1]) if found else -1


def releases(observed: Observed) -> tuple[ReleaseRecord, ...]:
    """Return all releases any host remembers, oldest first, each once."""
    found: dict[str, ReleaseRecord] = {}
    for host in observed.hosts:
        for record in host.report.releases if host.report else ():
            found.setdefault(record.id, record)
    return tuple(sorted(found.values(), key=lambda record: release_number(record.id)))


def fleet_status(observed: Observed, now: float) -> FleetStatus:
    """Join what was observed with the newest release. ``now``: seconds since the epoch."""
    records = releases(observed)
    current = records[-1] if records else None
    wanted = {(i.host, i.service, i.slot): i.digest for i in current.instances} if current else {}
    instances: list[InstanceStatus] = []
    kept = 0
    for host in observed.hosts:
        held = host.report.held if host.report else None
        waiting = {(i.host, i.service, i.slot): i.digest for i in held.record.instances} if held else {}
        for container in host.report.containers if host.report else ():
            key = (host.name, container.service, container.slot)
            in_force = wanted.get(key) == container.digest
            waits = not in_force and waiting.get(key) == container.digest
            if container.state in STOPPED and not (in_force or waits):
                kept += 1
            else:
                known = in_force or waits or not current
                instances.append(_running(host.name, container, now, in_force=known, held=waits))
    instances += _absent(observed, current)
    return FleetStatus(
        release=clean(current.id) if current else "",
        instances=tuple(sorted(instances, key=lambda i: (i.service, i.slot, i.host, i.release))),
        kept=kept,
        down=tuple((clean(host.name), _error(host)) for host in observed.hosts if host.report is None),
        leases=_leases(observed),
    )


def release_changes(record: ReleaseRecord, records: Iterable[ReleaseRecord]) -> ReleaseChanges:
    """Compare ``record`` with its parent among ``records``."""
    before: dict[tuple[str, int], tuple[str, str]] = {}
    if record.parent:
        parent = next((other for other in records if other.id == record.parent), None)
        if parent is None:
            return ReleaseChanges(known=False)
        before = {(i.service, i.slot): (i.host, i.digest) for i in parent.instances}
    after = {(i.service, i.slot): (i.host, i.digest) for i in record.instances}
    return ReleaseChanges(
        created=len(after.keys() - before.keys()),
        replaced=sum(before[key] != after[key] for key in after.keys() & before.keys()),
        removed=len(before.keys() - after.keys()),
    )


def _running(
    host: str, container: ContainerReport, now: float, *, in_force: bool, held: bool
) -> InstanceStatus:
    started = parse_moment(container.started_at) if container.state == "running" else None
    notes: Sequence[str] = (
        "not part of the release in force" if not in_force else "",
        "changed since it was created" if not container.intact else "",
        clean(container.health_detail),
    )
    return InstanceStatus(
        service=clean(container.service),
        slot=container.slot,
        host=clean(host),
        release=clean(container.release),
        state=clean(container.state),
        health=clean(container.health),
        restarts=container.restarts,
        uptime=max(0.0, now - started) if started is not None else None,
        image=clean(container.image),
        exit_code=container.exit_code,
        held=held,
        note="; ".join(note for note in notes if note),
    )


def _absent(observed: Observed, current: ReleaseRecord | None) -> Iterable[InstanceStatus]:
    """Yield what the release in force has and its host does not show; hosts not asked say nothing."""
    there = {
        (host.name, c.service, c.slot, c.digest)
        for host in observed.hosts
        for c in (host.report.containers if host.report else ())
    }
    answered = {host.name: host.report is not None for host in observed.hosts}
    for item in current.instances if current else ():
        if item.host not in answered or (item.host, item.service, item.slot, item.digest) in there:
            continue
        up = answered[item.host]
        yield InstanceStatus(
            service=clean(item.service),
            slot=item.slot,
            host=clean(item.host),
            release=clean(current.id) if current else "",
            state="missing" if up else "unknown",
            health="none" if up else "unknown",
            note="not on its host" if up else "its host did not answer",
        )


def _error(host: ObservedHost) -> str:
    return clean(host.error).removeprefix(f"{clean(host.name)}: ")


def _leases(observed: Observed) -> tuple[tuple[str, str, str, str, float], ...]:
    return tuple(
        (clean(host.name), clean(lease.owner), clean(lease.reason), clean(lease.release), lease.since)
        for host in observed.hosts
        if host.report and (lease := host.report.lease)
    )
