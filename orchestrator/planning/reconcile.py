"""Desired x observed -> plan: what happens to every slot, and why.

Owns the assembly of a plan from the decisions about slots (:mod:`.slots`), hosts (:mod:`.reach`),
routers (:mod:`.routing`) and old releases (:mod:`.retention`). Pure; equal inputs give an equal plan
whatever their order. It must not know how anything is carried out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from orchestrator.planning.clashes import clashes
from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import Index, by_host, release_number
from orchestrator.planning.reach import Reach, reach
from orchestrator.planning.retention import Retention, retention
from orchestrator.planning.routing.changes import newest, pictures_in_force, router_changes
from orchestrator.planning.routing.limited import limited
from orchestrator.planning.routing.policies import at_home, starts
from orchestrator.planning.routing.serving import armed, serving, unserved
from orchestrator.planning.slots import Rules, decide
from orchestrator.planning.types import (
    Action,
    Artifact,
    Change,
    Desired,
    Observed,
    Plan,
    Reason,
    RouterChange,
)
from orchestrator.protocol.messages import ReleasedInstance, ReleaseRecord


@dataclass(frozen=True)
class Purpose:
    """What a plan is made for."""

    text: str = "apply"
    """What the release record will say."""
    why: Reason | None = None
    """Stands beside, or for, the reason of every change; ``None`` when the spec is the reason."""
    resume: bool = False
    """Whether stopped containers of the right configuration are started again."""


APPLY = Purpose()
_ORDER = {action: number for number, action in enumerate(Action)}


def reconcile(
    desired: Desired,
    observed: Observed,
    *,
    limit: Limit = EVERYTHING,
    purpose: Purpose = APPLY,
    now: float = 0.0,
) -> Plan:
    """Return the plan that brings the fleet from ``observed`` to ``desired``.

    Args:
        desired: What should run.
        observed: What the hosts said.
        limit: The hosts and services that may change; nothing outside is touched.
        purpose: What it is made for.
        now: Seconds since the epoch: what was kept warm for long enough goes.

    Raises:
        HostUnreachable: A host is down that holds or gets something that would change.
    """
    index = Index(observed)
    scope = reach(desired, index, limit)
    changes = _changes(desired, index, scope, purpose, now)
    if limit.services is not None:
        desired = _limited(desired, index, limit)
    pictures = dict(desired.routers)
    routers = router_changes(pictures, index, scope.hosts)
    astray = unserved(pictures, index, changes, scope.carried, scope.hosts)
    essential = bool(routers or astray) or any(change.action is not Action.KEEP for change in changes)
    after = _after(changes, scope)
    stale = _unrecorded(desired, index, scope, after)
    participants = _participants(desired, changes, after, scope, stale) if essential or stale else ()
    goes = retention(
        index,
        changes,
        slots=scope.slots,
        hosts=scope.hosts,
        keep=dict(desired.keep_releases),
        participants=participants,
        forget_on=scope.hosts if limit.services is None else (),
        router_images={host: picture.image for host, picture in desired.routers},
    )
    return _plan(
        desired,
        index,
        scope,
        (*changes, *goes.discards),
        goes,
        routers=routers,
        astray=astray,
        purpose=purpose,
        participants=participants,
        unrecorded=() if essential else stale,
    )


def _changes(
    desired: Desired, index: Index, scope: Reach, purpose: Purpose, now: float
) -> tuple[Change, ...]:
    """Return the changes of all planned slots, unsorted."""
    released = index.current
    recorded = {(item.service, item.slot): item for item in released.instances} if released else {}
    services = {service for service, _ in desired.depends_on}
    number = release_number(released.id) if released else 0
    absent = Rules(number, purpose.why or Reason("not-in-spec", "not in the spec any more"))
    surplus = Rules(number, purpose.why or Reason("removed", "fewer instances are wanted"))
    if purpose.resume:
        absent, surplus = (replace(rules, rollback=purpose.why) for rules in (absent, surplus))
    warm = _warm(desired, index, now)
    absent, surplus = (replace(rules, warm=warm) for rules in (absent, surplus))
    changes: list[Change] = []
    for slot in scope.slots:
        rules = surplus if slot[0] in services else absent
        found = [item for item in index.slots.get(slot, ()) if item.host in scope.hosts]
        changes += decide(slot, scope.wanted.get(slot), found, recorded.get(slot), rules)
    held = clashes(changes)
    return tuple(
        replace(change, action=Action.REPLACE_STOP_FIRST)
        if change.action is Action.REPLACE and change.current and change.current.container.id in held
        else change
        for change in changes
    )


def _warm(desired: Desired, index: Index, now: float) -> frozenset[tuple[str, str, int, str]]:
    """Return the (host, service, slot, digest) of old releases that may go on running without traffic.

    Their time begins with the release that took their place.
    """
    keeps = {service: policy.keep_old for service, policy in desired.updates if policy.keep_old > 0}
    until: dict[tuple[str, str, int, str], float] = {}
    for replaced_by, record in itertools.pairwise(index.records if keeps else ()):
        for item in record.instances:
            if item.service in keeps:
                key = (item.host, item.service, item.slot, item.digest)
                until.setdefault(key, replaced_by.created_at + keeps[item.service])
    return frozenset(key for key, over in until.items() if now < over)


def _limited(desired: Desired, index: Index, limit: Limit) -> Desired:
    """Return ``desired`` with what is served now for services that may not change."""
    routers = limited(dict(desired.routers), pictures_in_force(index), limit.service)
    others = index.current.endpoints if index.current is not None else ()
    endpoints = {(item.service, item.port): item for item in desired.endpoints}
    endpoints |= {(item.service, item.port): item for item in others if not limit.service(item.service)}
    kept = tuple(endpoints[key] for key in sorted(endpoints))
    return replace(desired, routers=tuple(routers.items()), endpoints=kept)


def _after(changes: Sequence[Change], scope: Reach) -> dict[str, set[ReleasedInstance]]:
    """Return what each host holds once the plan is carried out."""
    after: dict[str, set[ReleasedInstance]] = {}
    for change in changes:
        if change.desired is not None:
            instance = ReleasedInstance(change.host, *change.desired.key, change.desired.config.digest)
            after.setdefault(change.host, set()).add(instance)
    for item in scope.carried:
        after.setdefault(item.instance.host, set()).add(item.instance)
    return after


def _unrecorded(
    desired: Desired, index: Index, scope: Reach, after: dict[str, set[ReleasedInstance]]
) -> tuple[str, ...]:
    """Return the hosts whose own newest record does not say what they will hold and serve."""
    pictures = {host: picture.digest for host, picture in desired.routers}
    # Records of one release share their instances between hosts: each is split up by host once.
    splits: dict[int, dict[str, tuple[ReleasedInstance, ...]]] = {}

    def recorded(host: str, record: ReleaseRecord | None) -> set[ReleasedInstance]:
        if record is None:
            return set()
        split = splits.setdefault(id(record.instances), {}) or by_host(record)
        splits[id(record.instances)] = split
        return set(split.get(host, ()))

    def served(record: ReleaseRecord | None) -> str | None:
        return record.router.digest if record is not None and record.router is not None else None

    newests = {host: newest(index.up[host]) for host in sorted(scope.hosts)}
    return tuple(
        host
        for host, record in newests.items()
        if recorded(host, record) != after.get(host, set()) or served(record) != pictures.get(host)
    )


def _participants(
    desired: Desired,
    changes: Sequence[Change],
    after: dict[str, set[ReleasedInstance]],
    scope: Reach,
    stale: Sequence[str],
) -> tuple[str, ...]:
    hosts = {change.host for change in changes if change.action is not Action.KEEP}
    hosts.update(stale)
    hosts.update(host for host in after if host in scope.hosts)
    hosts.update(host for host, _ in desired.routers if host in scope.hosts)
    return tuple(sorted(hosts))


def _ships(
    index: Index, changes: Sequence[Change], routers: Sequence[RouterChange]
) -> Iterator[tuple[str, str]]:
    """Yield (host, image id) for each image that a host lacks to start something."""
    present = {host: {image.id for image in report.images} for host, report in index.up.items()}
    for router in routers:
        if router.desired is not None and router.desired.image not in present[router.host]:
            yield (router.host, router.desired.image)
    for change in changes:
        if change.desired is not None and change.action is not Action.KEEP and change.resumes is None:
            image = change.desired.config.image
            if image not in present[change.host]:
                yield (change.host, image)


def _builds(
    desired: Desired, changes: Sequence[Change], routers: Sequence[RouterChange]
) -> Iterator[Artifact]:
    """Yield what has no id yet and is started: an image that only others stand on may never be needed."""
    started = {change.desired.image for change in changes if change.desired is not None}
    run = {router.desired.image for router in routers if router.desired is not None}
    for artifact in desired.artifacts:
        if not artifact.id and (artifact.name in started or artifact.identity in run):
            yield artifact


def _routed(desired: Desired, scope: Reach) -> Iterator[tuple[str, str]]:
    """Yield (host, service) for each service that a router sends traffic to, sorted."""
    for host, picture in desired.routers:
        if host in scope.hosts:
            yield from ((host, name) for name in sorted({backend.service for backend in picture.backends}))


def _held(desired: Desired, changes: Sequence[Change]) -> bool:
    """Return whether something starts that the spec wants to be held."""
    hold = {name for name, policy in desired.updates if policy.hold}
    return any(starts(change) and change.service in hold for change in changes)


def _plan(
    desired: Desired,
    index: Index,
    scope: Reach,
    changes: Sequence[Change],
    goes: Retention,
    *,
    routers: tuple[RouterChange, ...],
    astray: tuple[tuple[str, str], ...],
    purpose: Purpose,
    participants: tuple[str, ...],
    unrecorded: tuple[str, ...],
) -> Plan:
    ordered = tuple(sorted(changes, key=sort_key))
    return Plan(
        project=desired.project,
        release=f"r{index.last_number + 1}",
        reason=purpose.text,
        desired=replace(desired, jobs=at_home(desired.jobs, ordered)),
        changes=ordered,
        builds=tuple(_builds(desired, changes, routers)),
        epoch=index.epoch,
        states=tuple(sorted((host, index.up[host].state) for host in scope.hosts)),
        skipped=scope.skipped,
        forgets=goes.forgets,
        ships=tuple(sorted(set(_ships(index, changes, routers)))),
        images=goes.images,
        participants=participants,
        unrecorded=unrecorded,
        carried=scope.carried,
        previous=index.current,
        routers=routers,
        routed=tuple(_routed(desired, scope)),
        hold=_held(desired, changes),
        serving=serving(index, scope.hosts),
        unserved=astray,
        armed=armed(index, scope.hosts),
    )


def sort_key(change: Change) -> tuple[str, int, str, int, str]:
    """Return the place of a change within a plan."""
    container = change.current.container.id if change.current else ""
    return (change.service, change.slot, change.host, _ORDER[change.action], container)
