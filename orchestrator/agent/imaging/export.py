"""Reading images out of the engine's own export, where its files cannot be read.

Owns the docker-archive as a stream: members come in any order, so layers are recognised by the hash of
their content, written to a spool only while that is not known, and dropped when nobody wants them. The
archive is not trusted: only regular members are looked at, none is ever written under its own name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import IO, Dict, Iterator, NamedTuple, Sequence, Set

from orchestrator.agent.engine import Engine, Response
from orchestrator.agent.handler import Refusal
from orchestrator.agent.imaging.inflate import bounded

PIECE = 1 << 18
MAX_CONFIG = 4 << 20
"""Bytes; the longest configuration that is believed to be one."""


class Exported(NamedTuple):
    """What was found."""

    config: str
    """Verbatim."""
    layers: Dict[str, Path]
    """Diff id -> its uncompressed tar, for as long as the export is open."""


@contextlib.contextmanager
def export(engine: Engine, image: str, wanted: Sequence[str], spool: Path) -> Iterator[Exported]:
    """Read the configuration and the layers ``wanted`` of ``image`` out of the engine's export.

    Args:
        engine: Its ``GET /images/{id}/get`` is read.
        image: Image id.
        wanted: Diff ids.
        spool: Folder for the layers; they are gone when the block ends.

    Raises:
        Refusal: ``not-found``: the archive lacks something.
        EngineError: The engine refused.
    """
    with tempfile.TemporaryDirectory(prefix=".export-", dir=spool) as folder:
        reader = _Reader(image, set(wanted), folder)
        with engine.stream("GET", f"/images/{image}/get") as response, _archive(response) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    reader.member(member, file)
        if not reader.config or reader.left:
            raise Refusal("not-found", f"the engine's export of {image} lacks its configuration or a layer")
        yield Exported(reader.config, reader.layers)


def _archive(response: Response) -> tarfile.TarFile:
    return tarfile.open(fileobj=_Stream(response), mode="r|")  # type: ignore[call-overload,no-any-return]


class _Reader:
    """Looks at one member after the other."""

    def __init__(self, image: str, left: Set[str], folder: str) -> None:
        self.config = ""
        self.layers: Dict[str, Path] = {}
        self.left = left
        self._digits = image[len("sha256:") :]
        self._folder = folder

    def member(self, member: tarfile.TarInfo, file: IO[bytes]) -> None:
        """Take what is wanted of one member."""
        if member.name in (f"{self._digits}.json", f"blobs/sha256/{self._digits}"):
            text = file.read(MAX_CONFIG)
            if hashlib.sha256(text).hexdigest() == self._digits:
                self.config = text.decode()
            return
        if not self.left:
            return
        first = file.read(PIECE)
        zipped = first.startswith(b"\x1f\x8b")
        if not zipped and self._named_otherwise(member.name):
            return
        handle, path = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "wb") as spool:
            diff_id = _copy(first, file, spool, zipped=zipped)
        if diff_id in self.left:
            self.left.remove(diff_id)
            self.layers[diff_id] = Path(path)
        else:
            Path(path).unlink()

    def _named_otherwise(self, name: str) -> bool:
        """Whether an uncompressed member says by its name that nobody wants it."""
        folder, _, digits = name.rpartition("/")
        return folder == "blobs/sha256" and f"sha256:{digits}" not in self.left


def _copy(first: bytes, file: IO[bytes], spool: IO[bytes], *, zipped: bool) -> str:
    """Write a member, uncompressed, to ``spool`` and return its address."""
    running, inflater = hashlib.sha256(), zlib.decompressobj(31)
    piece = first
    while piece:
        for plain in bounded(inflater, piece) if zipped else (piece,):
            running.update(plain)
            spool.write(plain)
        piece = file.read(PIECE)
    return f"sha256:{running.hexdigest()}"


class _Stream:
    """An answer's body as the file that `tarfile` reads."""

    def __init__(self, response: Response) -> None:
        self._response = response

    def read(self, size: int) -> bytes:
        return self._response.read(size)
