"""The build context: which files a build sees, their address, and the tar that carries them.

Owns the walk, what is refused, the address and the tar. It must not know engines or images.

The walk is sorted and the address covers path, kind, mode and content, never a time or an owner; the
tar has the Dockerfile first (whoever receives it can look at it before the rest arrives), owner 0 and
time 0, so that equal contexts are equal bytes.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.images.filedigests import FileDigests
from orchestrator.images.ignore import BadPatternError, Ignore, parse

IGNORE_FILE = ".dockerignore"
PIECE = 1 << 18
"""Bytes read from a file at a time: what bounds the memory of :func:`pack`."""


@dataclass(frozen=True)
class Entry:
    """One thing in the context."""

    path: str
    """Relative, with slashes; bytes that are not UTF-8 as surrogate escapes."""
    kind: str
    """``file``, ``directory`` or ``link``."""
    mode: int
    """Permission bits; 0o777 for links."""
    size: int = 0
    digest: str = ""
    """SHA-256 of a file's content."""
    target: str = ""
    """Where a link points, as written."""


@dataclass(frozen=True)
class Context:
    """Everything a build may copy."""

    root: Path
    dockerfile: str
    """Path inside the context."""
    entries: tuple[Entry, ...]
    """Sorted by path."""
    ignored: frozenset[str] = frozenset()
    """Files that travel because the builder reads them, although the patterns leave them out."""

    @property
    def digest(self) -> str:
        """Address of what a build can copy: 64 hexadecimal digits."""
        running = hashlib.sha256(b"context 1\0")
        for entry in self.entries:
            if entry.path in self.ignored:
                continue
            fields = (entry.kind, f"{entry.mode:o}", entry.path, entry.digest, entry.target, "")
            running.update(os.fsencode("\0".join(fields)))
        return running.hexdigest()

    @property
    def text(self) -> str:
        """The Dockerfile's text."""
        return (self.root / self.dockerfile).read_text("utf-8", errors="surrogateescape")


def scan(root: Path, dockerfile: str = "Dockerfile", digests: FileDigests | None = None) -> Context:
    """Walk the context at ``root``.

    Args:
        root: Folder of the context.
        dockerfile: Path of the Dockerfile inside it.
        digests: Remembers the digests of unchanged files between runs.

    Raises:
        RequestError: A file cannot be read, is a socket or a device, or a pattern has no meaning.
    """
    if not root.is_dir():
        raise RequestError(
            f"cannot find the build context {root}", hint="it is relative to the spec's folder"
        )
    if not (root / dockerfile).is_file():
        raise RequestError(
            f"cannot find {root / dockerfile}", hint="name it with build.dockerfile, relative to the context"
        )
    ignore = _ignore(root, dockerfile)
    known = digests if digests is not None else FileDigests(None)
    walk = _Walk(root, ignore, known, frozenset({dockerfile, IGNORE_FILE}))
    walk.folder("")
    known.save()
    return Context(root, dockerfile, tuple(sorted(walk.entries, key=_order)), frozenset(walk.forced))


def pack(context: Context, replaced: Mapping[str, bytes] | None = None) -> Iterator[bytes]:
    """Yield the context as an uncompressed tar, the Dockerfile first.

    Args:
        context: What :func:`scan` returned.
        replaced: Contents that travel instead of the files' own, by path.

    Raises:
        RequestError: A file changed since the context was scanned.
    """
    instead = replaced or {}
    first = [entry for entry in context.entries if entry.path == context.dockerfile]
    others = [entry for entry in context.entries if entry.path != context.dockerfile]
    for entry in first + others:
        content = instead.get(entry.path)
        yield _header(entry, entry.size if content is None else len(content))
        if entry.kind != "file":
            continue
        size = 0
        for piece in _read(context.root, entry) if content is None else (content,):
            size += len(piece)
            yield piece
        if size % tarfile.BLOCKSIZE:
            yield bytes(tarfile.BLOCKSIZE - size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Walk:
    """One pass over the folders."""

    def __init__(self, root: Path, ignore: Ignore, digests: FileDigests, needed: frozenset[str]) -> None:
        self.entries: list[Entry] = []
        self.forced: set[str] = set()
        self._root = root
        self._ignore = ignore
        self._digests = digests
        self._needed = needed

    def folder(self, path: str) -> None:
        """Add what is inside ``path``."""
        try:
            with os.scandir(self._root / path) as found:
                children = sorted(found, key=lambda item: os.fsencode(item.name))
            for child in children:
                self._child(f"{path}/{child.name}" if path else child.name, child)
        except OSError as error:
            raise RequestError(f"cannot read the build context: {error}") from error

    def _child(self, path: str, child: os.DirEntry[str]) -> None:
        excluded = self._ignore.excludes(path)
        info = child.stat(follow_symlinks=False)
        if stat.S_ISDIR(info.st_mode):
            self._directory(path, info, excluded=excluded)
            return
        if excluded:
            if path not in self._needed or not stat.S_ISREG(info.st_mode):
                return
            self.forced.add(path)
        mode = stat.S_IMODE(info.st_mode)
        if stat.S_ISLNK(info.st_mode):
            self.entries.append(Entry(path, "link", 0o777, target=os.readlink(child.path)))  # noqa: PTH115 - keeps bytes
        elif stat.S_ISREG(info.st_mode):
            digest = self._digests.of(child.path, path, info)
            self.entries.append(Entry(path, "file", mode, info.st_size, digest))
        else:
            raise RequestError(
                f"cannot put {child.path} into a build context: it is {_kind(info.st_mode)}",
                hint=f"move it away or name it in {IGNORE_FILE}",
            )

    def _directory(self, path: str, info: os.stat_result, *, excluded: bool) -> None:
        needed = any(name.startswith(f"{path}/") for name in self._needed)
        if excluded and not needed and not self._ignore.may_hold(path):
            return
        before = len(self.entries)
        entry = Entry(path, "directory", stat.S_IMODE(info.st_mode))
        self.entries.append(entry)
        self.folder(path)
        inside = self.entries[before + 1 :]
        if excluded and not inside:
            del self.entries[before]
        elif excluded and all(item.path in self.forced for item in inside):
            self.forced.add(path)


def _ignore(root: Path, dockerfile: str) -> Ignore:
    for name in (f"{dockerfile}{IGNORE_FILE}", IGNORE_FILE):
        file = root / name
        if file.is_file():
            try:
                return parse(file.read_text("utf-8", errors="surrogateescape"))
            except BadPatternError as error:
                raise RequestError(f"cannot use {file}: {error}") from error
    return Ignore()


def _kind(mode: int) -> str:
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a device"


def _order(entry: Entry) -> list[bytes]:
    return os.fsencode(entry.path).split(b"/")


def _header(entry: Entry, size: int) -> bytes:
    info = tarfile.TarInfo(entry.path)
    info.mode = entry.mode
    if entry.kind == "directory":
        info.type = tarfile.DIRTYPE
    elif entry.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, entry.target
    else:
        info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _read(root: Path, entry: Entry) -> Iterator[bytes]:
    running, left = hashlib.sha256(), entry.size
    try:
        # No link is followed at the last step: the file may have been swapped for one since the scan.
        opened = os.open(root / entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(opened, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            while left:
                piece = file.read(min(PIECE, left))
                if not piece:
                    break
                left -= len(piece)
                running.update(piece)
                yield piece
            grown = bool(file.read(1))
    except OSError as error:
        raise RequestError(f"cannot read the build context: {error}") from error
    if left or grown or running.hexdigest() != entry.digest:
        raise RequestError(
            f"{root / entry.path} changed while the build context was being sent",
            hint="run it again when nothing writes there",
        )
