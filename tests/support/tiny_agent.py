"""An agent in one file, for tests of what carries one: greets, echoes bodies, knows nothing of engines.

It becomes ``orchestrator/agent/__main__.py`` of a bundle, so it imports the protocol alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from orchestrator.protocol.codec import encode
from orchestrator.protocol.connection import (
    Connection,
    Data,
    EndOfData,
    Event,
    HelloEvent,
    Ping,
    Pong,
    Request,
    Response,
    Role,
    Window,
)
from orchestrator.protocol.frames import PREFACE
from orchestrator.protocol.messages import PROTOCOL_VERSION, Exited, Found, Hello, HostReport


def hello() -> Hello:
    """Introduce this process."""
    return Hello(
        protocol=PROTOCOL_VERSION,
        agent=hashlib.sha256(Path(sys.argv[0]).read_bytes()).hexdigest(),
        hostname="tiny",
        boot_id="",
        pid=os.getpid(),
        uid=os.getuid(),
        python=sys.version.split()[0],
        clock=0.0,
        root=sys.argv[3],
    )


def answers(event: Event) -> list[Event]:
    """Return what to say about ``event``."""
    if isinstance(event, Ping):
        return [Pong()]
    if isinstance(event, Request) and event.method == "observe":
        return [Response(event.stream, encode(HostReport(epoch=1, key="00")))]
    if isinstance(event, Request) and event.method == "find":
        return [Response(event.stream, encode(Found()))]
    if isinstance(event, Data):
        return [Window(event.stream, len(event.data)), Data(event.stream, event.data)]
    if isinstance(event, EndOfData):
        return [EndOfData(event.stream), Response(event.stream, encode(Exited(0)))]
    return []


def main() -> int:
    """Serve one controller."""
    connection = Connection(Role.AGENT)
    sys.stderr.write("tiny agent \x1b[31mruns\n")
    sys.stderr.flush()
    write(PREFACE + connection.send(HelloEvent(encode(hello()))))
    while data := os.read(0, 65536):
        for event in connection.receive_data(data):
            for answer in answers(event):
                write(connection.send(answer))
    return 0


def write(data: bytes) -> None:
    """Write all of ``data`` to stdout."""
    while data:
        data = data[os.write(1, data) :]
