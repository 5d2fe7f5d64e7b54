"""What a Dockerfile asks of its builder, read from the first file of a context that streams by.

Owns looking at the first member of a tar without consuming it, and recognising what only BuildKit
understands. When in doubt the classic builder is asked, and says itself what it does not know.
"""

from __future__ import annotations

import re
import tarfile
from typing import Iterable, Iterator, Tuple

MAX_DOCKERFILE = 1 << 20
"""Bytes of a Dockerfile that are looked at."""


def _lines(pattern: str) -> "re.Pattern[str]":
    return re.compile(rf"^\s*(?:{pattern})", re.IGNORECASE | re.MULTILINE)


_NEEDS: Tuple[Tuple[str, "re.Pattern[str]"], ...] = (
    ("a syntax directive", re.compile(r"\A\ufeff?\s*#\s*syntax\s*=", re.IGNORECASE)),
    ("RUN with --mount, --network or --security", _lines(r"RUN\s+--(?:mount|network|security)=")),
    (
        "COPY or ADD with --link, --chmod, --parents or --exclude",
        _lines(r"(?:COPY|ADD)\s+(?:--\S+\s+)*--(?:link|chmod|parents|exclude)\b"),
    ),
    ("a here-document", _lines(r"(?:RUN|COPY|ADD)\s[^\n]*<<-?[\"']?[A-Za-z_]")),
)


def needs_buildkit(dockerfile: str) -> str:
    """Return what in the Dockerfile needs BuildKit, or nothing."""
    joined = re.sub(r"[\\`][ \t]*\r?\n", " ", dockerfile)
    return next((what for what, pattern in _NEEDS if pattern.search(joined)), "")


def peek(pieces: Iterable[bytes]) -> Tuple[str, Iterator[bytes]]:
    """Return the text of the first file in the tar, and an iterator of the whole tar.

    The text is empty when the tar does not begin with a file that can be understood.
    """
    source, held = iter(pieces), bytearray()
    text = _first_file(source, held)
    return text, _chain(bytes(held), source)


def _first_file(source: Iterator[bytes], held: bytearray) -> str:
    at = 0
    while _fill(source, held, at + tarfile.BLOCKSIZE):
        try:
            info = tarfile.TarInfo.frombuf(
                bytes(held[at : at + tarfile.BLOCKSIZE]), "utf-8", "surrogateescape"
            )
        except tarfile.HeaderError:
            return ""
        at += tarfile.BLOCKSIZE
        blocks = -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if info.size > MAX_DOCKERFILE or not _fill(source, held, at + blocks):
            return ""
        if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            at += blocks
            continue
        return held[at : at + info.size].decode("utf-8", "replace") if info.isreg() else ""
    return ""


def _fill(source: Iterator[bytes], held: bytearray, length: int) -> bool:
    """Read until ``length`` bytes are held, at most; false when the stream ends before."""
    while len(held) < length:
        piece = next(source, None)
        if piece is None:
            return False
        held += piece
    return True


def _chain(held: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    if held:
        yield held
    yield from source
