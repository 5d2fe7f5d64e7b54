"""Layers one after the other as one stream of bytes: the body of ``load`` and of ``save``.

Owns the framing: before each blob a four-byte big-endian length and that many bytes of JSON, a
:class:`~orchestrator.protocol.messages.Layer`; then the blob from ``offset`` to ``size``. One reader
serves both ends. Sans-IO and bounded: it holds a header at most, never a blob.
"""

from __future__ import annotations

import json
import struct
from typing import Iterator, Optional, Union

from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.messages import Layer
from orchestrator.protocol.records import dataclass

_LENGTH = struct.Struct(">I")
MAX_HEADER = 4096
"""Bytes; a header is about 250."""


@dataclass(frozen=True)
class LayerBegins:
    """A blob starts."""

    layer: Layer


@dataclass(frozen=True)
class LayerData:
    """The next bytes of the current blob."""

    data: bytes


@dataclass(frozen=True)
class LayerEnds:
    """The current blob is complete. Its digest has not been checked: whoever stores it does that."""

    layer: Layer


LayerEvent = Union[LayerBegins, LayerData, LayerEnds]


def header(layer: Layer) -> bytes:
    """Return the bytes that come before the blob of ``layer``."""
    body = canonical(layer)
    return _LENGTH.pack(len(body)) + body


class LayerReader:
    """Turns received bytes into layer events."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._layer: Optional[Layer] = None
        self._left = 0

    def receive(self, data: bytes) -> Iterator[LayerEvent]:
        """Yield what ``data`` completes.

        Raises:
            WireError: The stream is not one of layers.
        """
        self._buffer += data
        while True:
            if self._layer is not None:
                take = min(self._left, len(self._buffer))
                if take:
                    piece = bytes(self._buffer[:take])
                    del self._buffer[:take]
                    self._left -= take
                    yield LayerData(piece)
                if self._left:
                    return
                layer, self._layer = self._layer, None
                yield LayerEnds(layer)
            begun = self._take_header()
            if begun is None:
                return
            self._layer, self._left = begun, begun.size - begun.offset
            yield LayerBegins(begun)

    def close(self) -> None:
        """Say that no more bytes come.

        Raises:
            WireError: The stream ended in the middle of a header or of a blob.
        """
        if self._layer is not None or self._buffer:
            raise WireError("layers: the stream ended in the middle of a layer")

    def _take_header(self) -> Optional[Layer]:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_HEADER:
            raise WireError(f"layers: a header of {length} bytes")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        text = bytes(self._buffer[_LENGTH.size : _LENGTH.size + length])
        del self._buffer[: _LENGTH.size + length]
        try:
            layer = decode(Layer, json.loads(text))
        except ValueError as error:
            raise WireError(f"layers: {error}") from error
        if not 0 <= layer.offset <= layer.size:
            raise WireError("layers: an offset outside its blob")
        return layer
