"""What one host remembers of one project: releases, configurations, fingerprints, secrets, the key.

Owns reading and writing those files, checked against their names on the way in and out, and throwing
away what nothing refers to. It must not know the engine: which containers exist is told to it.
A damaged file is reported and treated as lost: the next apply then replaces what it described.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Dict, Iterable, List, Optional, Set, Tuple, Type, TypeVar

from orchestrator.agent import durable
from orchestrator.agent.paths import Paths, check_digest
from orchestrator.agent.say import say
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import ReleaseRecord

T = TypeVar("T")

_KEY_BYTES = 32
_MAX_FILE = 64 << 20
"""Bytes; nothing we write comes near, so a larger file is damage."""


class DamagedError(ValueError):
    """Bytes do not match the digest that names them."""


class Journal:
    """The memory of one project on this host."""

    def __init__(self, paths: Paths, project: str) -> None:
        self.project = project
        self._paths = paths
        self.files = paths.project(project)

    # --- the key ---------------------------------------------------------------------------------

    def key(self) -> str:
        """Return the hexadecimal key of the keyed hashes of this project's secrets on this host.

        The host's own random key is made when it is first asked for. A lost one makes every secret look
        changed, which replaces the instances that use them: safe, and heals itself.
        """
        path = self._paths.host_key
        for _ in range(3):
            durable.create(path, os.urandom(_KEY_BYTES).hex().encode())
            try:
                host_key = bytes.fromhex(path.read_text("ascii"))
            except ValueError:
                host_key = b""
            if len(host_key) == _KEY_BYTES:
                return hmac.new(host_key, f"secrets of {self.project}".encode(), "sha256").hexdigest()
            say("the host's key is damaged: making a new one")
            durable.remove(path)
        raise OSError(f"cannot keep a key in {path}")

    # --- releases --------------------------------------------------------------------------------

    def commit(self, record: ReleaseRecord) -> None:
        """Write a release and the configurations it holds."""
        for config in record.configs:
            self.put_instance(config)
        durable.write(self.files.release(record.id), canonical(record))

    def forget(self, release: str) -> None:
        """Drop a release; :meth:`collect` then drops what only it referred to."""
        durable.remove(self.files.release(release))

    def releases(self) -> Tuple[ReleaseRecord, ...]:
        """Return every readable release, oldest first."""
        found: List[Tuple[int, ReleaseRecord]] = []
        for name in _names(self.files.releases, ".json"):
            record = _read(self.files.releases / f"{name}.json", ReleaseRecord)
            if record is not None and record.id == name:
                found.append((int(name[1:]), record))
        return tuple(record for _, record in sorted(found, key=lambda pair: pair[0]))

    # --- instances -------------------------------------------------------------------------------

    def put_instance(self, config: InstanceConfig) -> None:
        """Remember a configuration, named by its digest."""
        path = self.files.instance(config.digest)
        if not path.exists():
            durable.write(path, canonical(config))

    def instance(self, digest: str) -> Optional[InstanceConfig]:
        """Return the configuration with that digest, or ``None`` when it is lost or damaged."""
        try:
            path = self.files.instance(digest)
        except ValueError:
            return None
        config = _read(path, InstanceConfig)
        if config is not None and config.digest != digest:
            say(f"damaged: {path}: its content has another digest")
            return None
        return config

    def put_fingerprint(self, container: str, fingerprint: str) -> None:
        """Remember what a container looked like right after its creation."""
        durable.write(self.files.fingerprint(container), check_digest(fingerprint, "fingerprint").encode())

    def fingerprint(self, container: str) -> Optional[str]:
        """Return a container's fingerprint, or ``None`` when there is none that is whole."""
        try:
            return check_digest(self.files.fingerprint(container).read_text("ascii"))
        except (OSError, ValueError):
            return None

    # --- contents --------------------------------------------------------------------------------

    def put_config(self, sha256: str, data: bytes) -> None:
        """Keep the bytes of a rendered config.

        Raises:
            DamagedError: They have another digest.
        """
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DamagedError(f"the content of config {sha256[:12]} has another digest")
        _put(self.files.config(sha256), data)

    def config(self, sha256: str) -> Optional[bytes]:
        """Return the bytes of a config, or ``None`` when they are lost or damaged."""
        data = _bytes(self.files.config(sha256))
        return data if data is not None and hashlib.sha256(data).hexdigest() == sha256 else None

    def put_secret(self, keyed_hash: str, value: bytes) -> None:
        """Keep the value of a secret.

        Raises:
            DamagedError: Its keyed hash is another.
        """
        if not self._is_secret(keyed_hash, value):
            raise DamagedError(f"the value of secret {keyed_hash[:12]} has another hash")
        _put(self.files.secret(keyed_hash), value)

    def secret(self, keyed_hash: str) -> Optional[bytes]:
        """Return the value of a secret, or ``None`` when it is lost or damaged."""
        value = _bytes(self.files.secret(keyed_hash))
        return value if value is not None and self._is_secret(keyed_hash, value) else None

    def _is_secret(self, keyed_hash: str, value: bytes) -> bool:
        ours = hmac.new(bytes.fromhex(self.key()), value, "sha256").hexdigest()
        return hmac.compare_digest(ours, keyed_hash)

    # --- garbage ---------------------------------------------------------------------------------

    def collect(self, containers: Dict[str, str], names: Iterable[str]) -> None:
        """Drop what no release and no container refers to. Only for the holder of the lease.

        Args:
            containers: Container id -> config digest, of every container of the project there is.
            names: Their names, which name the folders of their mounted files.
        """
        configs = [config for record in self.releases() for config in record.configs]
        digests = {config.digest for config in configs} | set(containers.values())
        kept = [self.instance(digest) for digest in set(containers.values())]
        used = configs + [config for config in kept if config is not None]
        self._keep(self.files.instances, {f"{digest}.json" for digest in digests})
        self._keep(self.files.fingerprints, set(containers))
        secrets_used = {ref.hmac for config in used for ref in config.secrets}
        routers = [record.router for record in self.releases() if record.router is not None]
        secrets_used |= {one.hmac for router in routers for one in router.certificates}
        self._keep(self.files.secrets, secrets_used)
        self._keep(self.files.configs, {ref.sha256 for config in used for ref in config.configs})
        import shutil  # noqa: PLC0415 - with its compressors 4 ms, and a look at a host removes nothing

        for name in set(_names(self.files.mounts)) - set(names):
            shutil.rmtree(self.files.mounts / name, ignore_errors=True)
        for directory in (self.files.base, self.files.releases):
            durable.sweep(directory)

    def _keep(self, directory: Path, wanted: Set[str]) -> None:
        durable.sweep(directory)
        for name in set(_names(directory)) - wanted:
            durable.remove(directory / name)


def _put(path: Path, data: bytes) -> None:
    if _bytes(path) != data:
        durable.write(path, data)


def _names(directory: Path, suffix: str = "") -> List[str]:
    try:
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names alone, no objects
    except FileNotFoundError:
        return []
    kept = [name for name in names if name.endswith(suffix) and not durable.is_temporary(name)]
    return [name[: len(name) - len(suffix)] for name in kept]


def _bytes(path: Path) -> Optional[bytes]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        say(f"unreadable: {path}: {error}")
        return None
    return data if len(data) <= _MAX_FILE else None


def _read(path: Path, cls: Type[T]) -> Optional[T]:
    data = _bytes(path)
    if data is None:
        return None
    try:
        return decode(cls, json.loads(data))
    except (WireError, ValueError, RecursionError) as error:
        say(f"damaged: {path}: {error}")
        return None
