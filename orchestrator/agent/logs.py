"""``logs``: a container's output, streamed.

Owns the request to the engine and the forms of ``since``. It must not know who reads.
"""

from __future__ import annotations

import contextlib
import re
import time
from datetime import datetime
from typing import Any, Dict

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.hijack import demultiplex
from orchestrator.agent.paths import check_container
from orchestrator.protocol.messages import Done, Logs

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def logs(params: Logs, context: Context) -> Done:
    """Stream a container's output as the answer's body; with ``follow`` until it ends or is cancelled.

    Raises:
        Refusal: ``not-found``, or ``bad-request`` for a ``since`` that is no time.
    """
    inspect = owned(context.engine, params.project, params.container)
    query = {
        "stdout": True,
        "stderr": True,
        "follow": params.follow,
        "timestamps": params.timestamps,
        "tail": str(params.tail) if params.tail >= 0 else "all",
        "since": since(params.since, time.time()) or None,
    }
    tty = bool((inspect.get("Config") or {}).get("Tty"))
    path = f"/containers/{inspect['Id']}/logs"
    try:
        with (
            context.engine.stream("GET", path, query, timeout=0) as response,
            context.aborting(response.abort),
        ):
            pieces = response.chunks() if tty else demultiplex(response.read_some)
            for piece in pieces:
                context.send_body(piece)
    except EngineError:
        context.check_cancelled()  # then it was us who ended it
        raise
    return Done()


def owned(engine: Engine, project: str, container: str) -> Dict[str, Any]:
    """Return the inspect of a container, by id or name.

    Raises:
        Refusal: ``not-found``: there is none, or it is not the project's.
    """
    check_container(container)
    with contextlib.suppress(EngineError):
        inspect = engine.get(f"/containers/{container}/json")
        if containers.labels_of(inspect).get(containers.PROJECT) == project:
            return dict(inspect)
    raise Refusal("not-found", f"project {project!r} has no container {container!r} on this host")


def since(text: str, now: float) -> str:
    """Return a time as the engine wants it, in seconds since the epoch; empty for no limit.

    Args:
        text: Empty, seconds since the epoch, a duration back from now such as ``10m``, or RFC 3339.
        now: Seconds since the epoch.

    Raises:
        Refusal: ``bad-request``: it is none of these.
    """
    if not text or _SECONDS.fullmatch(text):
        return text
    duration = _DURATION.fullmatch(text)
    if duration:
        return f"{now - int(duration[1]) * _UNITS[duration[2]]:.3f}"
    try:
        # python 3.9 does not know the suffix that everybody writes.
        moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        return f"{moment.timestamp():.3f}"
    except (ValueError, OverflowError):
        raise Refusal(
            "bad-request",
            f"cannot understand the time {text[:40]!r}",
            hint="for example 10m, or 2030-01-31T12:00:00Z",
        ) from None
