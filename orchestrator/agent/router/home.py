"""The files of one project's router on this host, and who may change them.

Owns the folder's layout, reading and writing the record and the picture, and the lock that keeps a
session's moves and the guard's apart. It must not know HAProxy's words.

::

    router/                   0700, mounted into the router's container as /router
      haproxy.cfg             rendered from the two below
      picture.json            the RouterConfig in force
      table.json              who sits in which slot
      guard.json              the cutover that waits for its confirm, and what was reverted
      lock                    flock: one change of traffic at a time
      certs/  maps/  errors/  what haproxy.cfg names
      run/                    the runtime sockets
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Iterator, Optional, Type, TypeVar

from orchestrator.agent import durable
from orchestrator.agent.paths import ProjectPaths, private_directory
from orchestrator.agent.router.table import Table
from orchestrator.agent.say import say
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.routing import RouterConfig

T = TypeVar("T")

INSIDE = "/router"
"""Where the folder is mounted in the container."""

_FOLDERS = ("certs", "maps", "errors", "run")


class Home:
    """The folder of one router."""

    def __init__(self, files: ProjectPaths, inside: str = INSIDE) -> None:
        self.base = files.base / "router"
        self.inside = inside
        self.config = self.base / "haproxy.cfg"
        self.picture_file = self.base / "picture.json"
        self.table_file = self.base / "table.json"
        self.guard_file = self.base / "guard.json"
        self.certificates = self.base / "certs"
        self.maps = self.base / "maps"
        self.page = self.base / "errors" / "503.http"
        self.run = self.base / "run"

    def make(self) -> None:
        """Make the folders that are missing."""
        for name in _FOLDERS:
            private_directory(self.base / name)

    @property
    def exists(self) -> bool:
        """The project has, or had, a router here."""
        return self.picture_file.exists()

    def picture(self) -> Optional[RouterConfig]:
        """Return the picture in force, or ``None`` when there is none that is whole."""
        return _read(self.picture_file, RouterConfig)

    def put_picture(self, config: RouterConfig) -> None:
        """Remember the picture in force."""
        durable.write(self.picture_file, canonical(config))

    def table(self) -> Table:
        """Return the record; empty when there is none that is whole."""
        return _read(self.table_file, Table) or Table()

    def put_table(self, table: Table) -> None:
        """Write the record."""
        durable.write(self.table_file, canonical(table))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only one that changes traffic, among all threads and processes of this host."""
        private_directory(self.base)
        descriptor = os.open(self.base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _read(path: Path, cls: Type[T]) -> Optional[T]:
    try:
        return decode(cls, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, WireError, ValueError, RecursionError) as error:
        say(f"damaged: {path}: {error}")
        return None
