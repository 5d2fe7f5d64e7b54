"""The agent as one file: a zip archive of the standard-library parts that run on a host.

Owns what is in it and that the same sources give the same bytes on every machine: sorted names, one
timestamp, one mode, no compression (the wire compresses). It must not know how it gets to a host.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent
PARTS = ("agent", "protocol")
"""Folders of the package that a host needs; nothing else travels."""
ENTRY = Path(__file__).resolve().parent / "payload" / "entry.py"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODE = 0o100644 << 16


@dataclass(frozen=True)
class Bundle:
    """One version of the agent."""

    data: bytes
    sha256: str
    """Of ``data``: its name on every host."""


def sources(package: Path = PACKAGE) -> tuple[tuple[str, Path], ...]:
    """Return (name in the archive, file) of everything the bundle holds, sorted by name."""
    files = [("__main__.py", ENTRY), (f"{package.name}/__init__.py", package / "__init__.py")]
    for part in PARTS:
        files += [
            (f"{package.name}/{path.relative_to(package).as_posix()}", path)
            for path in (package / part).rglob("*.py")
        ]
    return tuple(sorted(files))


def build(files: Iterable[tuple[str, Path]]) -> bytes:
    """Return the archive of ``files``; the same contents give the same bytes."""
    import zipfile  # noqa: PLC0415 - costs more than the rest of this module, and most runs need no building

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = _MODE
            archive.writestr(info, path.read_bytes())
    return buffer.getvalue()


def load(cache: Path | None = None, package: Path = PACKAGE) -> Bundle:
    """Return the bundle of this version, from the user's cache when its sources are unchanged.

    Args:
        cache: Folder for built bundles; the user's cache folder when ``None``. When it cannot be
            used, the bundle is built in memory each time.
        package: The package's folder.
    """
    folder = cache if cache is not None else default_cache()
    files = sources(package)
    fingerprint = _fingerprint(files)
    for path in folder.glob(f"agent-{fingerprint}-*.pyz"):
        data = path.read_bytes()
        sha256 = path.stem.rpartition("-")[2]
        if hashlib.sha256(data).hexdigest() == sha256:
            return Bundle(data, sha256)
    data = build(files)
    bundle = Bundle(data, hashlib.sha256(data).hexdigest())
    with contextlib.suppress(OSError):  # a cache is never worth an error
        _store(folder, fingerprint, bundle)
    return bundle


def default_cache() -> Path:
    """Return the folder for built bundles, by the XDG base directory specification."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.cache").expanduser()) / "deploy"


def _fingerprint(files: Iterable[tuple[str, Path]]) -> str:
    state = hashlib.sha256()
    for name, path in files:
        stat = path.stat()
        state.update(f"{name}\0{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\n".encode())
    return state.hexdigest()[:32]


def _store(folder: Path, fingerprint: str, bundle: Bundle) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stale = set(folder.glob("agent-*.pyz"))
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        file.write(bundle.data)
    Path(file.name).replace(folder / f"agent-{fingerprint}-{bundle.sha256}.pyz")
    for path in stale:
        path.unlink(missing_ok=True)
