"""What the YAML parsers complain about, as problems with a place and a hint.

Owns the wording. It must not know what is read, or keys.
"""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError

from orchestrator.errors import Problem

NOT_YAML = "this is not YAML"
"""How the message of a syntax error begins."""


def syntax_problem(error: Exception, text: str, file: str) -> Problem:
    """Return the problem that a parser's ``error`` about ``text`` is."""
    if not isinstance(error, MarkedYAMLError):
        return _unreadable(error, text, file)
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    words = " ".join(str(part).strip() for part in (error.context, error.problem) if part)
    return Problem(f"{NOT_YAML}: {words}", file, line, column, hint=_syntax_hint(text, line))


def _syntax_hint(text: str, line: int) -> str:
    lines = text.split("\n")
    written = lines[line - 1] if 0 < line <= len(lines) else ""
    if re.match(r" *\t", written):
        return "indent with spaces, not tabs"
    if "${" in written:
        return "quote a ${VARIABLE} inside [ ] and { }"
    return "quote text that holds ': ', ' #' or starts with a special character" if ": " in written else ""


def _unreadable(error: Exception, text: str, file: str) -> Problem:
    """Return the problem of a character that YAML does not allow; neither parser gives its line."""
    index = getattr(error, "position", None) or getattr(error, "start", None) or 0
    before = text[:index] if isinstance(index, int) else ""
    reason = getattr(error, "reason", None) or str(error)
    column = index - before.rfind("\n") if isinstance(index, int) else 0
    return Problem(f"{NOT_YAML}: {reason}", file, before.count("\n") + 1, column)
