"""Is an operation on traffic complete and safe to act on? The check of what comes from outside.

Owns the refusals. Pictures are checked by :mod:`.picture`, when they are used.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

from orchestrator.agent import containers
from orchestrator.agent.containers import Identity
from orchestrator.agent.handler import Refusal
from orchestrator.agent.paths import BadNameError, check_digest, check_name, check_release
from orchestrator.agent.router.table import FULL
from orchestrator.protocol.messages import Held, Operation
from orchestrator.protocol.routing import Arm, Check, Member, Watch

LONGEST = 86_400.0
"""Seconds: a day; nobody waits longer."""


def check(operation: Operation, project: str) -> None:
    """Return when an operation makes sense.

    Raises:
        BadNameError: A name in it must not be used.
        Refusal: ``bad-request``: something is missing, or contradicts itself.
    """
    kind = operation.kind
    if not 0 <= operation.seconds <= LONGEST:
        raise Refusal("bad-request", f"operation {operation.id}: {operation.seconds} seconds is out of range")
    if kind in ("attach", "detach", "drain"):
        Identity(project, operation.service, operation.slot, operation.release).check()
    elif kind == "shift":
        shift = given(operation.shift, operation)
        _check_members(shift.service, shift.members, project)
    elif kind == "watch":
        _check_watch(given(operation.watch, operation), operation, project)
    elif kind == "check":
        _check_test(given(operation.check, operation), operation, project)
    elif kind in ("arm", "disarm"):
        _check_arm(given(operation.arm, operation))
    elif kind == "hold":
        _check_held(given(operation.held, operation), project)
    elif kind == "job":
        Identity(project, operation.service, operation.slot, operation.release).check()
        check_name(operation.name, "job")
        containers.check_config(given(operation.config, operation), project)


def given(value: Optional[Any], operation: Operation) -> Any:
    """Return what an operation of this kind is about; raises ``Refusal`` when it was left out."""
    if value is None:
        raise Refusal("bad-request", f"operation {operation.id}: a {operation.kind} without what it is about")
    return value


def _check_members(service: str, members: Tuple[Member, ...], project: str) -> None:
    check_name(service, "service")
    for member in members:
        Identity(project, service, member.slot, member.release).check()
        if not 0 <= member.weight <= FULL:
            raise BadNameError(f"cannot give {service}[{member.slot}] the weight {member.weight}")
    if len({(member.slot, member.release) for member in members}) != len(members):
        raise BadNameError(f"a member of {service!r} is named twice")


def _check_arm(arm: Arm) -> None:
    release, _, epoch = arm.cutover.rpartition("-")
    check_release(release)
    if not epoch.isdecimal():
        raise BadNameError(f"cannot use {arm.cutover[:80]!r} as a cutover")
    for container in arm.containers:
        check_digest(container, "container id")


def _check_held(held: Held, project: str) -> None:
    check_release(held.record.id)
    if any(config.project != project for config in held.record.configs):
        raise Refusal("bad-request", "a held release with a configuration of another project")


def _check_watch(watch: Watch, operation: Operation, project: str) -> None:
    _check_members(watch.service, watch.members, project)
    if not 0 <= watch.seconds <= LONGEST:
        raise Refusal("bad-request", f"operation {operation.id}: cannot watch for {watch.seconds} seconds")


def _check_test(test: Check, operation: Operation, project: str) -> None:
    Identity(project, test.service, test.slot, test.release).check()
    if bool(test.command) == bool(test.http):
        raise Refusal("bad-request", f"operation {operation.id}: a check is a command or a path")
    if not 0 < test.timeout <= LONGEST:
        raise Refusal("bad-request", f"operation {operation.id}: cannot wait for {test.timeout} seconds")
