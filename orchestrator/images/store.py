"""The content-addressed store of this machine: compressed layers, image configurations, build records.

Owns files below one folder and their verification. It must not know engines or sessions. Safe for
processes and threads side by side: every file appears whole by a rename, and names are addresses, so
two writers of one name write the same. It is a cache: an entry that does not verify is dropped, and
whoever wanted it gets it anew.

::

    blobs/<sha256>          a layer as it travels
    layers/<diff id>        what blob a layer has (JSON of `Layer`)
    configs/<image id>      an image configuration, verbatim
    records/<sha256>        build digest or reference -> image id
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.images import compress
from orchestrator.images.files import PREFIX, temporary, write_atomically
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.messages import Layer

_ADDRESS = re.compile(r"sha256:[0-9a-f]{64}")
_ABANDONED = 3600.0
"""Seconds after which nobody can still be writing a temporary file without touching it."""
_FOLDERS = ("blobs", "layers", "configs", "records")


class DigestMismatchError(ValueError):
    """Content is not what its address says."""


def default_root() -> Path:
    """Return ``$XDG_CACHE_HOME/deploy``, or ``~/.cache/deploy``."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "deploy"  # noqa: PTH117 - a string


@dataclass(frozen=True, order=True)
class _File:
    """A file of the store, in order of last use."""

    used: float
    size: int
    file: Path


class Store:
    """One store.

    Args:
        root: Its folder; :func:`default_root` when ``None``. Made when missing.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root if root is not None else default_root()
        for folder in _FOLDERS:
            (self.root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def contexts(self) -> Path:
        """Folder for the remembered file digests of build contexts."""
        return self.root / "contexts"

    # --- records ---------------------------------------------------------------------------------

    def record(self, key: str, image: str) -> None:
        """Remember that ``key`` (build digest or reference) gave ``image``."""
        write_atomically(self._record(key), json.dumps({"key": key, "image": image}).encode())

    def forget(self, key: str) -> None:
        """Drop the record of ``key``."""
        self._record(key).unlink(missing_ok=True)

    def forget_image(self, image: str) -> None:
        """Drop every record of ``image``: nobody has it any more, so it must be made again."""
        for key, known in self.known().items():
            if known == image:
                self.forget(key)

    def image(self, key: str) -> str:
        """Return the image id ``key`` gave, or nothing."""
        return self._read_record(self._record(key)).get(key, "")

    def known(self) -> dict[str, str]:
        """Return all records: build digest or reference -> image id."""
        found: dict[str, str] = {}
        for file in sorted((self.root / "records").iterdir()):
            if not file.name.startswith(PREFIX):
                found.update(self._read_record(file))
        return found

    def _read_record(self, file: Path) -> dict[str, str]:
        try:
            document = json.loads(file.read_bytes())
            key, image = str(document["key"]), str(document["image"])
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            key, image = "", ""
        if file != self._record(key) or not _ADDRESS.fullmatch(image):
            file.unlink(missing_ok=True)
            return {}
        return {key: image}

    # --- configurations --------------------------------------------------------------------------

    def add_config(self, image: str, config: str) -> None:
        """Keep the configuration of ``image``.

        Raises:
            DigestMismatchError: It is the configuration of another image.
        """
        if not matches(image, config.encode()):
            raise DigestMismatchError(f"the configuration is not that of image {image}")
        write_atomically(self.root / "configs" / _hex(image), config.encode())

    def config(self, image: str) -> str | None:
        """Return the configuration of ``image``, or ``None``."""
        file = self.root / "configs" / _hex(image)
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        if not matches(image, content):
            file.unlink(missing_ok=True)
            return None
        return content.decode()

    # --- layers ----------------------------------------------------------------------------------

    def layer(self, diff_id: str) -> Layer | None:
        """Return how the layer travels, or ``None`` when the store lacks it."""
        file = self.root / "layers" / _hex(diff_id)
        try:
            layer = decode(Layer, json.loads(file.read_bytes()))
            size = (self.root / "blobs" / _hex(layer.digest)).stat().st_size
        except FileNotFoundError:
            return None
        except (WireError, ValueError):
            file.unlink(missing_ok=True)
            return None
        if layer.diff_id != diff_id or layer.size != size or not layer.plain:
            self.drop(layer)
            return None
        return layer

    def add_layer(self, diff_id: str, content: Iterable[bytes], size: int) -> Layer:
        """Compress the layer's uncompressed tar and keep it.

        Args:
            diff_id: What the content must hash to.
            content: The tar, in pieces.
            size: Its length in bytes; more is refused before it fills the disk.

        Raises:
            DigestMismatchError: The content is something else; nothing is kept.
            OSError: The disk is full.
        """
        raw, blob, length = hashlib.sha256(), hashlib.sha256(), 0
        with temporary(self.root / "blobs") as new:
            for piece in compress.gzip(_checked(content, size, raw), size):
                blob.update(piece)
                length += len(piece)
                new.file.write(piece)
            if f"sha256:{raw.hexdigest()}" != diff_id:
                raise DigestMismatchError(f"the content of a layer does not match its diff id {diff_id}")
            new.keep(self.root / "blobs" / blob.hexdigest())
        layer = Layer(diff_id, f"sha256:{blob.hexdigest()}", length, plain=size)
        write_atomically(self.root / "layers" / _hex(diff_id), canonical(layer))
        return layer

    def open(self, layer: Layer) -> IO[bytes]:
        """Open the blob of ``layer``; the reader keeps it although the store may be pruned meanwhile.

        Raises:
            FileNotFoundError: The store has lost it.
        """
        file = self.root / "blobs" / _hex(layer.digest)
        with contextlib.suppress(OSError):
            os.utime(file)
        return file.open("rb", buffering=0)

    def drop(self, layer: Layer) -> None:
        """Forget a layer whose blob does not verify."""
        (self.root / "layers" / _hex(layer.diff_id)).unlink(missing_ok=True)
        (self.root / "blobs" / _hex(layer.digest)).unlink(missing_ok=True)

    # --- housekeeping ----------------------------------------------------------------------------

    def prune(self, max_bytes: int) -> int:
        """Delete the blobs used longest ago until at most ``max_bytes`` remain.

        Returns:
            Bytes freed. Records and configurations stay: they are small, and let a plan know ids.
        """
        with self._lock("prune"):
            blobs, leftovers = self._blobs()
            total, freed = sum(blob.size for blob in blobs), 0
            for leftover in leftovers:
                leftover.file.unlink(missing_ok=True)
                freed += leftover.size
            for blob in sorted(blobs):
                if total <= max_bytes:
                    break
                blob.file.unlink(missing_ok=True)
                total -= blob.size
                freed += blob.size
            return freed

    def _blobs(self) -> tuple[list[_File], list[_File]]:
        """Return all blobs, and the temporary files of processes that were killed."""
        blobs, leftovers = [], []
        for file in (self.root / "blobs").iterdir():
            with contextlib.suppress(FileNotFoundError):
                info = file.stat()
                entry = _File(info.st_mtime, info.st_size, file)
                if not file.name.startswith(PREFIX):
                    blobs.append(entry)
                elif info.st_mtime < time.time() - _ABANDONED:
                    leftovers.append(entry)
        return blobs, leftovers

    @contextlib.contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        with (self.root / f"{name}.lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _record(self, key: str) -> Path:
        return self.root / "records" / hashlib.sha256(key.encode()).hexdigest()


def matches(address: str, content: bytes) -> bool:
    """Return whether ``content`` is what ``address`` (``sha256:...``) names."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}" == address


def _hex(address: str) -> str:
    """Return the digits of an address, the last check before it becomes part of a path."""
    if not _ADDRESS.fullmatch(address):
        raise DigestMismatchError(f"cannot understand the address {address[:80]!r}")
    return address.removeprefix("sha256:")


def _checked(content: Iterable[bytes], size: int, raw: hashlib._Hash) -> Iterator[bytes]:
    """Yield ``content`` while hashing it; more than ``size`` bytes are refused."""
    left = size
    for piece in content:
        left -= len(piece)
        if left < 0:
            break
        raw.update(piece)
        yield piece
    if left:
        raise DigestMismatchError("a layer is longer or shorter than announced")
