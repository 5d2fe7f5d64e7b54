"""After a run that stopped: reaching lost hosts again, and finding out what was left uncertain.

Owns the questions only: is the host there, did a start create a container, was the release recorded,
does the host know that its cutover stands.
A host whose session was lost is asked for a new lease first, under a higher epoch: the old session,
should it still live somewhere, can then change nothing more there. What follows from the answers is
:mod:`.restore`'s and :mod:`.apply`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import HostError
from orchestrator.execution.gather import Answer, gather
from orchestrator.execution.leases import Claim, request
from orchestrator.execution.operations import Terms
from orchestrator.execution.schedule import DECISIONS
from orchestrator.execution.world import CONFIRMED, Execution, World
from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.messages import HostReport, Observe


class Recorded(enum.Enum):
    """In how many of the journals that should have it the release is."""

    EVERYWHERE = "everywhere"
    """It is in force; a plan that records nothing never gets here."""
    SOMEWHERE = "somewhere"
    NOWHERE = "nowhere"
    UNKNOWN = "unknown"
    """In none that can be read, and a host that was asked to record it is lost."""


@dataclass(frozen=True)
class Survey:
    """What is known once the dust has settled."""

    terms: Terms
    """With the epochs of leases taken anew."""
    gone: Mapping[str, str]
    """Host that cannot be reached any more -> why."""
    begun: frozenset[str]
    """Ids of the steps that changed a host, or may have. An image that was sent changes nothing."""
    containers: Mapping[str, str]
    """Step id -> container, as far as there is one."""
    recorded: Recorded
    guards: Mapping[str, str] = field(default_factory=dict)
    """``CONFIRM`` that was begun -> state of its host's guard; empty when it could not be asked."""


def touched(steps: Sequence[Step], execution: Execution) -> frozenset[str]:
    """Return the ids of the steps that changed a host, or may have."""
    begun = execution.done | execution.uncertain
    return frozenset(step.id for step in steps if step.id in begun and step.kind is not StepKind.SHIP)


def survey(world: World, terms: Terms, claim: Claim, steps: Sequence[Step], execution: Execution) -> Survey:
    """Look at every host that something was begun on, as far as it is not known already.

    Raises:
        Aborted: A second Ctrl-C.
    """
    begun = [step for step in steps if step.id in touched(steps, execution)]
    hosts = {step.host for step in begun}
    lost = {host: why for host, why in execution.lost.items() if host in hosts}
    terms, gone = _regain(world, terms, claim, lost)
    unclear = [step for step in begun if _is_unclear(step, execution)]
    reports = _look(world, terms.project, unclear, gone)
    containers = dict(execution.containers)
    never: set[str] = set()
    for step in unclear:
        if step.kind is StepKind.START and step.host in reports:
            if found := _container(reports[step.host], step, terms.release):
                containers[step.id] = found
            else:
                never.add(step.id)
    commits = [step for step in begun if step.kind is StepKind.COMMIT]
    known = {step.id: _in_journal(step, execution, reports.get(step.host)) for step in commits}
    never.update(name for name, there in known.items() if there is False)
    everywhere = sum(step.kind is StepKind.COMMIT for step in steps)
    recorded = _recorded(tuple(known.values()), everywhere)
    confirms = [step for step in begun if step.kind is StepKind.CONFIRM]
    guards = {step.id: _guard(step, execution, reports.get(step.host)) for step in confirms}
    return Survey(terms, gone, frozenset(s.id for s in begun) - never, containers, recorded, guards)


def _is_unclear(step: Step, execution: Execution) -> bool:
    if step.kind in DECISIONS:
        return step.id not in execution.done
    return step.kind is StepKind.START and step.id not in execution.containers


def _regain(
    world: World, terms: Terms, claim: Claim, lost: Mapping[str, str]
) -> tuple[Terms, dict[str, str]]:
    """Take the lease of lost hosts anew; return the terms with it, and the hosts that stay lost."""
    again = replace(claim, epoch=claim.epoch + 1, states=())
    asked = [(host, request(again, host)) for host in sorted(lost)]
    gone: dict[str, str] = {}
    epochs = dict(terms.epochs)
    for answer in gather(world.fleet, world.loop, world.interrupt, asked):
        if answer.error is None:
            epochs[answer.host] = again.epoch
        else:
            gone[answer.host] = lost[answer.host] if isinstance(answer.error, HostError) else _why(answer)
    return replace(terms, epochs=tuple(sorted(epochs.items()))), gone


def _look(world: World, project: str, unclear: Sequence[Step], gone: dict[str, str]) -> dict[str, HostReport]:
    """Observe the hosts of unclear steps that are there; those that cannot answer join the gone."""
    hosts = sorted({step.host for step in unclear} - gone.keys())
    asked = [(host, Observe(project, probe=False)) for host in hosts]
    reports: dict[str, HostReport] = {}
    for answer in gather(world.fleet, world.loop, world.interrupt, asked):
        if answer.error is None:
            reports[answer.host] = answer.result
        else:
            gone[answer.host] = _why(answer)
    return reports


def _why(answer: Answer) -> str:
    return str(answer.error).removeprefix(f"{answer.host}: ")


def _container(report: HostReport, step: Step, release: str) -> str:
    wanted = (step.service, step.slot, release)
    found = (c.id for c in report.containers if (c.service, c.slot, c.release) == wanted)
    return next(found, "")


def _in_journal(commit: Step, execution: Execution, report: HostReport | None) -> bool | None:
    """Tell whether a host has recorded the release; ``None`` when nobody knows."""
    if commit.id in execution.done:
        return True
    if report is None or commit.record is None:
        return None
    return any(known.id == commit.record.id for known in report.releases)


def _guard(confirm: Step, execution: Execution, report: HostReport | None) -> str:
    """Return how a host has taken a confirm."""
    if confirm.id in execution.done:
        return CONFIRMED
    guard = report.routing.guard if report is not None and report.routing is not None else None
    return guard.state if guard is not None and guard.cutover == confirm.name else ""


def _recorded(known: Sequence[bool | None], everywhere: int) -> Recorded:
    there = sum(answer is True for answer in known)
    if there:
        return Recorded.EVERYWHERE if there == everywhere else Recorded.SOMEWHERE
    return Recorded.UNKNOWN if None in known else Recorded.NOWHERE
