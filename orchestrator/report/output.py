"""Where lines go: a stream that many threads may write to and that may go away.

Owns the lock, the encoding and the broken pipe. A listener must never raise, so a reader that left
(``deploy apply | head``) ends the printing, not the apply.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TextIO

_ASCII = str.maketrans({"±": "~", "…": "...", "└": "`", "├": "|", "─": "-", "│": "|", "✓": "+", "✗": "x"})


def encodable(text: str, encoding: str | None) -> str:
    """Return ``text`` with what ``encoding`` cannot express replaced."""
    name = encoding or "utf-8"
    try:
        text.encode(name)
    except UnicodeEncodeError:
        return text.translate(_ASCII).encode(name, "replace").decode(name)
    return text


class Output:
    """Writes whole lines to one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._gone = False

    @property
    def gone(self) -> bool:
        """True once the stream refused a write; everything after is dropped."""
        return self._gone

    def lines(self, lines: Iterable[str]) -> None:
        """Write ``lines`` together, each with a line end, and flush."""
        text = "".join(f"{line}\n" for line in lines)
        if not text:
            return
        with self._lock:
            if self._gone:
                return
            try:
                self._stream.write(encodable(text, self._stream.encoding))
                self._stream.flush()
            except (OSError, ValueError):
                # OSError: the reader left; ValueError: the stream was closed. Nobody is there to be told.
                self._gone = True

    @property
    def encoding(self) -> str:
        """The stream's own encoding."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Write ``text`` as it is; with :meth:`flush` and :meth:`isatty` what a drawing library needs."""
        with self._lock:
            if not self._gone:
                try:
                    self._stream.write(encodable(text, self._stream.encoding))
                except (OSError, ValueError):
                    self._gone = True
        return len(text)

    def flush(self) -> None:
        """Push everything out."""
        with self._lock:
            if not self._gone:
                try:
                    self._stream.flush()
                except (OSError, ValueError):
                    self._gone = True

    def isatty(self) -> bool:
        """Tell whether the stream is a terminal."""
        return not self._gone and self._stream.isatty()
