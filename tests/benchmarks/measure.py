"""Whole processes, measured from outside: wall-clock seconds, CPU seconds, results as a table.

Owns the clock and the arithmetic. It must not know what runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One run."""

    seconds: float
    """Wall clock."""
    cpu: float
    """User and system time of the process and all children it waited for."""
    output: str = ""


@dataclass(frozen=True)
class Result:
    """Several runs of one contender."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """Median of the wall-clock seconds."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def best(self) -> float:
        """The fastest run's seconds."""
        return min(sample.seconds for sample in self.samples)

    @property
    def cpu(self) -> float:
        """Median of the CPU seconds."""
        return statistics.median(sample.cpu for sample in self.samples)


def run(argv: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Sample:
    """Run a process to its end.

    Raises:
        RuntimeError: It failed; the message holds what it printed.
    """
    # Its own resource usage only: wait4 reports what this one child and its own children took.
    begun = time.monotonic()
    with subprocess.Popen(
        argv,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {process.returncode}:\n{output}")
    return Sample(seconds, usage.ru_utime + usage.ru_stime, output)


def in_turn(
    contenders: Mapping[str, Callable[[], Sample]], runs: int, *, warm_up: bool = True
) -> dict[str, Result]:
    """Measure all contenders ``runs`` times, one after another in every round.

    So whatever else the machine does falls on all of them alike. A first round more, to ``warm_up``,
    fills caches and is not counted.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for number in range(-1 if warm_up else 0, runs):
        for name, once in contenders.items():
            sample = once()
            if number >= 0:
                samples[name].append(sample)
    return {name: Result(name, tuple(found)) for name, found in samples.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its columns aligned; all but the first to the right."""
    cells = [list(head), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(row: Sequence[str]) -> str:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        return f"| {' | '.join([first, *rest])} |"

    return "\n".join([line(cells[0]), line(rule), *(line(row) for row in cells[1:])])


def against(results: Mapping[str, Result], ours: str) -> str:
    """Return the table of results with each one's ratio to ``ours``."""
    base = results[ours].seconds
    rows = [
        (
            name,
            f"{result.seconds:.2f} s",
            f"{result.best:.2f} s",
            f"{result.cpu:.2f} s",
            "1" if name == ours else f"{result.seconds / base:.1f}",
        )
        for name, result in results.items()
    ]
    return table(("", "median", "fastest", "CPU here", "times ours"), rows)
