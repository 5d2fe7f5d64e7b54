"""What the agent has to say besides its answers: lines on stderr, which the controller keeps the last of.

``logging`` does more than that and takes 6 ms of CPU in every start of the agent.
"""

from __future__ import annotations

import contextlib
import sys


def say(message: str) -> None:
    """Write ``message`` and a line feed in one piece; a controller that is gone misses it."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()
