"""Why an operation failed, told on one screen: the reason, what was tried, the container's last words.

Owns :class:`OperationFailed`, reading a container's last lines, and keeping secrets out of both.
"""

from __future__ import annotations

from typing import Iterable, Optional, Sequence, Tuple

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import failure_of
from orchestrator.agent.hijack import demultiplex
from orchestrator.protocol.messages import Failure

_TAIL = 20
_LONGEST_LINE = 500
_MOST_BYTES = 256 * 1024
_SHORTEST_SECRET = 4
"""Characters; hiding shorter ones would only make the lines unreadable."""


class OperationFailed(Exception):  # noqa: N818 - an outcome, not a defect
    """An operation ended without its effect; ``failure`` says why, ``container`` what is left of it."""

    def __init__(
        self, code: str, message: str, *, failure: Optional[Failure] = None, container: str = ""
    ) -> None:
        super().__init__(message)
        self.failure = failure or Failure(code, message)
        self.container = container


def describe(error: BaseException) -> Failure:
    """Return ``error`` as a failure, with the same codes as everywhere."""
    if isinstance(error, OperationFailed):
        return error.failure
    known = failure_of(error)
    hint = f" ({known.hint})" if known.hint else ""
    return Failure(known.code, f"{known.message}{hint}")


def last_lines(engine: Engine, container: str) -> Tuple[str, ...]:
    """Return a container's last lines, both outputs; empty when the engine does not give them."""
    output = b""
    query = {"stdout": True, "stderr": True, "tail": _TAIL}
    try:
        with engine.stream("GET", f"/containers/{container}/logs", query, timeout=10) as response:
            for piece in demultiplex(response.read_some):
                output = (output + piece)[-_MOST_BYTES:]
    except EngineError as error:
        return (f"(cannot read its output: {error.message})",)
    lines = output.decode("utf-8", "replace").splitlines()[-_TAIL:]
    return tuple(line[:_LONGEST_LINE] for line in lines)


def hide(lines: Sequence[str], secrets: Iterable[bytes]) -> Tuple[str, ...]:
    """Return ``lines`` with every value of ``secrets`` blotted out."""
    words = {
        line.strip()
        for value in secrets
        for line in value.decode("utf-8", "replace").splitlines()
        if len(line.strip()) >= _SHORTEST_SECRET
    }
    hidden = list(lines)
    for word in sorted(words, key=len, reverse=True):
        hidden = [line.replace(word, "********") for line in hidden]
    return tuple(hidden)
