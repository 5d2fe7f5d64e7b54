"""One cutover on all hosts: arm, move, look, confirm.

Owns the transaction around whatever moves in two phases. Every host is armed once everything is staged;
services move in the order they depend on each other; new routes come when everybody has moved; a host
is told that it stands only when every look at every host was good. It must not know what comes after.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.observed import ACTIVE
from orchestrator.planning.rollout import pictures, two_phase
from orchestrator.planning.rollout.order import Join, sinks
from orchestrator.planning.rollout.parts import Parts
from orchestrator.planning.rollout.pictures import Pictures
from orchestrator.planning.rollout.traffic import Traffic
from orchestrator.planning.types import Change, Step, StepKind, UpdatePolicy
from orchestrator.protocol.routing import Arm

MARGIN = 60.0
"""Seconds that a host waits for its confirm beyond all that is planned to happen until then."""


def cutover(
    parts: Parts,
    traffic: Traffic,
    routers: Sequence[Pictures],
    services: Mapping[str, Sequence[Change]],
    staged: Sequence[Step],
) -> tuple[Step, ...]:
    """Return the steps of the cutover; none when no traffic moves.

    Args:
        parts: The plan.
        traffic: Who gets it.
        routers: The pictures of every router that changes.
        services: Those that move in two phases, dependencies first, with all their changes.
        staged: Everything that has to have ended well before.
    """
    hosts = {host for name, changes in services.items() for host in two_phase.moves(traffic, name, changes)}
    hosts |= {made.change.host for made in routers if made.cut_over is not None}
    if not hosts:
        return ()
    name = f"{parts.plan.release}-{parts.plan.epoch + 1}"
    arms = tuple(_arms(parts, services, name, sorted(hosts), Join(sinks(staged), len(hosts))))
    armed = [step.id for step in arms]
    moved = list(_moves(parts, traffic, services, armed))
    shifts = [step for step in moved if step.kind is StepKind.SHIFT]
    last = Join([step.id for step in shifts if step.id in _ends(shifts, moved)] or armed, len(routers))
    routes: dict[str, Step] = {}
    for made in routers:
        if made.cut_over is not None:
            [step] = pictures.cut_over(parts, made, last)
            routes[step.host] = step
    gates = {before for step in shifts for before in step.after}
    moved = [
        replace(step, after=(*step.after, routes[step.host].id))
        if step.kind is not StepKind.SHIFT and step.id not in gates and step.host in routes
        else step
        for step in moved
    ]
    looked = Join(sinks([*moved, *routes.values()]), len(arms))
    confirms = []
    for step in arms:
        confirm = parts.name(f"confirm {step.host}")
        confirms.append(Step(confirm, StepKind.CONFIRM, step.host, looked.after(confirm), name=name))
    return (*arms, *moved, *routes.values(), *confirms)


def _ends(shifts: Sequence[Step], moved: Sequence[Step]) -> frozenset[str]:
    """Return the ids of the shifts after which no other follows, directly or through a look."""
    follows = {step.id: step for step in moved}
    inner: set[str] = set()
    for step in shifts:
        for before in step.after:
            inner.add(before)
            if before in follows:
                inner.update(follows[before].after)
    return frozenset(step.id for step in shifts if step.id not in inner)


def _arms(
    parts: Parts,
    services: Mapping[str, Sequence[Change]],
    name: str,
    hosts: Sequence[str],
    staged: Join,
) -> Iterator[Step]:
    policies = [parts.policy(service, routed=True) for service in services]
    seconds = MARGIN + sum(_longest(policy) for policy in policies)
    for host in hosts:
        old = sorted(
            change.current.container.id
            for changes in services.values()
            for change in changes
            if change.host == host and change.current and change.current.container.state in ACTIVE
        )
        step = parts.name(f"arm {host}")
        arm = Arm(name, seconds, tuple(old))
        yield Step(step, StepKind.ARM, host, staged.after(step), name=name, routing=arm)


def _longest(policy: UpdatePolicy) -> float:
    checks = sum(check.timeout for check in policy.checks)
    return policy.bake + checks + sum(step.bake + checks for step in policy.canary)


def _moves(
    parts: Parts, traffic: Traffic, services: Mapping[str, Sequence[Change]], armed: Sequence[str]
) -> Iterator[Step]:
    needs = dict(parts.order)
    ends: dict[str, tuple[str, ...]] = {}
    for service, _ in parts.order:
        # A dependency that does not move stands for those it depends on itself.
        waits = tuple(dict.fromkeys(step for needed in needs[service] for step in ends.get(needed, ())))
        ends[service] = waits
        if service in services:
            changes = services[service]
            made = tuple(
                two_phase.cutover(parts, traffic, service, changes, Join(waits or armed, len(changes)))
            )
            yield from made
            shifts = [step for step in made if step.kind is StepKind.SHIFT]
            gone = _ends(shifts, made)
            ends[service] = tuple(step.id for step in shifts if step.id in gone) or waits
