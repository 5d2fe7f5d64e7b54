"""Logs of many instances in one stream: a prefix with a stable colour, whole lines only.

Owns the cutting into lines and the prefixes. What instances write comes from anywhere, so it is cleaned
like everything else; a line that never ends is cut at :data:`MAX_LINE`.
"""

from __future__ import annotations

import threading
from typing import TextIO

from orchestrator.report.output import Output
from orchestrator.report.style import Style, colour_of, unstyled
from orchestrator.report.text import clean

MAX_LINE = 16_384
"""Characters; memory per instance is bounded by this whatever it writes."""


def log_line(instance: str, line: str, *, width: int = 0, style: Style = unstyled) -> str:
    """Return one line of output behind the name of its instance, padded to ``width``."""
    name = clean(instance, 80)
    prefix = f"{name:<{width}} |"
    shown = prefix if style is unstyled else colour_of(name, prefix)
    return f"{shown} {clean(line, MAX_LINE)}".rstrip()


class LogPrinter:
    """Interleaves the output of instances, a whole line at a time. Pieces may come from any thread."""

    def __init__(self, stream: TextIO, *, style: Style = unstyled, instances: tuple[str, ...] = ()) -> None:
        """Print to ``stream``; ``instances``, where known, make the prefixes line up from the first line."""
        self._output = Output(stream)
        self._style = style
        self._width = max((len(clean(name, 80)) for name in instances), default=0)
        self._open: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def write(self, instance: str, data: bytes) -> None:
        """Take the next bytes of ``instance`` (``api[1] web-1``) and print the lines they complete."""
        with self._lock:
            *whole, rest = (self._open.get(instance, b"") + data).split(b"\n")
            while len(rest) > MAX_LINE:
                whole.append(rest[:MAX_LINE])
                rest = rest[MAX_LINE:]
            self._open[instance] = rest
            self._print(instance, whole)

    def close(self) -> None:
        """Print what ended without a line end."""
        with self._lock:
            for instance, rest in self._open.items():
                if rest:
                    self._print(instance, [rest])
            self._open.clear()

    @property
    def gone(self) -> bool:
        """True once nobody reads any more: following can stop."""
        return self._output.gone

    def _print(self, instance: str, lines: list[bytes]) -> None:
        self._width = max(self._width, len(clean(instance, 80)))
        self._output.lines(
            log_line(instance, line.decode("utf-8", "replace"), width=self._width, style=self._style)
            for line in lines
        )
