"""``build``: one image on this host's engine, from a context that streams in.

Owns the handler, the choice of builder, and the classic builder. The engine's API is enough for most
Dockerfiles; what only BuildKit understands goes to :mod:`.buildkit`.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, Dict, Iterator

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import Context
from orchestrator.agent.imaging import buildkit
from orchestrator.agent.imaging.describe import built
from orchestrator.agent.imaging.features import needs_buildkit, peek
from orchestrator.agent.imaging.labels import labels
from orchestrator.agent.imaging.output import Output, failed
from orchestrator.agent.paths import check_digest
from orchestrator.protocol.messages import Build, Built

_ASKED = "DOCKER_BUILDKIT=1"
IDLE = 3600.0
"""Seconds a step may be silent."""


def build(params: Build, context: Context) -> Built:
    """Build the image; the builder's output is the answer's body.

    Raises:
        Refusal: ``build-failed``, with the builder's last lines; ``no-space``; ``cancelled``.
    """
    check_digest(params.build, "build digest")
    dockerfile, content = peek(context.body())
    output = Output(context)
    network = params.network or _network(context.engine)
    needed = needs_buildkit(dockerfile)
    if needed or os.environ.get("DOCKER_BUILDKIT") == "1":
        image = buildkit.build(params, context, content, output, network=network, reason=needed or _ASKED)
    else:
        image = _classic(params, context, content, output, network)
    return built(context, image)


def _classic(params: Build, context: Context, content: Iterator[bytes], output: Output, network: str) -> str:
    query: Dict[str, Any] = {
        "dockerfile": params.dockerfile,
        "buildargs": dict(params.args),
        "labels": labels(params),
        "target": params.target or None,
        "platform": params.platform or None,
        "networkmode": network or None,
        "t": params.tag or None,
        "rm": True,
        "forcerm": True,
    }
    headers = {"Content-Type": "application/x-tar"}
    image = ""
    try:
        with contextlib.ExitStack() as stack:
            request = context.engine.stream("POST", "/build", query, content, headers, timeout=IDLE)
            response = stack.enter_context(request)
            stack.enter_context(context.aborting(response.abort))
            for document in response.documents():
                output.write(str(document.get("stream") or document.get("status") or ""))
                if document.get("error"):
                    raise failed(str(document["error"]), output)
                image = str((document.get("aux") or {}).get("ID") or image)
    except EngineError as error:
        context.check_cancelled()
        if error.status in (400, 404, 500):
            raise failed(error.message, output) from error
        raise
    if not image:
        raise failed("the builder names no image", output)
    return image


def _network(engine: Engine) -> str:
    """Return ``host`` for an engine that was started without its bridge: `RUN` would have no network."""
    try:
        engine.get("/networks/bridge")
    except EngineError as error:
        if error.not_found:
            return "host"
        raise
    return ""
