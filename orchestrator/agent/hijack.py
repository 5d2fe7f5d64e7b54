"""Connections that stop being HTTP: the input and output of a process in a container.

Owns the upgrade, reading and writing raw bytes, and the engine's framing of two outputs in one
stream. It must not know what runs at the other end.
"""

from __future__ import annotations

import contextlib
import io
import json
import socket
import struct
import time
from typing import Any, BinaryIO, Callable, Iterator, Optional

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.http1 import Answer, HttpError, send

_HEADER = struct.Struct(">BxxxL")
_PAUSE = 0.01
MAX_PIECE = 65536
"""Bytes given on at once, however much the engine puts into one of its frames."""


class Hijacked:
    """A connection to a process."""

    def __init__(self, sock: socket.socket, stream: BinaryIO) -> None:
        self._socket = sock
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Send input to the process.

        Raises:
            EngineError: It takes none any more.
        """
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise EngineError(0, f"the process takes no more input: {error}") from error

    def close_input(self) -> None:
        """Say that the input is complete."""
        with contextlib.suppress(OSError):  # the process has gone: it needs no more telling
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End the connection now, from any thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def output(self, *, tty: bool) -> Iterator[bytes]:
        """Yield what the process writes, both outputs in the order the engine saw them.

        Raises:
            EngineError: The connection broke in the middle of a frame, or was silent too long.
        """
        read = self._stream.read1 if isinstance(self._stream, io.BufferedReader) else self._stream.read
        try:
            if not tty:
                yield from demultiplex(read)
                return
            while True:
                piece = read(MAX_PIECE)
                if not piece:
                    return
                yield piece
        except OSError as error:
            raise EngineError(0, f"lost the connection to the process: {error}") from error


def demultiplex(read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the payloads of the engine's frames: a stream number, three zeros, a length, the bytes.

    Args:
        read: Returns at most so many bytes, none at the end.

    Raises:
        EngineError: The stream ended inside a frame.
    """
    while True:
        header = _exactly(read, _HEADER.size)
        if header is None:
            return
        left = _HEADER.unpack(header)[1]
        while left:
            piece = read(min(left, MAX_PIECE))
            if not piece:
                raise EngineError(0, "the output ended inside a frame")
            left -= len(piece)
            yield piece


def _exactly(read: Callable[[int], bytes], size: int) -> Optional[bytes]:
    data = b""
    while len(data) < size:
        piece = read(size - len(data))
        if not piece:
            if data:
                raise EngineError(0, "the output ended inside a frame")
            return None
        data += piece
    return data


@contextlib.contextmanager
def hijack(engine: Engine, path: str, body: Any, *, timeout: Optional[float] = None) -> Iterator[Hijacked]:
    """POST ``body`` to ``path`` and take the connection over.

    Args:
        engine: Whose socket and API version to use.
        path: Without the version prefix, as ``/exec/ID/start``.
        body: JSON values.
        timeout: Seconds without a byte before reading fails; ``None`` waits for ever.

    Raises:
        EngineError: The engine refused, or could not be asked.
    """
    headers = {
        "Host": "localhost",
        "Connection": "Upgrade",
        "Upgrade": "tcp",
        "Content-Type": "application/json",
    }
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout)
        with contextlib.ExitStack() as stack:
            try:
                sock.connect(engine.socket_path)
                send(sock, "POST", engine.url(path), headers, json.dumps(body).encode())
                stream = stack.enter_context(sock.makefile("rb"))
                _expect_upgrade(Answer(stream))
            except (OSError, HttpError) as error:
                raise EngineError(0, f"cannot talk to the engine: {error}") from error
            yield Hijacked(sock, stream)


def exit_status(engine: Engine, exec_id: str, patience: float = 5.0) -> int:
    """Return the exit status of a command whose output has ended.

    The end of the output comes a moment before the engine knows the status.

    Raises:
        EngineError: The engine cannot be asked, or the command goes on without output for ``patience``
            seconds.
    """
    give_up = time.monotonic() + patience
    while True:
        inspect = engine.get(f"/exec/{exec_id}/json")
        if not inspect.get("Running") and inspect.get("ExitCode") is not None:
            return int(inspect["ExitCode"])
        if time.monotonic() > give_up:
            raise EngineError(0, "the command has closed its output and goes on")
        time.sleep(_PAUSE)


def _expect_upgrade(answer: Answer) -> None:
    if answer.status in (101, 200):
        return
    text = answer.read(MAX_PIECE)
    try:
        message = str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        message = text.decode("utf-8", "replace") or f"status {answer.status}"
    raise EngineError(answer.status, message)
