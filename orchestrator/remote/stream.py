"""A byte stream to an SSH server: a TCP connection, or what a proxy command makes of its pipes.

Owns how the stream comes to be and how it ends. It must not know SSH.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile

from orchestrator.errors import HostUnreachable
from orchestrator.remote.ssh_config import Target
from orchestrator.remote.transport import Tail

_GRACE = 1.0
"""Seconds a proxy command gets to end by itself."""


class Dropped(Exception):  # noqa: N818 - internal to this folder, caught by the connector
    """The host closed the connection before it said anything: it is worth another try."""


class Stream:
    """A connected socket, with what must end along with it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

    def close(self) -> None:
        """End the stream. May be called twice."""
        self.socket.close()

    def last_words(self) -> tuple[str, ...]:
        """Return what can be said about an early end, for people."""
        return ()


class ProxyStream(Stream):
    """A command whose input and output are the connection, as OpenSSH's ``ProxyCommand`` has it."""

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        # A file, since nobody would read a pipe while the connection lives.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the stream
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"], stdin=end, stdout=end, stderr=self._stderr
            )

    def close(self) -> None:
        """End the stream and the command."""
        super().close()
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def last_words(self) -> tuple[str, ...]:
        """Return the last lines the command wrote to stderr."""
        tail = Tail()
        self._stderr.seek(0)
        while data := self._stderr.read(65536):
            tail.feed(data)
        return tail.lines()


def open_stream(target: Target) -> Stream:
    """Connect to ``target``, which has no jump host.

    Raises:
        HostUnreachable: It does not answer.
        Dropped: It closed the connection at once.
    """
    if target.proxy_command:
        return ProxyStream(target.proxy_command)
    where = f"{target.address} port {target.port}"
    try:
        stream = socket.create_connection((target.address, target.port), target.timeout)
    except ConnectionResetError as error:
        raise Dropped(reason(error)) from error
    except TimeoutError as error:
        raise HostUnreachable(
            target.name,
            f"cannot connect to {where}: no answer in {target.timeout:g} seconds",
            hint="is the host up, and may its SSH port be reached from here?",
        ) from error
    except OSError as error:
        raise HostUnreachable(
            target.name,
            f"cannot connect to {where}: {reason(error)}",
            hint="is the host up, and is the address right?",
        ) from error
    with contextlib.suppress(OSError):  # not every kind of socket has them, and all work without
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return Stream(stream)


def reason(error: BaseException) -> str:
    """Return an exception's own words in the style of our messages."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    return text[:1].lower() + text[1:] if text else type(error).__name__
