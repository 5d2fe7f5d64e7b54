"""What the hosts reported, checked and indexed.

Owns the distrust of reports (a host may be broken or hostile, and must not bring down the others) and
the lookups that planning needs, all built in one pass. It must not know what should run.
"""

from __future__ import annotations

import graphlib
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from orchestrator.errors import HostError, ProtocolViolation
from orchestrator.planning.types import Observed, ObservedHost, Running
from orchestrator.protocol.messages import ContainerReport, HostReport, ReleasedInstance, ReleaseRecord

ACTIVE = frozenset({"running", "paused", "restarting"})
"""States in which a container holds its ports and may serve."""
STATES = ACTIVE | {"created", "exited", "dead", "removing"}
HEALTHS = frozenset({"healthy", "unhealthy", "none", "unknown"})
MAX_EPOCH = 2**53
"""Beyond it a JSON number may lose its last digit."""
MAX_SLOT = 100_000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_HEX = re.compile(r"([0-9a-f]{2}){16,128}")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_CONTAINER = re.compile(r"[0-9A-Za-z_.-]{1,128}")
_RELEASE = re.compile(r"r([1-9][0-9]{0,8})")


def release_number(release: str) -> int:
    """Return 7 for ``r7``, and 0 for anything that is no release id."""
    match = _RELEASE.fullmatch(release)
    return int(match[1]) if match else 0


def observed(results: Mapping[str, HostReport | HostError], project: str) -> Observed:
    """Return the fleet from what each host answered, or the error it failed with.

    A report that breaks the rules counts as an error of its host alone.
    """
    known = _Known()
    hosts = []
    for name in sorted(results):
        result = results[name]
        if isinstance(result, HostReport):
            try:
                hosts.append(ObservedHost(name, check(result, name, project, known)))
            except ProtocolViolation as violation:
                hosts.append(_failed(name, violation))
        else:
            hosts.append(_failed(name, result))
    return Observed(tuple(hosts))


def check(report: HostReport, host: str, project: str, known: _Known | None = None) -> HostReport:
    """Return ``report`` as far as it can be trusted.

    A container whose configuration does not hash to its digest loses the configuration and counts as
    drifted: it is replaced, and its reasons say that much. One whose labels are not ours (somebody set
    the project's label by hand) is left out: it is not ours to change.

    Raises:
        ProtocolViolation: It holds something that no agent says.
    """
    if not 0 <= report.epoch < MAX_EPOCH:
        raise _violation(host, f"an epoch of {report.epoch}")
    if not _HEX.fullmatch(report.key):
        raise _violation(host, "a key that is not hexadecimal")
    for container in report.containers:
        _check_container(container, host)
    if len({container.id for container in report.containers}) != len(report.containers):
        raise _violation(host, "a container twice")
    for image in report.images:
        _require(_IMAGE, image.id, "image id", host)
        if image.build:
            _require(_HEX64, image.build, "build digest", host)
    for volume in report.volumes:
        _require(_NAME, volume.name, "volume", host)
    known = known or _Known()
    releases = sorted(
        (known.share(record, host) for record in report.releases),
        key=lambda record: release_number(record.id),
    )
    if len({record.id for record in releases}) != len(releases):
        raise _violation(host, "a release twice")
    containers = tuple(_trusted(item, project) for item in report.containers if _is_ours(item))
    return replace(report, containers=containers, releases=tuple(releases))


def _check_container(container: ContainerReport, host: str) -> None:
    _require(_CONTAINER, container.id, "container id", host)
    if container.state not in STATES or container.health not in HEALTHS:
        raise _violation(host, f"state {container.state[:80]!r}, health {container.health[:80]!r}")


def _is_ours(container: ContainerReport) -> bool:
    return bool(
        _NAME.fullmatch(container.service)
        and _HEX64.fullmatch(container.digest)
        and 1 <= container.slot <= MAX_SLOT
        and release_number(container.release)
    )


def _check_record(record: ReleaseRecord, host: str) -> None:
    if not release_number(record.id) or (record.parent and not release_number(record.parent)):
        raise _violation(host, f"{record.id[:80]!r} as a release")
    if not math.isfinite(record.created_at):
        raise _violation(host, f"a release made at {record.created_at}")
    for item in record.instances:
        _require(_HOST, item.host, "host", host)
        _require(_NAME, item.service, "service", host)
        _require(_HEX64, item.digest, "config digest", host)
        if not 1 <= item.slot <= MAX_SLOT:
            raise _violation(host, f"slot {item.slot}")
    if len({(item.service, item.slot) for item in record.instances}) != len(record.instances):
        raise _violation(host, f"one slot twice in {record.id}")
    if any(not 0 <= keep <= MAX_SLOT for _, keep in record.services):
        raise _violation(host, f"a number of releases to keep in {record.id}")
    try:
        graphlib.TopologicalSorter(dict(record.depends_on)).prepare()
    except graphlib.CycleError:
        raise _violation(host, f"services that depend on each other in {record.id}") from None


def _trusted(container: ContainerReport, project: str) -> ContainerReport:
    config = container.config
    if config is None or (
        config.digest == container.digest
        and config.project == project
        and config.service == container.service
    ):
        return container
    return replace(container, config=None, intact=False)


class _Known:
    """Records seen so far. All hosts keep the same ones: each is checked once, and its memory shared."""

    def __init__(self) -> None:
        self._records: defaultdict[tuple[str, float], list[ReleaseRecord]] = defaultdict(list)

    def share(self, record: ReleaseRecord, host: str) -> ReleaseRecord:
        twins = self._records[record.id, record.created_at]
        for twin in twins:
            shared = replace(twin, configs=record.configs, router=record.router)
            if shared == record:
                return shared
        _check_record(record, host)
        twins.append(record)
        return record


def _failed(name: str, error: HostError) -> ObservedHost:
    return ObservedHost(name, error=error.message, hint=error.hint or "", context=error.context)


def _require(pattern: re.Pattern[str], value: str, what: str, host: str) -> None:
    if not pattern.fullmatch(value):
        raise _violation(host, f"{value[:80]!r} as a {what}")


def _violation(host: str, what: str) -> ProtocolViolation:
    return ProtocolViolation(host, f"the agent reported {what}", hint="look at what runs on that host")


# --- index ---------------------------------------------------------------------------------------

Slot = tuple[str, int]
"""(service, slot)."""


@dataclass(frozen=True)
class Index:
    """Lookups over an :class:`Observed`, built in one pass each and only when asked for."""

    observed: Observed

    @cached_property
    def up(self) -> Mapping[str, HostReport]:
        """Reports by host."""
        return {host.name: host.report for host in self.observed.hosts if host.report is not None}

    @cached_property
    def down(self) -> Mapping[str, str]:
        """Errors by host."""
        return {host.name: host.error for host in self.observed.hosts if host.report is None}

    @cached_property
    def slots(self) -> Mapping[Slot, tuple[Running, ...]]:
        """All containers by slot, sorted by host and container id."""
        found: defaultdict[Slot, list[Running]] = defaultdict(list)
        for host, report in self.up.items():
            for container in sorted(report.containers, key=lambda container: container.id):
                found[container.service, container.slot].append(Running(host, container))
        return {slot: tuple(containers) for slot, containers in found.items()}

    @cached_property
    def records(self) -> tuple[ReleaseRecord, ...]:
        """One record of each release, newest first; what it says of one host is of whichever it came from.

        A host that took no part in a release, or was cut off while it was recorded, lags behind; so the
        highest id anywhere is the release in force. Two records of one id (made while a host was away)
        differ in time: the later one counts.
        """
        newest: dict[str, ReleaseRecord] = {}
        for report in self.up.values():
            for record in report.releases:
                known = newest.get(record.id)
                if known is None or record.created_at > known.created_at:
                    newest[record.id] = record
        return tuple(sorted(newest.values(), key=lambda record: -release_number(record.id)))

    @cached_property
    def services(self) -> frozenset[str]:
        """Services that anything is known of."""
        recorded = {item.service for record in self.records for item in record.instances}
        return frozenset(recorded | {service for service, _ in self.slots})

    @property
    def current(self) -> ReleaseRecord | None:
        """The release in force, or ``None`` before the first."""
        return self.records[0] if self.records else None

    @cached_property
    def holdings(self) -> Mapping[str, tuple[ReleasedInstance, ...]]:
        """What each host holds as the release in force says: all there is to know of one that is down."""
        return by_host(self.current)

    @cached_property
    def last_number(self) -> int:
        """The highest release number that anything carries: a cut-off run may have used it."""
        numbers = [release_number(record.id) for record in self.records[:1]]
        numbers += [
            release_number(container.release)
            for report in self.up.values()
            for container in report.containers
        ]
        return max(numbers, default=0)

    @property
    def epoch(self) -> int:
        """The highest epoch that any host has seen."""
        return max((report.epoch for report in self.up.values()), default=0)


def by_host(record: ReleaseRecord | None) -> dict[str, tuple[ReleasedInstance, ...]]:
    """Return a record's instances by host."""
    found: defaultdict[str, list[ReleasedInstance]] = defaultdict(list)
    for instance in record.instances if record else ():
        found[instance.host].append(instance)
    return {host: tuple(instances) for host, instances in found.items()}


def placement(index: Index) -> dict[Slot, str]:
    """Return where each slot is now: where the release in force has it, else where it runs.

    The record counts first, since it also knows the hosts that are down. Where only containers are
    left (an apply was cut off before its record), the newest one counts.
    """
    found: dict[Slot, str] = {}
    for slot, containers in index.slots.items():
        active = [item for item in containers if item.container.state in ACTIVE]
        if active:
            newest = max(active, key=lambda item: (release_number(item.container.release), item.host))
            found[slot] = newest.host
    for instance in index.current.instances if index.current else ():
        found[instance.service, instance.slot] = instance.host
    return found


def builds(observed: Observed) -> dict[str, str]:
    """Return the image id of each build that the hosts agree on.

    Two builders may make two ids of equal inputs, and an image built elsewhere on top of ours inherits its
    label: where hosts know several, the one that the release in force was made from is meant.
    """
    index = Index(observed)
    claimed: defaultdict[str, set[str]] = defaultdict(set)
    for report in index.up.values():
        for image in report.images:
            if image.build:
                claimed[image.build].add(image.id)
    in_force = {image for _, image in index.current.images} if index.current else set()
    chosen = {build: ids if len(ids) == 1 else ids & in_force for build, ids in claimed.items()}
    return {build: next(iter(ids)) for build, ids in chosen.items() if len(ids) == 1}
