"""Steps as the protocol says them.

Owns the translation of a batch of steps into one request, and which contents travel with
it: only what the operations of this very request need. Values of secrets pass through here and nowhere
else in this folder; they are in no event and no repr.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.messages import Commit, Operation, Perform
from orchestrator.protocol.routing import Arm, Check, RouterConfig, Shift, Watch


@dataclass(frozen=True)
class Terms:
    """Under what name a run changes its hosts."""

    project: str
    release: str
    """Of instances that are started."""
    epochs: tuple[tuple[str, int], ...]
    """(host, epoch of the lease held there)."""
    certificates: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """(HMAC, bundle) of what routers serve with. Never shown."""

    def epoch(self, host: str) -> int:
        """Return the epoch held on ``host``.

        Raises:
            KeyError: No lease is held there.
        """
        return dict(self.epochs)[host]


def params(terms: Terms, steps: Sequence[Step]) -> Perform | Commit:
    """Say what one batch asks of its host: a decision, or operations (predecessors first).

    Raises:
        ValueError: A decision without a record.
    """
    first = steps[0]
    if first.kind is not StepKind.COMMIT:
        return perform(terms, first.host, steps)
    if first.record is None:
        raise ValueError(f"{first.id}: nothing to commit")
    return Commit(terms.project, terms.epoch(first.host), first.record)


def perform(terms: Terms, host: str, steps: Sequence[Step]) -> Perform:
    """Say ``steps`` (predecessors first, all of ``host``) as one request; operation ids are positions."""
    numbers = {step.id: number for number, step in enumerate(steps)}
    contents: dict[str, str] = {}
    secrets: dict[str, str] = {}
    for step in steps:
        if step.kind in _CREATES and step.desired is not None:
            contents.update((key, _base64(value)) for key, value in step.desired.contents)
            secrets.update((key, _base64(value)) for key, value in step.desired.secrets)
        if isinstance(step.routing, RouterConfig):
            used = {certificate.hmac for certificate in step.routing.certificates}
            secrets.update((key, _base64(value)) for key, value in terms.certificates if key in used)
    return Perform(
        project=terms.project,
        epoch=terms.epoch(host),
        operations=tuple(_operation(terms, step, numbers) for step in steps),
        contents=contents,
        secrets=secrets,
    )


def _operation(terms: Terms, step: Step, numbers: dict[str, int]) -> Operation:
    routing = step.routing
    arm = routing if isinstance(routing, Arm) else None
    return Operation(
        id=numbers[step.id],
        kind=step.kind.value.replace("-", "_"),
        after=tuple(numbers[before] for before in step.after if before in numbers),
        service=step.service,
        slot=step.slot,
        release=step.release or terms.release,
        config=step.desired.config if step.kind in _CREATES and step.desired is not None else None,
        container=step.container,
        name=step.name,
        seconds=step.seconds,
        router=routing if isinstance(routing, RouterConfig) else None,
        shift=routing if isinstance(routing, Shift) else None,
        watch=routing if isinstance(routing, Watch) else None,
        check=routing if isinstance(routing, Check) else None,
        arm=Arm(step.name, 0.0) if step.kind is StepKind.DISARM else arm,
        held=step.held,
        faulty=step.faulty,
    )


_CREATES = frozenset({StepKind.START, StepKind.JOB})
"""Kinds that make a container of a configuration."""


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
