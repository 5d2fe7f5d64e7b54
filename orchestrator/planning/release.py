"""Plan -> the record of the release it makes, one for each host that takes part.

Owns the contents of a release record. It must not know when it is written; the time is an argument.
"""

from __future__ import annotations

from collections import defaultdict

from orchestrator.planning.types import Action, Plan
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import ReleasedInstance, ReleaseRecord
from orchestrator.protocol.routing import RouterConfig


def records(plan: Plan, *, created_at: float, author: str) -> dict[str, ReleaseRecord]:
    """Return the record for each of ``plan.participants``: all equal but for ``configs`` and ``router``.

    What the plan does not look at (``--limit``, a host that is down and unchanged) is carried over from
    the release in force, so that a record always tells of the whole fleet.

    Args:
        plan: What is being carried out.
        created_at: Seconds since the epoch, of the controller.
        author: ``user@machine``.
    """
    instances: list[ReleasedInstance] = []
    configs: defaultdict[str, dict[str, InstanceConfig]] = defaultdict(dict)
    stop_first: set[str] = set()
    for change in plan.changes:
        if change.desired is None or change.action is Action.DISCARD:
            continue
        config = change.desired.config
        instances.append(ReleasedInstance(change.host, *change.desired.key, config.digest))
        configs[change.host][config.digest] = config
        if change.desired.stop_first:
            stop_first.add(change.service)
    fresh = {instance.service for instance in instances}
    for carried in plan.carried:
        instances.append(carried.instance)
        if carried.config is not None:
            configs[carried.instance.host][carried.instance.digest] = carried.config
    services = {instance.service for instance in instances}
    old = plan.previous
    if old is not None:
        stop_first |= set(old.stop_first) & (services - fresh)
    images = dict(old.images if old else ()) if plan.carried else {}
    images |= {artifact.name: artifact.id for artifact in plan.desired.artifacts if artifact.id}
    keep = {**dict(old.services if old else ()), **dict(plan.desired.keep_releases)}
    depends_on = {**dict(old.depends_on if old else ()), **dict(plan.desired.depends_on)}
    record = ReleaseRecord(
        id=plan.release,
        created_at=created_at,
        author=author,
        spec_digest=plan.desired.spec_digest,
        reason=plan.reason,
        parent=old.id if old else "",
        instances=tuple(sorted(instances, key=lambda item: (item.service, item.slot, item.host))),
        images=tuple(sorted(images.items())),
        services=tuple((name, keep[name]) for name in sorted(services) if name in keep),
        depends_on=tuple((name, depends_on[name]) for name in sorted(services) if name in depends_on),
        stop_first=tuple(sorted(stop_first)),
        endpoints=plan.desired.endpoints,
        routers=_routers(plan),
    )
    pictures = dict(plan.desired.routers)
    # Built field by field: what is shared by all hosts must be one object, not a copy for each.
    return {host: _for_host(record, configs[host], pictures.get(host)) for host in plan.participants}


def _routers(plan: Plan) -> tuple[tuple[str, str], ...]:
    """Return what every router serves: a host that takes no part goes on with what it has."""
    before = dict(plan.previous.routers if plan.previous else ())
    taking_part = set(plan.participants)
    wanted = {host: picture.digest for host, picture in plan.desired.routers if host in taking_part}
    left = {host: digest for host, digest in before.items() if host not in taking_part}
    return tuple(sorted({**left, **wanted}.items()))


def _for_host(
    record: ReleaseRecord, configs: dict[str, InstanceConfig], router: RouterConfig | None
) -> ReleaseRecord:
    own = tuple(configs[digest] for digest in sorted(configs))
    return ReleaseRecord(**{**vars(record), "configs": own, "router": router})
