"""HTTP over a unix socket, with one exception for everything that can go wrong.

Owns the connection, answers read piece by piece, and :class:`EngineError`. It must not know the paths
and the version of the engine's API: those are :mod:`.engine`'s.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
from typing import Any, BinaryIO, Dict, Iterator, Optional

from orchestrator.agent.http1 import Answer, Body, HttpError, send


class EngineError(Exception):
    """The engine refused a request or could not be asked.

    Attributes:
        status: HTTP status; 0 when there was no answer at all.
        message: The engine's own words, or what went wrong with the connection.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def not_found(self) -> bool:
        """The engine has no such object."""
        return self.status == 404

    @property
    def no_space(self) -> bool:
        """The engine's disk is full; it says so in words only."""
        return "no space left on device" in self.message.lower()


class UnixConnection:
    """A connection to a unix socket, made when it is first needed.

    Args:
        socket_path: The socket.
        timeout: Seconds without progress before a send or receive fails; ``None`` waits for ever.
    """

    def __init__(self, socket_path: str, timeout: Optional[float]) -> None:
        self.sock: Optional[socket.socket] = None
        self._stream: Optional[BinaryIO] = None
        self._socket_path = socket_path
        self._seconds = timeout

    def connected(self) -> socket.socket:
        """Return the socket, connected.

        Raises:
            OSError: Nobody listens there, or we may not.
        """
        if self.sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(self._seconds)
                sock.connect(self._socket_path)
            except OSError:
                sock.close()
                raise
            self.sock = sock
        return self.sock

    def answer(self) -> Answer:
        """Return the answer to the request that was sent last; what was sent too much before is dropped.

        Raises:
            HttpError: It is not one.
            OSError: The connection broke.
        """
        if self._stream is not None:
            self._stream.close()
        self._stream = self.connected().makefile("rb")
        return Answer(self._stream)

    def close(self) -> None:
        """Hang up."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        if self.sock is not None:
            self.sock.close()
            self.sock = None

    def set_timeout(self, seconds: Optional[float]) -> None:
        """Fail any further send or receive that makes no progress for ``seconds``."""
        self._seconds = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    @property
    def stale(self) -> bool:
        """The other side has hung up (or spoken out of turn) while the connection was idle."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))


class Response:
    """An answer that is read piece by piece."""

    def __init__(self, answer: Answer, sock: socket.socket) -> None:
        self._answer = answer
        self._socket = sock
        self.status = answer.status

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes (all that is left when negative); empty at the end.

        Raises:
            EngineError: The connection broke, or was silent for too long.
        """
        with connection_errors():
            return self._answer.read(size)

    def read_some(self, size: int = 65536) -> bytes:
        """Return what has arrived, at most ``size`` bytes; blocks for the first; empty at the end."""
        with connection_errors():
            return self._answer.read1(size)

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """Yield the body in pieces of at most ``size`` bytes, as they arrive."""
        while True:
            piece = self.read_some(size)
            if not piece:
                return
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines without their line feed, as they arrive."""
        pending = b""
        for piece in self.chunks():
            *complete, pending = (pending + piece).split(b"\n")
            yield from complete
        if pending:
            yield pending

    def documents(self) -> Iterator[Any]:
        """Yield the JSON documents of a body that has one a line (build, pull, load, events)."""
        for line in self.lines():
            if line.strip():
                yield loads(line)

    @property
    def finished(self) -> bool:
        """The body has been read to its end, and the connection can be used for another request."""
        return self._answer.finished and not self._answer.closes

    def abort(self) -> None:
        """End the answer now, from any thread: whoever reads it sees its end or an error."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def connection_errors() -> Iterator[None]:
    """Turn what a broken or silent connection raises into :class:`EngineError`."""
    try:
        yield
    except socket.timeout as error:
        raise EngineError(0, "the engine did not answer in time") from error
    except (OSError, HttpError) as error:
        raise EngineError(0, f"cannot talk to the engine: {error or type(error).__name__}") from error


def exchange(
    connection: UnixConnection, method: str, url: str, body: Body, headers: Dict[str, str]
) -> Response:
    """Send a request and return its answer, also when the engine answers before it has read everything."""
    with connection_errors():
        sock = connection.connected()
        send(sock, method, url, {"Host": "localhost", **headers}, body)
        return Response(connection.answer(), sock)


def refusal(response: Response) -> str:
    """Return the engine's own words in an answer that refuses."""
    text = response.read(65536).decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text or f"status {response.status}"
    message = document.get("message") or document.get("cause") if isinstance(document, dict) else ""
    return str(message or text)


def loads(text: bytes) -> Any:
    """Return the value of JSON text.

    Raises:
        EngineError: It is something else.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise EngineError(0, "the engine answered something that is not JSON") from error
