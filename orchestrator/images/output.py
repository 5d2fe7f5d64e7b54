"""What a builder says, for people: its output in lines, and the error a failed build ends in.

Owns how output is cut into lines, which line of the Dockerfile it stopped at, and the words of the
error. Nothing is decided by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from orchestrator.errors import BuildFailed, DeployError, HostNotReady
from orchestrator.images.dag import Recipe
from orchestrator.ports import RequestFailed

LAST_LINES = 20
"""Of a failed build's output that its error shows."""
STEP = re.compile(r"Step (\d+)/\d+ : ")
"""How the classic builder begins an instruction."""
_LONGEST_LINE = 1 << 16
_BUILDKIT_LINE = re.compile(r"^\S*ockerfile\S*:(\d+)$")


def lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Yield the lines of the builder's output; a line without end is cut, not collected."""
    pending = b""
    for piece in pieces:
        *complete, pending = (pending + piece).split(b"\n")
        for line in complete:
            yield line.decode("utf-8", "replace").rstrip()
        if len(pending) > _LONGEST_LINE:
            yield pending.decode("utf-8", "replace")
            pending = b""
    if pending:
        yield pending.decode("utf-8", "replace").rstrip()


def line_of(recipe: Recipe, step: int, output: Iterable[str]) -> int:
    """Return the line of the Dockerfile the output stopped at; 0 when it does not say."""
    for line in output:
        found = _BUILDKIT_LINE.match(line)
        if found is not None:
            return int(found[1])
    known = recipe.source.dockerfile.lines if recipe.source is not None else ()
    return known[step - 1] if 0 < step <= len(known) else 0


def failed(recipe: Recipe, error: RequestFailed, output: tuple[str, ...], line: int = 0) -> DeployError:
    """Return what a refusal of the builder means for the user."""
    failure = error.failure
    if failure.code == "no-engine":
        return HostNotReady(error.host, failure.message, hint=failure.hint or None, context=failure.context)
    if recipe.source is None:
        message = f"cannot pull {recipe.reference} for image {recipe.name}: {failure.message}"
    else:
        where = f" at {recipe.source.context.root / recipe.source.context.dockerfile}:{line}" if line else ""
        message = f"image {recipe.name} did not build{where}: {failure.message}"
    return BuildFailed(message, hint=failure.hint or None, context=failure.context or output)
