"""Writing a file so that a reader sees all of it or nothing.

Owns temp file, fsync, rename; nothing else.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


class Temporary:
    """A file that has no name of its own yet."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.file = file
        self._path = path

    def keep(self, target: Path, *, durable: bool = False) -> None:
        """Let the file take the place of ``target``, in the same file system.

        Args:
            target: Its final name.
            durable: Whether the bytes must survive a power cut; caches do without, they are verified
                when they are read.
        """
        self.file.flush()
        if durable:
            os.fsync(self.file.fileno())
        self._path.replace(target)


PREFIX = ".tmp-"
"""Names of temporary files start with it: a killed process may leave some."""


@contextlib.contextmanager
def temporary(folder: Path) -> Iterator[Temporary]:
    """Open a new file in ``folder`` (made when missing) that is deleted unless it is kept.

    Raises:
        OSError: It cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=PREFIX, dir=folder)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            yield Temporary(Path(name), file)
    finally:
        Path(name).unlink(missing_ok=True)


def write_atomically(target: Path, content: bytes, *, durable: bool = False) -> None:
    """Make ``content`` the whole of ``target``; see :meth:`Temporary.keep`."""
    with temporary(target.parent) as new:
        new.file.write(content)
        new.keep(target, durable=durable)
