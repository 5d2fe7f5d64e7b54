"""One screen that explains a failed step.

Owns its layout: what was tried, what came back, the last log lines, how long it ran, what stays
running and what to do next. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.messages import Failure
from orchestrator.report.style import Style, unstyled
from orchestrator.report.text import clean, clean_lines, duration

PROBES_SHOWN = 5
LOGS_SHOWN = 20


@dataclass(frozen=True)
class FailedStep:
    """What is known about a step that failed."""

    step: Step
    subject: str
    message: str
    failure: Failure | None = None
    seconds: float = 0.0
    standing: str = ""
    """What still runs, one clause; empty when nothing is known."""


def lines(failed: FailedStep, style: Style = unstyled) -> tuple[str, ...]:
    """Return the screen as lines, the first of them being the failure itself."""
    step, failure = failed.step, failed.failure
    seconds = failed.seconds or (failure.seconds if failure else 0.0)
    verb = step.kind.value.replace("-", " ")
    head = f"{clean(step.host)}: {verb} {failed.subject} failed"
    after = f" after {duration(seconds)}" if seconds else ""
    rows = [f"{style(head, 'bad')}{after}: {clean(failed.message)}"]
    if failure is not None:
        if failure.message and failure.message != failed.message:
            rows += _block("reported", [failure.message], style)
        rows += _block("tried", collapse(failure.probes)[-PROBES_SHOWN:], style)
        rows += _block("last log lines", clean_lines(failure.logs, LOGS_SHOWN), style)
    if failed.standing:
        rows += _block("what runs now", [failed.standing], style)
    rows += _block("next", [advice(step, failure)], style)
    return tuple(rows)


def advice(step: Step, failure: Failure | None) -> str:
    """Return what to do next, one line. Chosen by the stable code of the failure and the kind of step."""
    if failure is not None and failure.hint:
        return clean(failure.hint)
    code = failure.code if failure else ""
    if code == "no-space":
        return clean(
            f"free space on {step.host} (`deploy prune` removes what no release needs), then apply again"
        )
    if code in {"cancelled", "upstream"}:
        return "run `deploy apply` again: it starts from what is there"
    if step.kind in {StepKind.START, StepKind.RESUME} and step.service:
        return clean(f"`deploy logs {step.service}` shows the whole log; fix it, then apply again")
    return "run `deploy apply` again: it starts from what is there"


def collapse(lines: Iterable[str]) -> tuple[str, ...]:
    """Return cleaned lines with runs of equal ones made one: ``connection refused (12 times)``."""
    runs = ((line, len(list(same))) for line, same in itertools.groupby(clean(line) for line in lines))
    return tuple(f"{line} ({count} times)" if count > 1 else line for line, count in runs)


def _block(title: str, rows: Iterable[str], style: Style) -> list[str]:
    shown = [f"    {clean(row)}" for row in rows]
    return [f"  {style(title, 'dim')}:", *shown] if shown else []
