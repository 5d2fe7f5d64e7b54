"""Which container engine this host has, and what it says of itself.

Owns the search for the engine's socket and the meaning of ``/version`` and ``/info``. It must not know
what the engine is used for.
"""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.protocol.messages import EngineInfo

SYSTEM_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock")


INSTALL = (
    "run `ansible-playbook -i inventory.yaml playbooks/bootstrap.yaml --limit HOST`, "
    "or install one by hand: `apt-get install docker.io`"
)
START = "start it, for example with `systemctl start docker`"
ALLOW = "connect as root, set `ansible_become: true`, or put the user into the socket's group"


class NoEngineError(Exception):
    """There is no engine this process may use; the message says why, ``hint`` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def candidates(environment: Mapping[str, str], uid: int) -> Tuple[str, ...]:
    """Return the sockets worth trying, in order.

    ``DOCKER_HOST`` alone when it names a unix socket, else the system's places, else those of an
    engine that runs as user ``uid``.
    """
    named = environment.get("DOCKER_HOST", "")
    if named.startswith("unix://"):
        return (named[len("unix://") :],)
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    own = (f"{runtime}/docker.sock", f"{runtime}/podman/podman.sock")
    return SYSTEM_SOCKETS if uid == 0 else SYSTEM_SOCKETS + own


def find(sockets: Tuple[str, ...]) -> Engine:
    """Return the engine behind the first socket that answers.

    Raises:
        NoEngineError: None does.
    """
    reasons: List[str] = []
    hint = INSTALL
    for path in sockets:
        if not Path(path).exists():
            continue
        problem = _problem(path)
        if problem is None:
            return Engine(path)
        reasons.append(f"{path}: {problem[0]}")
        hint = problem[1]
    if reasons:
        raise NoEngineError(f"cannot use the container engine: {'; '.join(reasons)}", hint)
    raise NoEngineError(f"cannot find a container engine's socket; tried {', '.join(sockets)}", hint)


def _problem(path: str) -> Optional[Tuple[str, str]]:
    """Return what is wrong with a socket that is there, and what to do about it; ``None``: nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.settimeout(5)
            probe.connect(path)
        except PermissionError:
            return ("permission denied", ALLOW)
        except OSError as error:
            refused = error.errno == errno.ECONNREFUSED
            return ("nobody listens: the engine is not running" if refused else str(error), START)
    return None


def is_podman(version: Dict[str, Any]) -> bool:
    """Tell from an engine's answer to ``/version`` whether it is Podman."""
    return any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or ())


def info(engine: Engine) -> EngineInfo:
    """Return the engine as it describes itself.

    Raises:
        orchestrator.agent.engine.EngineError: It cannot be asked.
    """
    version, system = engine.describe(), engine.system()
    podman = is_podman(version)
    return EngineInfo(
        name="podman" if podman else "docker",
        version=_text(version, "Version"),
        api=engine.api,
        os=_text(version, "Os"),
        architecture=_text(version, "Arch"),
        image_store="podman" if podman else _image_store(system),
        storage_driver=_text(system, "Driver"),
        cpus=_number(system, "NCPU"),
        memory=_number(system, "MemTotal"),
        cgroup=_text(system, "CgroupVersion"),
    )


def disk(engine: Engine) -> Tuple[int, int]:
    """Return (free, total) bytes of the file system that holds the images; zeros when it cannot be seen."""
    try:
        usage = os.statvfs(_text(engine.system(), "DockerRootDir") or "/")
    except (OSError, EngineError):
        return (0, 0)
    return (usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize)


def _image_store(system: Mapping[str, Any]) -> str:
    status = system.get("DriverStatus") or []
    snapshotter = any("io.containerd.snapshotter" in str(value) for pair in status for value in pair)
    return "containerd" if snapshotter else "classic"


def _text(document: Dict[str, Any], key: str) -> str:
    value = document.get(key)
    return value if isinstance(value, str) else ""


def _number(document: Dict[str, Any], key: str) -> int:
    value = document.get(key)
    return value if isinstance(value, int) else 0
