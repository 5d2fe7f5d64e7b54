"""Talks to container engines just enough to know that they answer, and finds a client that works.

It owns readiness and the choice of the ``docker`` command; everything else about engines is the agent's.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import ToolMissing
from orchestrator.lab.processes import LabError, environment, tail

_DEBIAN_CLIENT = "/usr/bin/docker"
_PING = b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n"


def answers(socket_path: Path) -> bool:
    """Whether an engine answers on the socket."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(socket_path))
            connection.sendall(_PING)
            status = connection.makefile("rb").readline().split()
    except OSError:
        return False
    return len(status) > 1 and status[1] == b"200"


def wait_until_ready(socket_path: Path, what: str, log: Path, seconds: float = 60) -> None:
    """Wait until the engine answers.

    Raises:
        LabError: It does not within ``seconds``; the context holds the end of its ``log``.
    """
    deadline = time.monotonic() + seconds
    while not answers(socket_path):
        if time.monotonic() > deadline:
            raise LabError(f"cannot start the engine of {what}", context=tail(log))
        time.sleep(0.02)


@functools.cache
def docker_client() -> str:
    """Path of a ``docker`` command that runs: the distribution's, else the first on the PATH.

    A client from elsewhere may be newer than the engine and lack parts, such as buildx.

    Raises:
        ToolMissing: There is none.
    """
    candidates = [_DEBIAN_CLIENT]
    candidates += [
        found
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if (found := shutil.which("docker", path=folder))
    ]
    for candidate in dict.fromkeys(candidates):
        if Path(candidate).exists() and _works(candidate):
            return candidate
    raise ToolMissing(
        "cannot find a docker command that works", hint="install it with: apt install docker.io"
    )


def _works(client: str) -> bool:
    probe = subprocess.run([client, "build", "--help"], capture_output=True, check=False, env=environment())
    return probe.returncode == 0


def client_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment for the client: none of the caller's contexts, hosts or configuration."""
    return {**environment(), "DOCKER_CONFIG": "/nonexistent", **(variables or {})}
