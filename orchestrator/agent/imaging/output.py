"""The output of a builder on its way to the controller.

Owns passing it on and remembering the last lines for a failure.
"""

from __future__ import annotations

from collections import deque
from typing import Deque, Tuple

from orchestrator.agent.handler import Context, Refusal

LAST_LINES = 20
_LONGEST = 4096


class Output:
    """The builder's output: sent on as it comes, the last lines kept for the error."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._last: Deque[str] = deque(maxlen=LAST_LINES)
        self._line = ""

    def write(self, text: str) -> None:
        """Pass ``text`` on."""
        if not text:
            return
        self._context.send_body(text.encode("utf-8", "replace"))
        *lines, self._line = (self._line + text).split("\n")
        self._last.extend(line.rstrip() for line in lines if line.strip())
        self._line = self._line[-_LONGEST:]

    @property
    def last(self) -> Tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._last) + ((self._line,) if self._line.strip() else ())


def failed(message: str, output: Output) -> Refusal:
    """Return the refusal for a build that failed with ``message``."""
    code = "no-space" if "no space left on device" in message.lower() else "build-failed"
    return Refusal(code, message.strip(), context=output.last)
