"""Ports that somebody else holds already, found before HAProxy is asked to listen on them.

HAProxy shares ports (SO_REUSEPORT) with whoever allows it, so binding one that another router of the
same user has would succeed and split the traffic: that has to be seen here. It must not know the picture.
"""

from __future__ import annotations

import ipaddress
import struct
from pathlib import Path
from typing import Iterator, Optional, Tuple

from orchestrator.agent import ports
from orchestrator.agent.engine import Engine
from orchestrator.protocol.instance import Port

_LISTEN = "0A"


def holder(engine: Engine, address: str, port: int, proc: Path = Path("/proc")) -> Optional[str]:
    """Return who listens where ``address`` (empty: all) and ``port`` would; ``None`` when nobody does.

    Raises:
        orchestrator.agent.engine.EngineError: The engine cannot be asked.
    """
    if not any(taken == port and _overlap(address, other) for other, taken in _listening(proc)):
        return None
    return ports.holder(engine, Port(target=port, published=port), proc) or "another program on the host"


def _overlap(wanted: str, other: str) -> bool:
    first, second = ipaddress.ip_address(wanted or "0.0.0.0"), ipaddress.ip_address(other)  # noqa: S104
    return first == second or first.is_unspecified or second.is_unspecified


def _listening(proc: Path) -> Iterator[Tuple[str, int]]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / name).read_text("ascii").splitlines()[1:]
        except OSError:
            continue  # a kernel without IPv6
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTEN:
                address, _, port = fields[1].partition(":")
                yield _address(address), int(port, 16)


def _address(text: str) -> str:
    """Read the kernel's form: 32-bit words, each in the order of the machine."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(struct.pack("=I", word) for word in words)))
