"""A rollout that stops before the cutover.

Owns what can be held, and what hosts remember of it. How a hold ends is :mod:`orchestrator.planning.hold`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.errors import RequestError
from orchestrator.planning.observed import ACTIVE
from orchestrator.planning.rollout.order import sinks
from orchestrator.planning.rollout.parts import Parts, stops_first
from orchestrator.planning.types import Action, Change, JobPhase, Plan, Step, StepKind, Strategy
from orchestrator.protocol.messages import Held, HeldJob, ReleasedInstance, ReleaseRecord


def refuse_what_cannot_be_held(plan: Plan) -> None:
    """Return when everything that starts can run beside what it replaces.

    Raises:
        RequestError: Something has to stop first, or is replaced a batch at a time.
    """
    policies = dict(plan.desired.updates)
    routed = {service for _, service in plan.routed}
    for change in plan.changes:
        policy = policies.get(change.service)
        if stops_first(change):
            why = "its old instance has to stop before the new one can start"
        elif (
            change.action in _REPLACES
            and change.service in routed
            and policy is not None
            and policy.strategy in _IN_BATCHES
        ):
            why = f"{change.service} is replaced by strategy {policy.strategy.value}"
        else:
            continue
        raise RequestError(
            f"cannot hold {plan.release}: {change.name} on {change.host} cannot run beside what runs: {why}",
            hint="apply that service first (--limit), or apply without hold",
        )


_REPLACES = frozenset({Action.REPLACE, Action.RESUME})
_IN_BATCHES = frozenset({Strategy.ROLLING, Strategy.RECREATE})


def holds(
    parts: Parts,
    essential: Sequence[Step],
    records: Mapping[str, ReleaseRecord],
    retired: Sequence[Change],
) -> Iterator[Step]:
    """Yield the steps that remember a release which waits for promote or abort, in place of its end."""
    plan = parts.plan
    retires = tuple(
        ReleasedInstance(change.host, change.service, change.slot, change.current.container.digest)
        for change in retired
        if change.current is not None
    )
    services = sorted({change.service for change in plan.changes if change.action is not Action.KEEP})
    policies = [(service, parts.policy(service, routed=True)) for service in services]
    late = [job for _, phase, job in plan.desired.jobs if phase is JobPhase.AFTER_CONFIRM]
    waits = sinks(essential)
    yield from _replaced(parts, waits)
    for host in plan.participants:
        held = Held(
            records[host],
            records[host].created_at,
            retires,
            bake=tuple((service, policy.bake) for service, policy in policies),
            drain=tuple((service, policy.drain) for service, policy in policies),
            keep_old=tuple((service, policy.keep_old) for service, policy in policies),
            jobs=tuple(HeldJob(job.service, job.slot, job.host, job.config) for job in late),
        )
        yield Step(parts.name(f"hold {host}"), StepKind.HOLD, host, waits, name=plan.release, held=held)
    for host in plan.unholds:
        if host not in plan.participants:
            yield Step(parts.name(f"unhold {host}"), StepKind.UNHOLD, host, waits, essential=False)


def _replaced(parts: Parts, after: tuple[str, ...]) -> Iterator[Step]:
    """Yield the end of what runs for nobody, such as a release held earlier: a preview must not reach it."""
    for change in parts.plan.changes:
        running = change.current
        if change.action is not Action.DISCARD or running is None or running.container.state not in ACTIVE:
            continue
        label = f"{change.host} {change.name} {running.container.id[:12]}"
        detach = Step(
            parts.name(f"detach {label}"),
            StepKind.DETACH,
            change.host,
            after,
            service=change.service,
            slot=change.slot,
            release=running.container.release,
            essential=False,
        )
        yield detach
        yield Step(
            parts.name(f"remove {label}"),
            StepKind.REMOVE,
            change.host,
            (detach.id,),
            service=change.service,
            slot=change.slot,
            container=running.container.id,
            essential=False,
        )
