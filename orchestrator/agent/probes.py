"""One try of one health check: over HTTP, TCP, a command inside the container, or by its running.

Owns how a try is made and told. It must not know how many make an instance healthy: see :mod:`.health`.
"""

from __future__ import annotations

import socket
import time
from typing import Any, Mapping, Optional, Tuple

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.hijack import exit_status, hijack
from orchestrator.agent.http1 import Answer, HttpError, send
from orchestrator.protocol.instance import Healthcheck
from orchestrator.protocol.records import dataclass

_MAX_OUTPUT = 4096
_MAX_BODY = 65536


@dataclass(frozen=True)
class Probe:
    """What was tried and what came back."""

    ok: bool
    detail: str
    """``GET http://172.18.0.2:8080/health: 503 Service Unavailable``."""


def probe(engine: Engine, inspect: Mapping[str, Any], project: str, check: Healthcheck) -> Probe:
    """Try ``check`` once on the running container that ``inspect`` describes.

    An http check succeeds with a status from 200 to 399; redirects are not followed. A failure is an
    answer like any other: nothing is raised for it.
    """
    if check.type == "none":
        return Probe(ok=True, detail="running")
    if check.type == "command":
        return _command(engine, str(inspect.get("Id")), check)
    where = _address(inspect, project, check.port)
    if where is None:
        return Probe(ok=False, detail=f"{check.type} port {check.port}: the container has no address")
    return _http(where, check) if check.type == "http" else _tcp(where, check)


def _address(inspect: Mapping[str, Any], project: str, port: int) -> Optional[Tuple[str, int]]:
    """Where to reach ``port``: on the project's network, else where it is published (rootless engines)."""
    address = containers.address_of(inspect, project)
    return (address, port) if address else containers.published(inspect, port)


def _tcp(where: Tuple[str, int], check: Healthcheck) -> Probe:
    what = f"tcp {_host_port(where)}"
    try:
        with socket.create_connection(where, timeout=check.timeout):
            return Probe(ok=True, detail=f"{what}: connected")
    except OSError as error:
        return Probe(ok=False, detail=f"{what}: {_words(error)}")


def _http(where: Tuple[str, int], check: Healthcheck) -> Probe:
    path = check.path or "/"
    what = f"GET http://{_host_port(where)}{path}"
    give_up = time.monotonic() + check.timeout
    headers = {"Host": _host_port(where), "User-Agent": "deploy-healthcheck", "Connection": "close"}
    try:
        with socket.create_connection(where, timeout=check.timeout) as sock, sock.makefile("rb") as stream:
            send(sock, "GET", path, headers)
            answer = Answer(stream)
            _drain(answer, give_up)
    except ValueError as error:  # a path that HTTP does not allow
        return Probe(ok=False, detail=f"{what!r}: {error}")
    except (OSError, HttpError) as error:
        return Probe(ok=False, detail=f"{what}: {_words(error)}")
    ok = 200 <= answer.status < 400
    return Probe(ok=ok, detail=f"{what}: {answer.status} {answer.reason}".rstrip())


def _drain(answer: Answer, give_up: float) -> None:
    """Read the answer, as a client would, but neither for ever nor without end."""
    left = _MAX_BODY
    while left > 0:
        piece = answer.read1(left)
        if not piece:
            return
        if time.monotonic() > give_up:
            raise TimeoutError("the answer does not end in time")
        left -= len(piece)


def _command(engine: Engine, container: str, check: Healthcheck) -> Probe:
    what = f"command {' '.join(check.command)[:120]!r}"
    try:
        created = engine.post(
            f"/containers/{container}/exec",
            body={"Cmd": list(check.command), "AttachStdout": True, "AttachStderr": True},
        )
        exec_id = str(created["Id"])
        output = _run(engine, exec_id, check.timeout)
        if output is None:
            return Probe(ok=False, detail=f"{what}: did not end within {check.timeout:g} s")
        status = exit_status(engine, exec_id, check.timeout)
    except EngineError as error:
        return Probe(ok=False, detail=f"{what}: {error.message}")
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    told = f": {last[:200]}" if last and status != 0 else ""
    return Probe(ok=status == 0, detail=f"{what}: exit status {status}{told}")


def _run(engine: Engine, exec_id: str, timeout: float) -> Optional[bytes]:
    """Return the last of a command's output once it has ended; ``None`` when it takes too long."""
    give_up = time.monotonic() + timeout
    output = b""
    with hijack(
        engine, f"/exec/{exec_id}/start", {"Detach": False, "Tty": False}, timeout=timeout
    ) as process:
        try:
            for piece in process.output(tty=False):
                output = (output + piece)[-_MAX_OUTPUT:]
                if time.monotonic() > give_up:
                    return None
        except EngineError as error:
            if isinstance(error.__cause__, socket.timeout):
                return None
            raise
    return output


def _host_port(where: Tuple[str, int]) -> str:
    host, port = where
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: Exception) -> str:
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
