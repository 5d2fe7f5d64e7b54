"""Remembers the SHA-256 of files, so that an unchanged context costs one `stat` a file.

Owns the cache and when an entry may be believed. An entry holds size, mtime, ctime and inode; it is
kept only when the file had been still for a while as it was read, because a write within the same
tick of the file system's clock changes nothing that `stat` shows (git calls such entries racy).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from orchestrator.images.files import write_atomically

_STILL = 2_000_000_000
"""Nanoseconds a file must have been unchanged for its digest to be remembered."""
_VERSION = 1


class FileDigests:
    """The digests of one context's files.

    Args:
        file: Where they are remembered between runs; ``None`` forgets them.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._known = _load(file) if file is not None else {}
        self._seen: dict[str, list[Any]] = {}
        self._changed = False

    def of(self, file: str, name: str, info: os.stat_result) -> str:
        """Return the digest of ``file``, which ``info`` describes and ``name`` remembers.

        Raises:
            OSError: It cannot be read.
        """
        state = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        entry = self._known.get(name)
        if isinstance(entry, list) and len(entry) == 5 and entry[:4] == state and isinstance(entry[4], str):
            self._seen[name] = entry
            return entry[4]
        now = time.time_ns()
        with Path(file).open("rb", buffering=0) as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        self._changed = True
        if max(info.st_mtime_ns, info.st_ctime_ns) < now - _STILL:
            self._seen[name] = [*state, digest]
        return digest

    def save(self) -> None:
        """Write what was seen since the last load; what was not seen is forgotten."""
        if self._file is None or not (self._changed or self._seen.keys() != self._known.keys()):
            return
        document = {"version": _VERSION, "files": self._seen}
        write_atomically(self._file, json.dumps(document, separators=(",", ":")).encode())


def _load(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(document, dict) or document.get("version") != _VERSION:
        return {}
    files = document.get("files")
    return files if isinstance(files, dict) else {}
