"""Frames: how one byte stream carries many requests at once, and the limits of every part.

Owns the layout of a frame and its incremental, bounded decoder. It must not know what order frames
may come in, which is :mod:`.connection`'s, nor what the messages mean.

A frame is a nine-byte header and a payload: kind (one byte), stream (four bytes, big-endian), length
(four bytes, big-endian). Stream 0 is the connection itself; a request and all that belongs to it
share a stream of their own.

A reader holds one unfinished frame at most, so never more than :data:`MAX_MESSAGE` bytes.
"""

from __future__ import annotations

import enum
import json
import struct
from typing import Any, Dict, List, Tuple

PREFACE = b"\x00deploy:agent-1\n"
"""What an agent writes before its first frame. The NUL cannot come from a shell's greeting by chance."""

HEADER = struct.Struct(">BII")
MAX_DATA = 256 * 1024
"""Bytes in one piece of a body. Large enough that the cost per frame does not matter, small enough
that a heartbeat or a progress message never waits long behind one."""
MAX_MESSAGE = 8 * 1024 * 1024
"""Bytes of JSON in one message. A host with 300 instances and ten releases needs about 5 MiB."""
MAX_HELLO = 64 * 1024
WINDOW = 16 * 1024 * 1024
"""Bytes of one body, in one direction, that may be under way before the consumer has taken some."""
MAX_STREAMS = 64
"""Requests under way at once."""

_CREDIT = struct.Struct(">I")


class Kind(enum.IntEnum):
    """What a frame is. The numbers are the wire's."""

    HELLO = 1
    REQUEST = 2
    PROGRESS = 3
    DATA = 4
    END = 5
    RESPONSE = 6
    FAILED = 7
    CANCEL = 8
    WINDOW = 9
    PING = 10
    PONG = 11


LIMITS: Dict[int, int] = {
    Kind.HELLO: MAX_HELLO,
    Kind.REQUEST: MAX_MESSAGE,
    Kind.PROGRESS: MAX_MESSAGE,
    Kind.DATA: MAX_DATA,
    Kind.END: 0,
    Kind.RESPONSE: MAX_MESSAGE,
    Kind.FAILED: MAX_MESSAGE,
    Kind.CANCEL: 0,
    Kind.WINDOW: _CREDIT.size,
    Kind.PING: 0,
    Kind.PONG: 0,
}
"""The longest payload of each kind, in bytes."""

Frame = Tuple[int, int, bytes]
"""Kind, stream, payload."""


class ProtocolError(Exception):
    """The protocol was broken; the subclass says by whom."""


class LocalProtocolError(ProtocolError):
    """This end tried to send what it must not: a defect in this program, nothing was sent."""


class RemoteProtocolError(ProtocolError):
    """The other end sent what it must not: the connection is of no further use."""


def pack(kind: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame.

    Raises:
        LocalProtocolError: The payload is longer than its kind allows.
    """
    if len(payload) > LIMITS[kind]:
        raise LocalProtocolError(f"a {Kind(kind).name} of {len(payload)} bytes, {LIMITS[kind]} are allowed")
    return HEADER.pack(kind, stream, len(payload)) + payload


def pack_json(value: Any) -> bytes:
    """Return ``value`` as the JSON of a payload.

    Raises:
        LocalProtocolError: It has no JSON form.
    """
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LocalProtocolError(f"cannot express the message as JSON: {error}") from error


def unpack_json(payload: bytes) -> Any:
    """Return the value of a JSON payload.

    Raises:
        RemoteProtocolError: It is not UTF-8 JSON, holds NaN or an infinity, half a surrogate pair, or
            is nested deeper than the interpreter can follow.
    """
    try:
        value = json.loads(payload.decode(), parse_constant=_refuse_constant)
        if b"\\u" in payload:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a message that is not JSON: {error}") from error
    return value


def pack_credit(credit: int) -> bytes:
    """Return the payload of a window frame."""
    return _CREDIT.pack(credit)


def unpack_credit(payload: bytes) -> int:
    """Return the bytes a window frame gives back.

    Raises:
        RemoteProtocolError: The payload is not four bytes.
    """
    if len(payload) != _CREDIT.size:
        raise RemoteProtocolError("a window frame of the wrong length")
    return int(_CREDIT.unpack(payload)[0])


class FrameDecoder:
    """Turns received bytes into frames, in any chunking, in time linear in the bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def buffered(self) -> int:
        """Bytes of the frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> List[Frame]:
        """Return the frames that ``data`` completes.

        Raises:
            RemoteProtocolError: A header names an unknown kind or a payload that is too long. It is
                raised as soon as the header is there: the payload is never awaited.
        """
        buffer = self._buffer
        buffer += data
        frames: List[Frame] = []
        start, size = 0, len(buffer)
        with memoryview(buffer) as view:
            while size - start >= HEADER.size:
                kind, stream, length = HEADER.unpack_from(view, start)
                limit = LIMITS.get(kind)
                if limit is None:
                    raise RemoteProtocolError(f"a frame of unknown kind {kind}")
                if length > limit:
                    raise RemoteProtocolError(f"a {Kind(kind).name} of {length} bytes, {limit} are allowed")
                end = start + HEADER.size + length
                if end > size:
                    break
                frames.append((kind, stream, bytes(view[start + HEADER.size : end])))
                start = end
        # Removing from the front of a bytearray moves a pointer, not the bytes.
        del buffer[:start]
        return frames


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
