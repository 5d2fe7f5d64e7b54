"""Taking the project's lease on every participating host, or on none.

Owns the order and the meaning of refusals. The first host by name is asked alone: it arbitrates
between controllers of the same fleet, so two that race cannot each hold half of it. The others follow
in parallel. A lease lives as long as its session, so nothing here has to be undone after a crash. It
must not know what the lease is for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.errors import DeployError, HostError, HostNotReady, LeaseHeld, PlanStale
from orchestrator.execution.gather import Answer, gather
from orchestrator.execution.loop import Interrupt, Loop
from orchestrator.ports import Fleet, RequestFailed
from orchestrator.protocol.messages import Acquire, LeaseInfo, ReleaseLease


@dataclass(frozen=True)
class Claim:
    """Who wants the lease, of what, and for what."""

    project: str
    epoch: int
    """Greater than every epoch the hosts reported."""
    owner: str
    """``user@machine``."""
    reason: str
    release: str
    states: tuple[tuple[str, str], ...] = ()
    """(host, state that was planned from): a host that has changed since refuses."""


def take(
    fleet: Fleet,
    claim: Claim,
    hosts: Iterable[str],
    *,
    loop: Loop,
    interrupt: Interrupt,
    clock: Callable[[], float],
) -> tuple[tuple[str, int], ...]:
    """Take the lease on all ``hosts`` and return (host, epoch), sorted by host.

    A refusal gives back what was taken before it is raised. ``clock`` gives seconds since the epoch.

    Raises:
        LeaseHeld: Somebody else holds it somewhere.
        PlanStale: A host has changed since the plan was made, or has seen a later run.
        HostError: A host could not be asked.
        Aborted: A second Ctrl-C.
    """
    ordered = sorted(set(hosts))
    taken: list[str] = []
    for group in (ordered[:1], ordered[1:]):
        asked = [(host, request(claim, host)) for host in group]
        answers = gather(fleet, loop, interrupt, asked)
        taken += [answer.host for answer in answers if answer.error is None]
        if refused := [answer for answer in answers if answer.error is not None]:
            give_back(fleet, claim, taken, loop=loop, interrupt=interrupt)
            raise _worst(refused, clock())
    return tuple((host, claim.epoch) for host in ordered)


def give_back(fleet: Fleet, claim: Claim, hosts: Sequence[str], *, loop: Loop, interrupt: Interrupt) -> None:
    """Give the lease back while the sessions live on.

    Answers are not looked at: a host that cannot say yes has lost its session, and the lease with it.

    Raises:
        Aborted: A second Ctrl-C.
    """
    gather(fleet, loop, interrupt, [(host, ReleaseLease(claim.project, claim.epoch)) for host in hosts])


def request(claim: Claim, host: str) -> Acquire:
    """Say a claim to one host."""
    state = dict(claim.states).get(host, "")
    return Acquire(claim.project, claim.epoch, claim.owner, claim.reason, claim.release, state)


def _worst(refused: Sequence[Answer], now: float) -> DeployError:
    """Choose the refusal that explains the others: a holder also changes states and epochs."""
    errors = [_explain(answer, now) for answer in refused]
    for kind in (LeaseHeld, PlanStale, DeployError):
        if found := [error for error in errors if isinstance(error, kind)]:
            found[0].context += tuple(error.message for error in errors if error is not found[0])
            return found[0]
    raise AssertionError("every refusal is a DeployError")


def _explain(answer: Answer, now: float) -> DeployError:
    host, error = answer.host, answer.error
    if isinstance(error, HostError):
        return error
    if not isinstance(error, RequestFailed):
        raise TypeError(f"{host}: not a refusal")
    failure = error.failure
    if failure.code == "lease-held":
        return LeaseHeld(_held(host, failure.lease, now), hint=_WAIT)
    if failure.code == "state-changed":
        return PlanStale(f"{host} has changed since the plan was made", hint=_PLAN_AGAIN)
    if failure.code == "stale-epoch":
        return PlanStale(f"another run has changed {host} since the plan was made", hint=_PLAN_AGAIN)
    return HostNotReady(
        host,
        f"cannot take the lease: {failure.message}",
        hint=failure.hint or None,
        context=failure.context,
    )


_PLAN_AGAIN = "plan again, look at the new plan, and apply that"
_WAIT = "wait until that run ends; its lease ends with its session, even when it is killed"


def _held(host: str, lease: LeaseInfo | None, now: float) -> str:
    if lease is None:
        return f"somebody else is changing this project on {host}"
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(lease.since))
    what = f"{lease.reason} ({lease.release})" if lease.release else lease.reason
    return (
        f"{lease.owner} holds the lease on {host} for {what}, taken {_span(now - lease.since)} ago ({since})"
    )


def _span(seconds: float) -> str:
    """Say a span of time in its largest whole unit; a host's clock ahead of ours counts as now."""
    for unit, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            count = int(seconds // unit)
            return f"{count} {name}{'s' if count != 1 else ''}"
    count = max(0, int(seconds))
    return f"{count} second{'s' if count != 1 else ''}"
