"""Text that is safe to print, whoever wrote it, and numbers as people read them.

Owns the one sanitising function of all views: log lines, build output and failure messages come from
hosts that may be hostile, and a terminal obeys what it is told. Must not know any event.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime

LINE_LIMIT = 400
"""Characters of one cleaned line."""
LINES_LIMIT = 50
"""Lines of one cleaned block."""

_SEQUENCE = re.compile(
    r"""
      (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]?                              # CSI: colours, cursor, erase
    | (?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f]) [^\x07\x1b\x9c]* (?:\x07|\x1b\\|\x9c)?   # OSC, DCS, ...
    | \x1b [ -/]* [0-~]?                                               # everything shorter
    """,
    re.VERBOSE,
)
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Unicode categories that are not drawn: controls, direction overrides, lone surrogates, separators."""


def clean(text: str, limit: int = LINE_LIMIT) -> str:
    """Return ``text`` as one printable line of at most ``limit`` characters.

    Escape sequences and everything that is not drawn are dropped, line ends and tabs become spaces, and
    what is cut off is marked by ``...``.
    """
    if len(text) <= limit and text.isprintable():  # nearly all there is to show
        return text.rstrip()
    room = limit * 4
    cut = len(text) > room
    bare = _SEQUENCE.sub("", text[:room])
    line = "".join(_visible(character) for character in bare).rstrip()
    if len(line) <= limit and not cut:
        return line
    return line[: max(0, limit - 3)] + "..."


def _visible(character: str) -> str:
    if " " <= character <= "~":
        return character
    if character in "\t\n\v\f\r\x85\u2028\u2029":
        return " "
    return "" if unicodedata.category(character) in _HIDDEN else character


def clean_lines(lines: Iterable[str], count: int = LINES_LIMIT, limit: int = LINE_LIMIT) -> tuple[str, ...]:
    """Return the last ``count`` lines, each cleaned; a first line says how many were left out."""
    flat = [part for line in lines for part in line.splitlines() or [""]]
    kept = tuple(clean(line, limit) for line in flat[-count:])
    left_out = len(flat) - len(kept)
    return (f"({left_out} lines before)", *kept) if left_out else kept


def size(count: float) -> str:
    """Return bytes in decimal units: ``512 B``, ``81 kB``, ``1.2 GB``."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if unit != "B" and value < 9.95 else f"{value:.0f} {unit}"


def duration(seconds: float) -> str:
    """Return a length of time with two units at most: ``0.4 s``, ``2 min 5 s``, ``3 d 4 h``."""
    seconds = max(0.0, seconds)
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for big, big_name, small, small_name in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= big:
            rest = whole % big // small
            return f"{whole // big} {big_name}" + (f" {rest} {small_name}" if rest else "")
    return f"{whole} s"


def moment(seconds: float) -> str:
    """Return seconds since the epoch as ``2026-03-01 12:00:00`` in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "unknown"


def parse_moment(text: str) -> float | None:
    """Return an engine's RFC 3339 time as seconds since the epoch; ``None`` for none (year 1) or nonsense."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    if parsed.year < 1970:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def short_id(image: str) -> str:
    """Return the first twelve digits of an image id or digest, without its ``sha256:``."""
    return clean(image.removeprefix("sha256:"), 64)[:12]


def plural(count: int, noun: str) -> str:
    """Return ``1 host``, ``2 hosts``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
