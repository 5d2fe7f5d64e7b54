"""Which files of a build context `.dockerignore` leaves out, with Docker's own meaning.

Owns the patterns and nothing else: no file is read here. The rules are those of BuildKit's
`patternmatcher`: the last pattern that matches a path or one of its parents decides, ``!`` takes a
path back, ``**`` is any number of folders, and ``#`` starts a comment in the first column only.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field

_MAGIC = frozenset("*?[\\")


class BadPatternError(ValueError):
    """A pattern has no meaning; the message names it and its line."""


@dataclass(frozen=True)
class Pattern:
    """One line of the file."""

    text: str
    """Cleaned: no leading or trailing slash, no ``!``."""
    takes_back: bool
    """True: it started with ``!``."""
    regex: re.Pattern[str]

    @property
    def literal_prefix(self) -> str:
        """The folders before the first one that has a wildcard, joined by slashes."""
        parts = []
        for part in self.text.split("/"):
            if _MAGIC.intersection(part):
                break
            parts.append(part)
        return "/".join(parts)


@dataclass(frozen=True)
class Ignore:
    """The patterns of one file, in their order."""

    patterns: tuple[Pattern, ...] = ()
    _folders: dict[str, tuple[bool, ...]] = field(default_factory=dict, repr=False, compare=False)

    def excludes(self, path: str) -> bool:
        """Return whether ``path`` (relative, slashes) is left out."""
        excluded = False
        for pattern, matches in zip(self.patterns, self._matches(path), strict=True):
            if matches and pattern.takes_back == excluded:
                excluded = not excluded
        return excluded

    def _matches(self, path: str) -> tuple[bool, ...]:
        """Return which patterns match ``path`` or one of its parents.

        Those of folders are remembered: a walk asks for every file in them.
        """
        folder = path.rpartition("/")[0]
        if not folder:
            return tuple(pattern.regex.fullmatch(path) is not None for pattern in self.patterns)
        above = self._folders.get(folder)
        if above is None:
            above = self._folders[folder] = self._matches(folder)
        return tuple(
            known or pattern.regex.fullmatch(path) is not None
            for pattern, known in zip(self.patterns, above, strict=True)
        )

    def may_hold(self, folder: str) -> bool:
        """Return whether a later ``!`` pattern may take something inside the excluded ``folder`` back."""
        for pattern in self.patterns:
            if not pattern.takes_back:
                continue
            prefix = pattern.literal_prefix
            if not prefix or f"{prefix}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{prefix}/"):
                return True
        return False


def parse(text: str) -> Ignore:
    """Read the text of a `.dockerignore`.

    Raises:
        BadPatternError: A pattern has no meaning.
    """
    patterns = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        takes_back = pattern.startswith("!")
        if takes_back:
            pattern = pattern[1:].strip()
            if not pattern:
                raise BadPatternError(f"line {number}: '!' without a pattern")
        if not pattern:
            continue
        cleaned = posixpath.normpath(pattern).lstrip("/")
        if cleaned in {"", "."}:
            # The folder itself: Docker's matcher never asks about it, so the line does nothing.
            continue
        patterns.append(Pattern(cleaned, takes_back, _compile(cleaned, number)))
    return Ignore(tuple(patterns))


def _compile(pattern: str, line: int) -> re.Pattern[str]:
    try:
        return re.compile(_translate(pattern), re.DOTALL)
    except re.error as error:
        raise BadPatternError(f"line {line}: cannot understand {pattern!r}: {error}") from error


def _translate(pattern: str) -> str:
    out: list[str] = []
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        at += 1
        if char == "*" and at < end and pattern[at] == "*":
            at += 1
            if at < end and pattern[at] == "/":
                at += 1
            out.append("(.*/)?" if at < end else ".*")
        elif char == "*":
            out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "\\":
            out.append(re.escape(pattern[at]) if at < end else r"\\")
            at += 1
        elif char == "[":
            class_, at = _bracket(pattern, at)
            out.append(class_)
        else:
            out.append(re.escape(char))
    return "".join(out)


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    """Return the character class that begins at ``at``, after its bracket, and where it ends."""
    end = at + (pattern[at : at + 1] == "^")
    members = []
    while end < len(pattern) and pattern[end] != "]":
        if pattern[end] == "\\" and end + 1 < len(pattern):
            members.append(re.escape(pattern[end + 1]))
            end += 2
            continue
        is_range = (
            pattern[end] == "-" and members and members[-1] != "-" and pattern[end + 1 : end + 2] != "-"
        )
        members.append("-" if is_range else re.escape(pattern[end]))
        end += 1
    if end == len(pattern):
        raise re.error("missing closing ]", pattern, at)
    return f"[{pattern[at : at + 1] if pattern[at] == '^' else ''}{''.join(members)}]", end + 1
