"""Files that are never half-written: what is here survives a crash or a power cut at any point.

Owns the write path (temporary file, fsync, rename, fsync of the folder). It must not know what is
written. After a crash a reader finds the old content or the new, never a mixture; at worst a
temporary file is left, which readers skip and :func:`sweep` removes.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Optional, Tuple

from orchestrator.agent.paths import private_directory, sync_directory

_TEMPORARY = ".tmp-"


def write(path: Path, data: bytes, *, mode: int = 0o600, owner: Optional[Tuple[int, int]] = None) -> None:
    """Put ``data`` at ``path``, replacing what was there in one step.

    Args:
        path: Where; its folder is made when missing.
        data: The whole content.
        mode: Permissions, set before the content is there.
        owner: (uid, gid), or ``None`` to leave it ours.

    Raises:
        OSError: It could not be done; ``path`` is as it was.
    """
    temporary = _write_temporary(path, data, mode, owner)
    try:
        os.replace(temporary, path)  # noqa: PTH105 - the same call the crash tests intercept
    except BaseException:
        _discard(temporary)
        raise
    sync_directory(path.parent)


def create(path: Path, data: bytes, *, mode: int = 0o600) -> bool:
    """Put ``data`` at ``path`` unless something is there; return whether it was put.

    Of several processes that race, exactly one succeeds.
    """
    temporary = _write_temporary(path, data, mode, None)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        _discard(temporary)
    sync_directory(path.parent)
    return True


def remove(path: Path) -> None:
    """Remove the file at ``path``, if there is one, and have the removal survive a crash."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    sync_directory(path.parent)


def is_temporary(name: str) -> bool:
    """``name`` is that of a file that was being written when a crash came."""
    return name.startswith(_TEMPORARY)


def sweep(directory: Path) -> None:
    """Remove what crashed writers left in ``directory``. Only for the holder of the lease."""
    with contextlib.suppress(FileNotFoundError):
        for path in directory.iterdir():
            if is_temporary(path.name):
                _discard(path)


def _write_temporary(path: Path, data: bytes, mode: int, owner: Optional[Tuple[int, int]]) -> Path:
    private_directory(path.parent)
    temporary = path.parent / f"{_TEMPORARY}{os.urandom(8).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        try:
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        _discard(temporary)
        raise
    return temporary


def _discard(path: Path) -> None:
    with contextlib.suppress(OSError):  # a leftover is harmless: readers skip it, sweep removes it
        path.unlink()
