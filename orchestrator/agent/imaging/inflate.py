"""Inflating gzip in bounded memory.

Owns one loop: a few compressed bytes may stand for a thousand times as many, so output is taken in
pieces of limited size.
"""

from __future__ import annotations

from typing import Any, Iterator

PIECE = 1 << 18
"""Most bytes of output at a time."""


def bounded(inflater: Any, data: bytes) -> Iterator[bytes]:
    """Yield what ``data`` inflates to.

    Args:
        inflater: A ``zlib.decompressobj``.
        data: The next compressed bytes.

    Raises:
        zlib.error: They are not what they should be.
    """
    while data:
        plain = inflater.decompress(data, PIECE)
        if plain:
            yield plain
        data = inflater.unconsumed_tail
