"""Layers on their way into this host's engine: received, verified, and kept until the engine has them.

Owns the files below ``layers/`` of the agent's state directory.

::

    <diff id>.<digest>.part   what has arrived of a blob; an interrupted transfer goes on from here
    <diff id>.tar             a whole layer, inflated, its digest and its diff id proven

A layer is inflated while it arrives: that proves the diff id, and the engine reads an uncompressed
layer in 0.84 s where its own decompression takes 1.3 s (110 MB, engine 20.10), which is dead time at
the end of a transfer instead of time inside of it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
import time
import zlib
from pathlib import Path
from typing import IO, Any, Iterator, Optional

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

    def tar(self, diff_id: str) -> Path:
        """Return the file of a whole layer, there or not."""
        return self._folder / f"{_hex(diff_id)}.tar"

    def wanted(self, diff_id: str) -> Optional[WantedLayer]:
        """Return what is still needed of a layer, or ``None`` when it is whole."""
        if self.tar(diff_id).is_file():
            return None
        parts = sorted(self._folder.glob(f"{_hex(diff_id)}.*.part"))
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
        for other in self._folder.glob(f"{_hex(layer.diff_id)}.*.part"):
            if other != part or not layer.offset:
                other.unlink()
        return Receiver(layer, part, self.tar(layer.diff_id))

    def discard(self, diff_id: str) -> None:
        """Drop a whole layer: the engine has it."""
        self.tar(diff_id).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Drop what interrupted transfers left: what can be gone on from after a week, the rest at once."""
        before = time.time() - _ABANDONED
        for file in self._folder.iterdir():
            # A layer half inflated is of no use, and only whoever uses the spool now could still write it.
            if file.name == "lock" or (file.suffix != ".tmp" and file.stat().st_mtime >= before):
                continue
            if file.is_dir():
                shutil.rmtree(file, ignore_errors=True)
            else:
                file.unlink(missing_ok=True)


class Receiver:
    """One blob that is arriving."""

    def __init__(self, layer: Layer, part: Path, target: Path) -> None:
        self._layer = layer
        self._part = part
        self._target = target
        self._blob = hashlib.sha256()
        self._plain = hashlib.sha256()
        self._inflater: Any = zlib.decompressobj(31) if layer.media_type == GZIP else None
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=part.parent)
        self._temporary = Path(name)
        self._out = os.fdopen(handle, "wb")
        self._in: Optional[IO[bytes]] = None

    def __enter__(self) -> "Receiver":  # noqa: PYI034 - Self came with python 3.11
        try:
            if self._layer.offset:
                with self._part.open("rb") as file:
                    for piece in iter(lambda: file.read(PIECE), b""):
                        self._take(piece)
            self._in = self._part.open("ab")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            Refusal: ``digest-mismatch``: they are not gzip; ``no-space``.
        """
        try:
            if self._in is not None:
                self._in.write(data)
            self._take(data)
        except OSError as error:
            if error.errno in _FULL:
                raise no_space(self._part.parent, self._layer.size) from error
            raise

    def finish(self) -> None:
        """Say that the blob is complete.

        Raises:
            Refusal: ``digest-mismatch``: it is not what it should be; nothing of it is kept.
        """
        whole = self._inflater is None or (self._inflater.eof and not self._inflater.unused_data)
        blob, plain = f"sha256:{self._blob.hexdigest()}", f"sha256:{self._plain.hexdigest()}"
        if not whole or blob != self._layer.digest or plain != self._layer.diff_id:
            self._part.unlink(missing_ok=True)
            raise Refusal(
                "digest-mismatch", f"layer {self._layer.diff_id} arrived damaged", hint="run it again"
            )
        try:
            self._out.close()
        except OSError as error:
            raise no_space(self._part.parent, self._layer.size) from error
        self._temporary.replace(self._target)
        self._part.unlink(missing_ok=True)

    def _take(self, data: bytes) -> None:
        self._blob.update(data)
        try:
            for plain in self._inflated(data):
                self._plain.update(plain)
                self._out.write(plain)
        except zlib.error as error:
            self._part.unlink(missing_ok=True)
            raise Refusal(
                "digest-mismatch", f"layer {self._layer.diff_id} arrived damaged", hint="run it again"
            ) from error

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        return iter((data,)) if self._inflater is None else bounded(self._inflater, data)

    def _close(self) -> None:
        for file in (self._in, self._out):
            if file is not None:
                _close_quietly(file)
        self._temporary.unlink(missing_ok=True)


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


def _close_quietly(file: IO[bytes]) -> None:
    """Close a file whose last bytes may not fit on the disk; what counts has been verified before."""
    try:
        file.close()
    except OSError as error:
        if error.errno not in _FULL:
            raise


def _hex(address: str) -> str:
    if not _ADDRESS.fullmatch(address):
        raise Refusal("bad-request", f"cannot understand the address {address[:80]!r}")
    return address[len("sha256:") :]
