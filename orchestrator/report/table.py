"""Columns of text that line up.

Owns the layout of a table; a cell is clean text and, where it stands out, a role. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.report.style import Role, Style, unstyled


class Cell(NamedTuple):
    """One cell. The text must be clean already."""

    text: str
    role: Role | None = None


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]], style: Style = unstyled) -> tuple[str, ...]:
    """Return a line of headers and one line per row; nothing when there are no rows."""
    if not rows:
        return ()
    head = tuple(Cell(header, "strong") for header in headers)
    every = (head, *rows)
    widths = [max(len(row[column].text) for row in every) for column in range(len(headers))]
    return tuple(_line(row, widths, style) for row in every)


def _line(row: Sequence[Cell], widths: Sequence[int], style: Style) -> str:
    last = len(row) - 1
    parts = []
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        shown = style(cell.text, cell.role) if cell.role else cell.text
        parts.append(shown if column == last else shown + " " * (width - len(cell.text)))
    return "  ".join(parts).rstrip()
