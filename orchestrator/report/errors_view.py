"""How an error is shown on standard error.

Owns the layout: the message, its context, what to do next; for files the user wrote, one line per
problem that editors can jump to, and on a terminal the line itself with a caret. :func:`lines` is pure;
:func:`show_error` prints.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO, TypeAlias

from orchestrator.errors import DeployError, InventoryError, Problem, SpecError
from orchestrator.report.output import Output
from orchestrator.report.style import Style, style_for, unstyled
from orchestrator.report.text import clean, clean_lines

SourceLine: TypeAlias = Callable[[str, int], str | None]
"""Returns a line (1-based) of a file, or ``None`` when it cannot."""

MAX_SOURCE = 1_000_000
"""Bytes of a file looked at for the line to show."""


def show_error(error: BaseException, *, stream: TextIO, environ: Mapping[str, str], verbose: bool) -> None:
    """Print ``error`` on ``stream``. Close the run's view first: it may own the terminal."""
    source = read_line if stream.isatty() else None
    debug = debug_wanted(environ, verbose=verbose)
    Output(stream).lines(lines(error, debug=debug, style=style_for(stream, environ), source=source))


def lines(
    error: BaseException, *, debug: bool = False, style: Style = unstyled, source: SourceLine | None = None
) -> tuple[str, ...]:
    """Return what to print about ``error``.

    Args:
        error: Anything that ended the run.
        debug: Show the traceback of an unexpected error.
        style: Dresses ``error`` and ``hint``.
        source: Where to look up the line of a problem; ``None`` shows no excerpt.
    """
    if isinstance(error, SpecError | InventoryError):
        return _problems(error, style, source)
    if isinstance(error, DeployError):
        return _expected(error, style)
    if isinstance(error, KeyboardInterrupt):
        return (f"{style('error', 'bad')}: interrupted",)
    return _unexpected(error, debug, style)


def debug_wanted(environ: Mapping[str, str], *, verbose: bool) -> bool:
    """Tell whether tracebacks are wanted: ``-v`` or ``DEPLOY_DEBUG``."""
    return verbose or environ.get("DEPLOY_DEBUG", "") not in {"", "0"}


def read_line(file: str, number: int) -> str | None:
    """Return one line of ``file`` as it is on disk now; ``None`` when there is none to show."""
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(MAX_SOURCE).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    found = text.split("\n")
    return found[number - 1] if 1 <= number <= len(found) else None


def _expected(error: DeployError, style: Style) -> tuple[str, ...]:
    context = (f"  {line}" for line in clean_lines(error.context))
    return (f"{style('error', 'bad')}: {clean(error.message)}", *context, *_hint(error.hint, style))


def _problems(error: SpecError | InventoryError, style: Style, source: SourceLine | None) -> tuple[str, ...]:
    rows: list[str] = []
    for problem in error.problems:
        rows.append(clean(str(problem)))
        rows += _excerpt(problem, style, source)
    return (*rows, f"{style('error', 'bad')}: {clean(error.message)}", *_hint(error.hint, style))


def _excerpt(problem: Problem, style: Style, source: SourceLine | None) -> tuple[str, ...]:
    if source is None or not problem.file or not problem.line:
        return ()
    line = source(problem.file, problem.line)
    if line is None or not line.strip():
        return ()
    number = str(problem.line)
    rows = [f"  {style(f'{number} |', 'dim')} {clean(line, 160)}"]
    if 0 < problem.column <= min(len(line), 156):
        before = len(clean(line[: problem.column - 1] + "\nx", 160)) - 2
        rows.append(f"  {' ' * len(number)} {style('|', 'dim')} {' ' * before}{style('^', 'bad')}")
    return tuple(rows)


def _unexpected(error: BaseException, debug: bool, style: Style) -> tuple[str, ...]:
    what = type(error).__name__ + (f": {error}" if str(error) else "")
    head = f"{style('error', 'bad')}: this is a bug: {clean(what)}"
    if not debug:
        return (head, *_hint("run again with -v, or with DEPLOY_DEBUG=1, for the traceback to report", style))
    trace = traceback.format_exception(error)
    return (*(f"  {line}" for line in clean_lines(trace, 100)), head)


def _hint(hint: str | None, style: Style) -> tuple[str, ...]:
    return (f"{style('hint', 'strong')}: {clean(hint)}",) if hint else ()
