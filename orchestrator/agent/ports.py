"""Who holds a port of this host.

Owns looking: among the engine's containers, then among the host's own processes. It must not know why
somebody wants to know. Nothing here is decided by the words of an error message.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Iterator, Optional

from orchestrator.agent.engine import Engine
from orchestrator.protocol.instance import Port

_LISTEN = "0A"
_TABLES = {"tcp": ("tcp", "tcp6"), "udp": ("udp", "udp6")}


def holder(engine: Engine, port: Port, proc: Path = Path("/proc")) -> Optional[str]:
    """Return who holds the published ``port``, or ``None`` when nobody is seen to.

    Raises:
        orchestrator.agent.engine.EngineError: The engine cannot be asked.
    """
    if not port.published:
        return None
    for container in engine.get("/containers/json") or ():
        for binding in container.get("Ports") or ():
            if binding.get("PublicPort") == port.published and binding.get("Type") == port.protocol:
                return f"container {str((container.get('Names') or ['?'])[0]).lstrip('/')}"
    inode = _listener(proc, port)
    return None if inode is None else _process(proc, inode) or "another program on the host"


def _listener(proc: Path, port: Port) -> Optional[str]:
    """Return the inode of the socket that listens on ``port``."""
    for table in _TABLES.get(port.protocol, ()):
        try:
            lines = (proc / "net" / table).read_text("ascii").splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            listens = port.protocol == "udp" or fields[3] == _LISTEN
            if listens and int(fields[1].rpartition(":")[2], 16) == port.published:
                return fields[9]
    return None


def _process(proc: Path, inode: str) -> Optional[str]:
    for folder in _processes(proc):
        try:
            if any(os.readlink(path) == f"socket:[{inode}]" for path in (folder / "fd").iterdir()):  # noqa: PTH115
                return f"{(folder / 'comm').read_text('utf-8').strip()} (pid {folder.name})"
        except OSError:
            continue  # it ended, or is not ours to look into
    return None


def _processes(proc: Path) -> Iterator[Path]:
    return (folder for folder in proc.iterdir() if folder.name.isdecimal())
