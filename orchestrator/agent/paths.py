"""Where the agent keeps what it knows: the layout of its state directory.

Owns names of directories and files, their creation with the right permissions, and the last check of
every name before it becomes part of a path. It must not know what the files hold.

::

    <root>/                         0700
      host-key                      random, made once: secrets' keyed hashes derive from it
      layers/                       layers under way and kept (images)
      projects/<project>/
        lock  lock.json  epoch      the lease
        releases/<id>.json          release records
        instances/<digest>.json     instance configurations
        fingerprints/<container>    digest of the engine's inspect right after creation
        secrets/<hmac>  configs/<sha256>
        mounts/<instance>/          the files one container sees, with its owner and mode
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Optional

DEFAULT_ROOT = "/var/lib/deploy"
USER_ROOT = ".local/share/deploy"

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,127}")
_RELEASE = re.compile(r"r[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")


class BadNameError(ValueError):
    """A name that must not become part of a path, a container's name or a label."""


def default_root(uid: Optional[int] = None, home: Optional[str] = None) -> Path:
    """Return the state directory of user ``uid`` (ours when ``None``)."""
    if (os.getuid() if uid is None else uid) == 0:
        return Path(DEFAULT_ROOT)
    return Path(home or os.path.expanduser("~")) / USER_ROOT  # noqa: PTH111 - Path.expanduser raises for no home


def check_name(name: str, what: str = "name") -> str:
    """Return ``name`` of a project, service or volume.

    Raises:
        BadNameError: It is not made of lower-case letters, digits, ``_``, ``.`` and ``-``.
    """
    return _check(_NAME, name, what)


def check_release(name: str) -> str:
    """Return the release id ``name``.

    Raises:
        BadNameError: It is not ``r`` and a number.
    """
    return _check(_RELEASE, name, "release")


def check_digest(name: str, what: str = "digest") -> str:
    """Return ``name``, 64 lower-case hexadecimal digits.

    Raises:
        BadNameError: It is something else.
    """
    return _check(_DIGEST, name, what)


def check_container(name: str, what: str = "container") -> str:
    """Return ``name``, the id or name of a container, or the name of a volume: engines have one rule.

    Raises:
        BadNameError: It is something else.
    """
    return _check(_CONTAINER, name, what)


def _check(pattern: "re.Pattern[str]", name: str, what: str) -> str:
    if not pattern.fullmatch(name):
        raise BadNameError(f"cannot use {name[:80]!r} as a {what}")
    return name


def private_directory(path: Path) -> Path:
    """Return ``path``, made with its parents, readable by its owner alone; it survives a crash."""
    if not path.is_dir():
        private_directory(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(path.parent)
    return path


def sync_directory(directory: Path) -> None:
    """Have the entries of ``directory`` survive a crash."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class ProjectPaths:
    """The files of one project."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.lock = base / "lock"
        self.lock_info = base / "lock.json"
        self.epoch = base / "epoch"
        self.releases = base / "releases"
        self.instances = base / "instances"
        self.fingerprints = base / "fingerprints"
        self.secrets = base / "secrets"
        self.configs = base / "configs"
        self.mounts = base / "mounts"

    def release(self, release: str) -> Path:
        """Return the record of ``release``."""
        return self.releases / f"{check_release(release)}.json"

    def instance(self, digest: str) -> Path:
        """Return the file of an instance's configuration."""
        return self.instances / f"{check_digest(digest)}.json"

    def fingerprint(self, container: str) -> Path:
        """Return the file of the fingerprint of ``container``, a full container id."""
        return self.fingerprints / check_digest(container, "container id")

    def secret(self, hmac: str) -> Path:
        """Return the file of a secret."""
        return self.secrets / check_digest(hmac, "secret's hash")

    def config(self, sha256: str) -> Path:
        """Return the file of a rendered config."""
        return self.configs / check_digest(sha256, "config's digest")


class Paths:
    """The state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host_key = root / "host-key"
        self.layers = root / "layers"
        self.projects = root / "projects"

    def project(self, name: str) -> ProjectPaths:
        """Return the files of project ``name``; nothing is made.

        Raises:
            BadNameError: The name must not be part of a path.
        """
        return ProjectPaths(self.projects / check_name(name, "project"))
