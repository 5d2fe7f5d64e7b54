"""Runs on a host that lacks the agent: takes the bundle from stdin, installs it, becomes it.

It must get as far as its first check on any python 3. The controller answers the marker ``need`` with
eight bytes (big-endian length) and as many bytes of zlib.
"""
# ruff: noqa: INP001, UP036 - a script for other machines and older interpreters, never imported

import errno
import hashlib
import os
import sys
import zlib
from pathlib import Path

LIMIT = 16 * 1024 * 1024
KEEP = 2


def mark(word: bytes) -> None:
    """Tell the controller, and end unless it is to answer."""
    os.write(1, b"\0deploy:" + word + b"\n")
    if word != b"need":
        sys.exit(69)


def read(count: int) -> bytes:
    """Return exactly ``count`` bytes of stdin."""
    data = bytearray()
    while len(data) < count:
        piece = os.read(0, min(count - len(data), 65536))
        if not piece:
            sys.exit(69)
        data += piece
    return bytes(data)


def receive(sha256: str) -> bytes:
    """Return the bundle, verified."""
    length = int.from_bytes(read(8), "big")
    if length > LIMIT:
        mark(b"damaged")
    packed = read(length)
    try:
        data = zlib.decompressobj().decompress(packed, LIMIT)
    except zlib.error:
        data = b""
    if hashlib.sha256(data).hexdigest() != sha256:
        mark(b"damaged")
    return data


def in_use() -> "set[bytes]":
    """Return the arguments of all processes: a bundle named there is being read from."""
    words = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words.update(path.read_bytes().split(b"\0"))
        except OSError:
            continue  # it has ended
    return words


def remove_older(root: Path, current: Path) -> None:
    """Remove bundles beyond the newest few that no process runs from, and what killed loaders left."""
    bundles = [path for path in root.glob("agent-*.pyz") if path != current]
    bundles.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    used = in_use()
    for path in bundles[KEEP - 1 :]:
        if os.fsencode(str(path)) not in used:
            path.unlink()
            for compiled in root.glob(path.stem + ".*.zip"):
                compiled.unlink()
    for path in root.glob("agent-*.pyz.*"):
        if not Path("/proc", path.suffix[1:]).exists():
            path.unlink()


def install(root: Path, sha256: str) -> Path:
    """Write the bundle beside its place, make it durable, move it into place; return its path."""
    root.mkdir(0o700, parents=True, exist_ok=True)
    if root.stat().st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "belongs to another user", str(root))
    root.chmod(0o700)
    path = root / ("agent-" + sha256 + ".pyz")
    temporary = root / (path.name + "." + str(os.getpid()))
    try:
        with temporary.open("wb") as file:
            # Only now: that the disk can be written to is known before anything is sent.
            mark(b"need")
            file.write(receive(sha256))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink()
        raise
    folder = os.open(str(root), os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)
    remove_older(root, path)
    return path


def main() -> None:
    """Install and become the agent."""
    if sys.version_info < (3, 9):
        mark(b"old-python")
    root, sha256 = sys.argv[1:]
    try:
        path = install(Path(root), sha256)
    except OSError as error:
        os.write(2, (str(error) + "\n").encode(errors="replace"))
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            mark(b"no-space")
        mark(b"no-permission")
    os.execv(sys.executable, [sys.executable, "-IS", str(path), "serve", "--root", root])  # noqa: S606


main()
