"""The duplex byte streams a session runs over.

Owns the interface only; :mod:`.ssh` and :mod:`.local` implement it, tests put a fake behind it.
"""

from __future__ import annotations

from typing import Protocol


class Transport(Protocol):
    """Bytes to and from one remote command: its stdin, stdout and, for people, its stderr."""

    def send(self, data: bytes) -> None:
        """Write all of ``data``; blocks while the other side takes none.

        Raises:
            OSError: The connection is gone, or has been closed here meanwhile.
            TimeoutError: The other side took nothing for longer than it may.
        """
        ...

    def recv(self, limit: int, timeout: float) -> bytes:
        """Return 1 to ``limit`` bytes as soon as there are any; empty at the end of the stream.

        Raises:
            OSError: The connection is gone.
            TimeoutError: Nothing came for ``timeout`` seconds.
        """
        ...

    def close(self) -> None:
        """End the stream and everything below it; wakes blocked calls. May be called twice."""
        ...

    def exit_status(self, timeout: float) -> int | None:
        """Return the command's exit status once it has ended, or ``None`` after ``timeout`` seconds."""
        ...

    def last_words(self) -> tuple[str, ...]:
        """Return the last lines of stderr, printable."""
        ...


MAX_WORDS = 20
"""Lines of stderr that are kept."""
_MAX_LINE = 500


class Tail:
    """Keeps the last lines of a stream of bytes, and no more."""

    def __init__(self) -> None:
        self._text = bytearray()

    def feed(self, data: bytes) -> None:
        """Take further bytes."""
        self._text += data
        excess = len(self._text) - MAX_WORDS * _MAX_LINE
        if excess > 0:
            del self._text[:excess]

    def lines(self) -> tuple[str, ...]:
        """Return the last lines without control characters."""
        lines = [printable(line) for line in self._text.decode(errors="replace").splitlines()]
        return tuple(line for line in lines if line.strip())[-MAX_WORDS:]


def printable(text: str) -> str:
    """Return ``text`` without anything that could move a cursor or change a terminal's mode."""
    return "".join(char if char.isprintable() else " " for char in text).rstrip()[:_MAX_LINE]
