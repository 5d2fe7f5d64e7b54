"""A release that is held: it runs without traffic and waits to be promoted or aborted.

Owns the two ways out of a hold, both planned from what the hosts remember: any machine can take them.
Promote cuts over to the very instances that were tested and starts none; abort takes them out and keeps
them, stopped. It must not know the spec, nor how steps are carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from orchestrator.errors import HostUnreachable, RequestError
from orchestrator.planning.held import (
    Settlement,
    chosen,
    held,
    jobs,
    place,
    plan_of,
    policies,
    refuse,
    releases,
    router_change,
)
from orchestrator.planning.observed import ACTIVE, Index, by_host, release_number
from orchestrator.planning.rollout import rollout
from orchestrator.planning.rollout.holding import refuse_what_cannot_be_held
from orchestrator.planning.rollout.order import Names
from orchestrator.planning.rollout.pictures import pictures
from orchestrator.planning.types import (
    Action,
    Change,
    Desired,
    DesiredInstance,
    Observed,
    Reason,
    RouterChange,
    Running,
    Step,
    StepKind,
)
from orchestrator.protocol.messages import Held, ReleasedInstance, ReleaseRecord

__all__ = ["Settlement", "abort", "held", "promote", "refuse", "refuse_what_cannot_be_held", "releases"]

_TESTED = (Reason("unchanged", "the instance that was tested"),)


def promote(project: str, observed: Observed, release: str | None = None) -> Settlement:
    """Return the cutover to a held release.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        release: Its id; ``None`` when only one is held.

    Raises:
        RequestError: No such release is held, hosts disagree about it, or an instance of it is not what
            was tested any more.
        HostUnreachable: A host is down that has a part in it.
    """
    index = Index(observed)
    found = chosen(index, project, release, "promote")
    record = _agreed(index, found)
    wanted = by_host(record)
    tested = {
        (item.service, item.slot, host): _tested(index, record, host, item)
        for host in found
        for item in wanted.get(host, ())
    }
    changes = [_keep(host, running, record) for (_, _, host), running in tested.items()]
    kept = {running.container.id for running in tested.values()}
    changes += _retired(index, found, kept)
    routers = tuple(_promoted(index, host, item) for host, item in found.items() if item.record.router)
    routers = tuple(change for change in routers if change.desired != change.current)
    first = next(iter(found.values()))
    plan = replace(
        plan_of(project, index, found, f"promote {record.id}"),
        desired=Desired(
            project=project,
            spec_digest=record.spec_digest,
            instances=tuple(change.desired for change in changes if change.desired is not None),
            artifacts=(),
            depends_on=record.depends_on or tuple((name, ()) for name, _ in record.services),
            keep_releases=record.services,
            updates=policies(first),
            jobs=jobs(first),
            endpoints=record.endpoints,
        ),
        changes=tuple(sorted(changes, key=place)),
        participants=tuple(found),
        routers=routers,
        routed=tuple(
            (host, service)
            for host, item in found.items()
            for service in sorted(
                {b.service for b in item.record.router.backends} if item.record.router else ()
            )
        ),
        unholds=tuple(found),
    )
    return Settlement(plan, rollout(plan, {host: item.record for host, item in found.items()}))


def abort(project: str, observed: Observed, release: str | None = None) -> Settlement:
    """Return the way back from a held release: on every host that is there, as far as each remembers it.

    The instances that were held are stopped and stay for inspection until the next apply or prune.

    Args:
        project: Name of the project.
        observed: What the hosts said.
        release: Its id; ``None`` when only one is held.

    Raises:
        RequestError: No such release is held.
    """
    index = Index(observed)
    found = chosen(index, project, release, "abort")
    changes: list[Change] = []
    steps: list[Step] = []
    names = Names()
    reasons = (Reason("aborted", "its release is given up"),)
    for host, item in found.items():
        greens = tuple(_greens(index, host, item.record.id))
        changes += [
            Change(
                Action.REMOVE, running.container.service, running.container.slot, host, reasons, None, running
            )
            for running in greens
        ]
        steps += _abort_on(names, host, item, greens, index)
    plan = replace(
        plan_of(project, index, found, f"abort {', '.join(sorted({h.record.id for h in found.values()}))}"),
        changes=tuple(sorted(changes, key=place)),
        skipped=tuple(sorted((host, error) for host, error in index.down.items())),
        unholds=tuple(found),
    )
    return Settlement(plan, tuple(steps))


def _agreed(index: Index, found: Mapping[str, Held]) -> ReleaseRecord:
    """Return the record that all hosts with a part in it hold.

    Raises:
        RequestError: They differ.
        HostUnreachable: One of them is down.
    """
    first_host, first = next(iter(found.items()))
    shared = _shared(first)
    for host, item in found.items():
        if _shared(item) != shared:
            raise RequestError(
                f"cannot promote {first.record.id}: {first_host} and {host} hold different ones",
                hint=f"deploy abort {first.record.id}, then apply again",
            )
    wanted = by_host(first.record)
    hosts = {*wanted, *(item.host for item in first.retires)} - found.keys()
    for host in sorted(hosts):
        if host in index.down:
            raise HostUnreachable(
                host,
                f"{index.down[host].removeprefix(f'{host}: ')}, and it has a part in {first.record.id}",
                hint="bring it back, or abort the release",
            )
        if set(wanted.get(host, ())) != set(index.holdings.get(host, ())):
            raise RequestError(
                f"cannot promote {first.record.id}: {host} does not hold it",
                hint=f"deploy abort {first.record.id}, then apply again",
            )
    return first.record


def _shared(item: Held) -> tuple[object, ...]:
    return (replace(item, record=replace(item.record, configs=(), router=None), since=0.0),)


def _tested(index: Index, record: ReleaseRecord, host: str, item: ReleasedInstance) -> Running:
    """Return the container that ``item`` of a held release is.

    Raises:
        RequestError: It is not there, or not well.
    """
    name = f"{item.service}[{item.slot}] on {host}"
    here = [
        running
        for running in index.slots.get((item.service, item.slot), ())
        if running.host == host and running.container.digest == item.digest
    ]
    up = [running for running in here if running.container.state == "running"]
    if not up:
        why = f"it is {here[0].container.state}" if here else "it is gone"
    else:
        best = max(up, key=lambda running: release_number(running.container.release))
        if best.container.health == "unhealthy":
            why = (
                f"it is unhealthy: {best.container.health_detail}"
                if best.container.health_detail
                else "it is unhealthy"
            )
        elif not best.container.intact or best.container.config is None:
            why = "it was changed since it was started"
        else:
            return best
    raise RequestError(
        f"cannot promote {record.id}: {name} is not what was tested: {why}",
        hint=f"deploy abort {record.id}, then apply again",
    )


def _keep(host: str, running: Running, record: ReleaseRecord) -> Change:
    container = running.container
    config = container.config
    assert config is not None  # noqa: S101 - seen to when it was chosen
    names = {image: name for name, image in record.images}
    desired = DesiredInstance(
        container.service,
        container.slot,
        host,
        config,
        names.get(config.image, config.image.removeprefix("sha256:")[:12]),
        stop_first=False,
    )
    return Change(Action.KEEP, container.service, container.slot, host, _TESTED, desired, running)


def _retired(index: Index, found: Mapping[str, Held], kept: Iterable[str]) -> Iterator[Change]:
    """Yield what goes out of service on the hosts of a held release."""
    kept = frozenset(kept)
    release = next(iter(found.values())).record.id
    goes = {item for part in found.values() for item in part.retires}
    for slot, running_here in sorted(index.slots.items()):
        for running in running_here:
            container = running.container
            line = ReleasedInstance(running.host, *slot, container.digest)
            left = release_number(container.release) > release_number(
                index.current.id if index.current else ""
            )
            if (
                running.host in found
                and container.id not in kept
                and container.state in ACTIVE
                and (line in goes or left)
            ):
                reason = Reason("replaced", f"replaced by {release}")
                yield Change(Action.REMOVE, *slot, running.host, (reason,), current=running)


def _promoted(index: Index, host: str, item: Held) -> RouterChange:
    """Return the way from the picture that is served while the release is held."""
    change = router_change(index, host, item)
    return replace(change, current=pictures(change).staged or change.current)


def _greens(index: Index, host: str, release: str) -> Iterator[Running]:
    for _, running_here in sorted(index.slots.items()):
        for running in running_here:
            container = running.container
            if running.host == host and container.release == release and container.state in ACTIVE:
                yield running


def _abort_on(names: Names, host: str, item: Held, greens: Iterable[Running], index: Index) -> Iterator[Step]:
    """Yield the steps of one host: out of the router, down, the old picture, forgotten last."""
    served = {backend.service for backend in item.record.router.backends} if item.record.router else set()
    detached: list[str] = []
    ends: list[str] = []
    for running in greens:
        container = running.container
        name = f"{container.service}[{container.slot}]"
        before: tuple[str, ...] = ()
        if container.service in served:
            detach = names.unique(f"detach {host} {name}", container.id)
            yield Step(
                detach,
                StepKind.DETACH,
                host,
                service=container.service,
                slot=container.slot,
                release=container.release,
            )
            detached.append(detach)
            before = (detach,)
        stop = names.unique(f"stop {host} {name}", container.id)
        yield Step(
            stop,
            StepKind.STOP,
            host,
            before,
            service=container.service,
            slot=container.slot,
            container=container.id,
        )
        ends.append(stop)
    if item.record.router is not None:
        made = pictures(router_change(index, host, item))
        if made.staged is not None:
            router = names.unique(f"router {host}")
            current = made.change.current
            yield Step(router, StepKind.ROUTER, host, tuple(detached), routing=current, back=made.staged)
            ends.append(router)
    yield Step(names.unique(f"unhold {host}"), StepKind.UNHOLD, host, tuple(ends), name=item.record.id)
