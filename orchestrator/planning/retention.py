"""What stays of old releases, and what is deleted after an apply.

Owns the rule: of each service the stopped containers of its newest ``keep_releases`` old releases stay,
as long as they could be resumed; everything else that serves nothing goes, then the records and the
images nothing kept needs. It must not know why containers stopped, and never names a volume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.planning.observed import ACTIVE, Index, Slot, release_number
from orchestrator.planning.types import Action, Change, Reason, Running
from orchestrator.protocol.messages import ReleaseRecord

_DEFAULT_KEEP = 3
"""For a service that no record knows the number of."""

_Key = tuple[str, str, int, str]
"""(host, service, slot, digest)."""


@dataclass(frozen=True)
class Retention:
    """What an apply deletes after it has succeeded."""

    discards: tuple[Change, ...] = ()
    forgets: tuple[tuple[str, str], ...] = ()
    """(host, release id), sorted."""
    images: tuple[tuple[str, str], ...] = ()
    """(host, image id), sorted."""


def retention(
    index: Index,
    changes: Sequence[Change],
    *,
    slots: Collection[Slot],
    hosts: Collection[str],
    keep: Mapping[str, int],
    participants: Collection[str],
    forget_on: Collection[str],
    router_images: Mapping[str, str],
) -> Retention:
    """Return what goes.

    Args:
        index: The fleet as it is.
        changes: What is planned.
        slots: Slots that are planned; containers of others are left alone.
        hosts: Hosts that may change; so are containers elsewhere.
        keep: Service -> old releases to keep; services not named keep what their last release said.
        participants: Hosts that get a new record; none means the release in force stays in force.
        forget_on: Hosts whose old records may go.
        router_images: Host -> image its router runs afterwards.
    """
    olds = index.records if participants else index.records[1:]
    keeps = _keeps(index.records, keep)
    kept = _kept(olds, keeps)
    discards = tuple(_discards(index, changes, slots, hosts, kept))
    valid = {record.id for rank, record in enumerate(olds) if rank < _longest(record, keeps)}
    if not participants and index.current is not None:
        valid.add(index.current.id)
    forgets = tuple(
        (host, record.id)
        for host in sorted(forget_on)
        for rank, record in enumerate(reversed(index.up[host].releases))
        if record.id not in valid and (rank or host in participants)
    )
    images = _images(index, changes, discards, forgets, router_images)
    return Retention(discards, tuple(sorted(forgets)), tuple(images))


def _keeps(records: Sequence[ReleaseRecord], keep: Mapping[str, int]) -> dict[str, int]:
    keeps = dict(keep)
    for record in records:
        for service, number in record.services:
            keeps.setdefault(service, number)
    return keeps


def _longest(record: ReleaseRecord, keeps: Mapping[str, int]) -> int:
    services = {instance.service for instance in record.instances}
    return max((keeps.get(service, _DEFAULT_KEEP) for service in services), default=0)


def _kept(olds: Sequence[ReleaseRecord], keeps: Mapping[str, int]) -> set[_Key]:
    return {
        (item.host, item.service, item.slot, item.digest)
        for rank, record in enumerate(olds)
        for item in record.instances
        if rank < keeps.get(item.service, _DEFAULT_KEEP)
    }


def _discards(
    index: Index,
    changes: Sequence[Change],
    slots: Collection[Slot],
    hosts: Collection[str],
    kept: set[_Key],
) -> Iterator[Change]:
    serving: set[_Key] = set()
    in_use: set[str] = set()
    stopping: set[str] = set()
    for change in changes:
        if change.desired is not None:
            serving.add((change.host, change.service, change.slot, change.desired.config.digest))
        if change.resumes is not None:
            in_use.add(change.resumes.container.id)
        if change.current is not None:
            (in_use if change.action is Action.KEEP else stopping).add(change.current.container.id)
    released = release_number(index.current.id) if index.current else 0
    taken = set(serving)
    for slot in sorted(slots):
        for item in sorted(index.slots.get(slot, ()), key=_newest_first):
            container = item.container
            idle = container.state not in ACTIVE or container.id in stopping
            if container.id in in_use or not idle or item.host not in hosts:
                continue
            key = (item.host, *slot, container.digest)
            usable = container.intact and (container.state == "exited" or container.state in ACTIVE)
            if usable and key in kept and key not in taken:
                taken.add(key)
                continue
            yield Change(Action.DISCARD, *slot, item.host, (_why(item, released),), current=item)


def _newest_first(item: Running) -> tuple[str, int, str]:
    return (item.host, -release_number(item.container.release), item.container.id)


def _why(item: Running, released: int) -> Reason:
    release = item.container.release
    if release_number(release) > released:
        return Reason("leftover", f"left by {release}, which was never completed")
    return Reason("expired", f"container of {release} is no longer needed")


def _images(
    index: Index,
    changes: Sequence[Change],
    discards: Collection[Change],
    forgets: Iterable[tuple[str, str]],
    router_images: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """Yield (host, image id) for each image of ours that only what goes has used, sorted."""
    deleted = {item.current.container.id for item in discards if item.current is not None}
    forgotten = set(forgets)
    wanted: dict[str, set[str]] = {host: {image} for host, image in router_images.items()}
    for change in changes:
        if change.desired is not None:
            wanted.setdefault(change.host, set()).add(change.desired.config.image)
    for host in sorted({item.host for item in discards} | {host for host, _ in forgotten}):
        report = index.up[host]
        gone: set[str] = set()
        needed = wanted.get(host, set())
        for container in report.containers:
            (gone if container.id in deleted else needed).add(container.image)
        for record in report.releases:
            images = gone if (host, record.id) in forgotten else needed
            images.update(config.image for config in record.configs)
            if record.router is not None:
                images.add(record.router.image)
        present = {image.id for image in report.images}
        yield from ((host, image) for image in sorted((gone & present) - needed))
