"""Where in the user's files a value was written.

Owns the position of a value and the way from it to a :class:`~orchestrator.errors.Problem`.
It must not know what the values mean.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import Problem


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a file; the default means "nowhere in particular"."""

    file: str = ""
    """Path as the user named it; empty when there is no file."""
    line: int = 0
    """1-based; 0 when unknown."""
    column: int = 0
    """1-based; 0 when unknown."""

    def problem(self, message: str, *, path: str = "", hint: str = "") -> Problem:
        """Return a problem at this place."""
        return Problem(message, self.file, self.line, self.column, path, hint)

    def __str__(self) -> str:
        return Problem("", self.file, self.line, self.column).location
