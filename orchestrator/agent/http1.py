"""As much of HTTP/1.1 as an engine and a health check speak: a request, then its answer, piece by piece.

Owns the bytes of a request's head and body, the head of an answer and the three ways its body ends
(RFC 9112: a length, chunks, the end of the connection). It must not know what is asked, nor how the
socket was connected.

``http.client`` does the same and brings ``email`` and ``ssl``: 17 ms of CPU in every start of the agent,
a quarter of an idle run. Decision record 7 has the figures.
"""

from __future__ import annotations

import contextlib
import re
import socket
from typing import BinaryIO, Dict, Iterable, List, Mapping, Optional, Tuple, Union

Body = Union[bytes, Iterable[bytes], None]

_LONGEST_LINE = 65536
_MOST_HEADERS = 100
_TARGET = re.compile(r"[!-~]+")
_STATUS = re.compile(r"HTTP/1\.[0-9]+ +([1-5][0-9][0-9])(?: +(.*))?")
_SIZE = re.compile(r"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")
_LENGTH = re.compile(r"[0-9]{1,18}")
_EMPTY = (204, 304)


class HttpError(Exception):
    """The other side does not speak HTTP, or hung up in the middle of an answer."""


def send(
    sock: socket.socket, method: str, target: str, headers: Mapping[str, str], body: Body = None
) -> None:
    """Send a request; pieces of a body are sent as they come.

    Returns also when the other side hangs up meanwhile: its answer says why.

    Raises:
        ValueError: ``target`` is not one that HTTP allows.
        OSError: The connection broke.
    """
    if not _TARGET.fullmatch(target):
        raise ValueError(f"cannot ask for {target[:80]!r} over HTTP")
    lines = [f"{method} {target} HTTP/1.1", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    whole = body if isinstance(body, bytes) else b""
    if body is not None and not isinstance(body, bytes):
        lines.append("Transfer-Encoding: chunked")
    elif body is not None or method != "GET":
        lines.append(f"Content-Length: {len(whole)}")
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(head + whole)
        if body is not None and not isinstance(body, bytes):
            for piece in body:
                if piece:
                    sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")


class Answer:
    """The answer to a request that was sent.

    Args:
        stream: What the other side sends; it is read no further than this answer, buffering aside.

    Raises:
        HttpError: It is not an answer.
        OSError: The connection broke.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        """What is left of it after an upgrade is no longer HTTP."""
        self.status, self.reason = _status(stream)
        self.headers = _headers(stream)
        """By their names in lower case."""
        while 100 <= self.status < 200 and self.status != 101:
            self.status, self.reason = _status(stream)
            self.headers = _headers(stream)
        self._chunked = self.headers.get("transfer-encoding", "").lower() == "chunked"
        self._left = 0 if self._chunked else _length(self.status, self.headers)
        self.finished = not self._chunked and self._left == 0
        """The body has been read to its end."""

    @property
    def closes(self) -> bool:
        """The connection cannot be used for another request."""
        return self._left is None or self.headers.get("connection", "").lower() == "close"

    def read(self, size: int = -1) -> bytes:
        """Return ``size`` bytes of the body, fewer at its end; all that is left when negative."""
        pieces: List[bytes] = []
        while size:
            piece = self.read1(65536 if size < 0 else size)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece) if size > 0 else 0
        return b"".join(pieces)

    def read1(self, size: int) -> bytes:
        """Return what has arrived, at most ``size`` bytes; blocks for the first; empty at the end.

        Raises:
            HttpError: The other side hung up before the end, or broke the rules of chunks.
            OSError: The connection broke, or was silent for too long.
        """
        if self._chunked and not self.finished and self._left == 0:
            self._begin_chunk()
        if self.finished:
            return b""
        piece: bytes = self.stream.read1(size if self._left is None else min(size, self._left))  # type: ignore[attr-defined]
        if self._left is None:
            self.finished = not piece
            return piece
        if not piece:
            raise HttpError("the answer ended in the middle")
        self._left -= len(piece)
        if self._left == 0 and self._chunked:
            if _line(self.stream):
                raise HttpError("a chunk is longer than it says")
        elif self._left == 0:
            self.finished = True
        return piece

    def _begin_chunk(self) -> None:
        size = _SIZE.fullmatch(_line(self.stream))
        if size is None:
            raise HttpError("a chunk without its size")
        self._left = int(size[1], 16)
        if self._left == 0:
            _headers(self.stream)
            self.finished = True


def _line(stream: BinaryIO) -> str:
    line = stream.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise HttpError("a line too long" if len(line) == _LONGEST_LINE else "the connection was closed")
    return line.rstrip(b"\r\n").decode("latin-1")


def _status(stream: BinaryIO) -> Tuple[int, str]:
    found = _STATUS.fullmatch(_line(stream))
    if found is None:
        raise HttpError("the answer is not HTTP")
    return int(found[1]), (found[2] or "").strip()


def _headers(stream: BinaryIO) -> Dict[str, str]:
    headers: Dict[str, str] = {}
    for _ in range(_MOST_HEADERS):
        line = _line(stream)
        if not line:
            return headers
        name, _colon, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise HttpError("too many headers")


def _length(status: int, headers: Mapping[str, str]) -> Optional[int]:
    """Return how long a body without chunks is; ``None``: until the connection ends."""
    if status < 200 or status in _EMPTY:
        return 0
    length = headers.get("content-length")
    if length is None:
        return None
    if not _LENGTH.fullmatch(length):
        raise HttpError("a length that is no number")
    return int(length)
