"""Layers on their way into this host's engine: kept as they come, proven, handed on.

Owns the files below ``layers/`` of the agent's state directory.

::

    <diff id>.<digest>.part   what has arrived of a blob; an interrupted transfer goes on from here

A layer is inflated while it arrives, and handed on at once: inside of the transfer, and cheaper than by
the engine (decision record 8). Its last piece is held back until the digest of the whole blob is proven,
so that nobody is ever given a whole layer that is damaged. That its content has its diff id is proven by
the engine, which hashes every layer anyhow.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import time
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Iterator, List

from orchestrator.agent.handler import Refusal
from orchestrator.agent.imaging.inflate import bounded
from orchestrator.protocol.messages import Layer, WantedLayer

GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
TAR = "application/vnd.oci.image.layer.v1.tar"
PIECE = 1 << 18
_ABANDONED = 7 * 24 * 3600.0
_ADDRESS = re.compile(r"sha256:[0-9a-f]{64}")
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Spool:
    """One folder of layers under way. One process and one thread use it at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wanted(self, diff_id: str) -> WantedLayer:
        """Return what is still needed of a layer."""
        parts = self._parts(diff_id)
        if not parts:
            return WantedLayer(diff_id)
        return WantedLayer(diff_id, f"sha256:{parts[-1].name.split('.')[1]}", parts[-1].stat().st_size)

    def receive(self, layer: Layer) -> "Receiver":
        """Begin to receive a blob.

        Raises:
            Refusal: ``bad-request``: it does not go on from what is here; ``no-space``.
        """
        part = self._folder / f"{_hex(layer.diff_id)}.{_hex(layer.digest)}.part"
        have = part.stat().st_size if part.is_file() else 0
        if layer.offset not in (0, have) or layer.media_type not in (GZIP, TAR):
            raise Refusal("bad-request", "a layer does not go on from what this host has of it")
        missing = layer.size - layer.offset
        if missing > free_bytes(self._folder):
            raise no_space(self._folder, missing)
        for other in self._parts(layer.diff_id):
            if other != part or not layer.offset:
                other.unlink()
        return Receiver(layer, part)

    def discard(self, diff_id: str) -> None:
        """Drop what is here of a layer: the engine has it, or it is of no use."""
        for part in self._parts(diff_id):
            part.unlink()

    def sweep(self) -> None:
        """Drop what interrupted transfers left when it is a week old."""
        before = time.time() - _ABANDONED
        for file in self._folder.iterdir():
            if file.name == "lock" or file.stat().st_mtime >= before:
                continue
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)

    def _parts(self, diff_id: str) -> List[Path]:
        return sorted(self._folder.glob(f"{_hex(diff_id)}.*.part"))


class Receiver:
    """One blob that is arriving. What its methods yield, joined, is the uncompressed layer."""

    def __init__(self, layer: Layer, part: Path) -> None:
        self._layer = layer
        self._part = part
        self._blob = hashlib.sha256()
        self._inflater: Any = zlib.decompressobj(31) if layer.media_type == GZIP else None
        self.size = layer.plain if layer.media_type == GZIP else layer.size
        """Bytes of the uncompressed layer."""
        self._left = self.size
        self._held = b""
        self._file: BinaryIO

    def __enter__(self) -> "Receiver":  # noqa: PYI034 - Self came with python 3.11
        self._file = self._part.open("ab", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def kept(self) -> Iterator[bytes]:
        """Yield what an interrupted transfer left here."""
        with self._part.open("rb") as file:
            for piece in iter(lambda: file.read(PIECE), b""):
                yield from self._hand_on(piece)

    def take(self, data: bytes) -> Iterator[bytes]:
        """Keep the next bytes, and yield what they complete.

        Raises:
            Refusal: ``digest-mismatch``: they are not gzip, or too much; ``no-space``; or ``internal``: the
                file system is damaged.
        """
        try:
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            if error.errno in _FULL:
                raise no_space(self._part.parent, self._layer.size) from error
            raise Refusal("internal", f"cannot keep a layer: {error}") from error
        yield from self._hand_on(data)

    def finish(self) -> bytes:
        """Say that the blob is complete, and return its last bytes.

        Raises:
            Refusal: ``digest-mismatch``: it is not what it should be; nothing of it is kept.
        """
        whole = self._inflater is None or (self._inflater.eof and not self._inflater.unused_data)
        if not whole or self._left or f"sha256:{self._blob.hexdigest()}" != self._layer.digest:
            raise self._damaged()
        return self._held

    def _hand_on(self, data: bytes) -> Iterator[bytes]:
        self._blob.update(data)
        try:
            for plain in iter((data,)) if self._inflater is None else bounded(self._inflater, data):
                self._left -= len(plain)
                if self._left < 0:
                    raise self._damaged()
                yield self._held
                self._held = plain
        except zlib.error as error:
            raise self._damaged() from error

    def _damaged(self) -> Refusal:
        self._part.unlink(missing_ok=True)
        return Refusal("digest-mismatch", f"layer {self._layer.diff_id} arrived damaged", hint="run it again")


def free_bytes(folder: Path) -> int:
    """Return what may still be written to the file system of ``folder``."""
    usage = os.statvfs(folder)
    return usage.f_bavail * usage.f_frsize


def no_space(folder: Path, needed: int) -> Refusal:
    """Return the refusal that says how much is needed and how much is there."""
    free = free_bytes(folder)
    return Refusal(
        "no-space",
        f"cannot put layers into {folder}: {_megabytes(needed)} needed, {_megabytes(free)} free",
        hint="remove what is no longer needed with deploy prune, or make the disk larger",
    )


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"


def _hex(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise Refusal("bad-request", f"cannot understand the address {address[:80]!r}")
    return address[len("sha256:") :]
