"""``update:`` of every service, with defaults applied and shares resolved; and the jobs of a release.

Owns the arithmetic of shares and the configuration a job runs with. It must not know what runs, or
how a strategy is carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.types import (
    Action,
    CanaryStep,
    Change,
    CheckPolicy,
    DesiredInstance,
    JobPhase,
    Strategy,
    UpdatePolicy,
)
from orchestrator.protocol.instance import Healthcheck
from orchestrator.spec.model import Project, Service
from orchestrator.spec.routing_rules import stop_first, strategy
from orchestrator.spec.updates import Check


def policies(project: Project, counts: Mapping[str, int]) -> tuple[tuple[str, UpdatePolicy], ...]:
    """Return how each service is replaced, sorted by name.

    Args:
        project: The spec.
        counts: Service -> how many instances it has on the whole fleet; what shares are shares of.
    """
    return tuple((name, policy(project, name, counts.get(name, 0))) for name in sorted(project.services))


def policy(project: Project, name: str, count: int) -> UpdatePolicy:
    """Return how one service with ``count`` instances is replaced."""
    service = project.services[name]
    update = service.update
    chosen = Strategy(strategy(project, name))
    unavailable = resolve(update.max_unavailable, count)
    if chosen is Strategy.RECREATE or (chosen is Strategy.ROLLING and stop_first(service)):
        unavailable = max(unavailable, 1)  # what stops before it starts is away for a moment
    return UpdatePolicy(
        strategy=chosen,
        max_parallel=max(resolve(update.max_parallel, count), 1),
        max_unavailable=unavailable,
        canary=tuple(CanaryStep(step.weight, step.bake) for step in update.canary)
        if chosen is Strategy.CANARY
        else (),
        min_healthy=update.min_healthy,
        start_deadline=update.start_deadline or 0.0,
        progress_deadline=update.progress_deadline,
        bake=update.bake,
        drain=update.drain,
        keep_old=update.keep_old,
        on_failure=update.on_failure,
        hold=update.hold,
        checks=tuple(_check(check, service) for check in update.checks),
    )


def resolve(share: str, count: int) -> int:
    """Return a share of ``count`` instances, rounded down, or a plain number of them as it is."""
    return count * int(share[:-1]) // 100 if share.endswith("%") else int(share)


def jobs(
    project: Project, instances: Sequence[DesiredInstance]
) -> tuple[tuple[str, JobPhase, DesiredInstance], ...]:
    """Return what runs once per release, by service, in the order it is to run.

    A job runs with everything the service's first instance has (image, environment, configs, secrets,
    volumes), on its host; without its ports and without a health check, whose ``deadline`` is the job's
    longest run. Its slot is the job's number within the service, from 1. A service without instances
    has no jobs.

    Args:
        project: The spec.
        instances: Everything that should run, sorted by (service, slot).
    """
    first: dict[str, DesiredInstance] = {}
    for instance in instances:
        first.setdefault(instance.service, instance)
    return tuple(
        (name, phase, job)
        for name in sorted(first)
        if name in project.services
        for phase, job in _jobs(project.services[name], first[name])
    )


def at_home(
    wanted: Iterable[tuple[str, JobPhase, DesiredInstance]], changes: Iterable[Change]
) -> tuple[tuple[str, JobPhase, DesiredInstance], ...]:
    """Return the jobs of services that get a new instance, each where the first of those is.

    That host has the image, answers, and is not outside ``--limit``.

    Args:
        wanted: From :func:`jobs`.
        changes: Those of the plan, sorted by (service, slot).
    """
    home: dict[str, DesiredInstance] = {}
    for change in changes:
        if starts(change) and change.desired is not None:
            home.setdefault(change.service, change.desired)
    return tuple(
        (service, phase, _as_job(home[service], job.slot, job.config.command, job.config.healthcheck))
        for service, phase, job in wanted
        if service in home
    )


def starts(change: Change) -> bool:
    """Return whether a change brings an instance up."""
    return change.desired is not None and change.action is not Action.KEEP


def _jobs(service: Service, model: DesiredInstance) -> Iterator[tuple[JobPhase, DesiredInstance]]:
    wanted = [
        *((JobPhase.BEFORE_CUTOVER, job) for job in service.update.jobs.before_cutover),
        *((JobPhase.AFTER_CONFIRM, job) for job in service.update.jobs.after_confirm),
    ]
    for number, (phase, job) in enumerate(wanted, 1):
        yield phase, _as_job(model, number, job.command, Healthcheck(deadline=job.timeout))


def _as_job(
    model: DesiredInstance, number: int, command: tuple[str, ...] | None, check: Healthcheck
) -> DesiredInstance:
    config = replace(model.config, command=command, ports=(), healthcheck=check)
    return replace(model, slot=number, config=config, stop_first=False)


def _check(check: Check, service: Service) -> CheckPolicy:
    return CheckPolicy(
        command=check.command or (),
        http=check.http or "",
        port=(check.port or service.healthcheck.port or 0) if check.http else 0,
        timeout=check.timeout,
    )
