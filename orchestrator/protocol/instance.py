"""The canonical message of one instance: what the agent is told to run, and nothing else.

Its digest is the identity of the instance (same digest: no-op, different digest: replace), so
everything that must cause a replacement is in here, and nothing that must not: no slot, no host, no
release. Contents of configs appear as their SHA-256, values of secrets as a keyed hash; the bytes
travel beside the message. Field names are Docker Compose's where Compose has one.
"""

from __future__ import annotations

from functools import cached_property
from typing import Optional, Tuple

from orchestrator.protocol.codec import digest
from orchestrator.protocol.records import dataclass


@dataclass(frozen=True)
class Mount:
    """One volume, bind mount or tmpfs."""

    type: str
    """``volume``, ``bind`` or ``tmpfs``."""
    target: str
    """Absolute path inside the container."""
    source: str = ""
    """Name of the volume (already prefixed by the project), or an absolute host path; empty for tmpfs."""
    read_only: bool = False
    size: int = 0
    """Bytes, for tmpfs; 0 is the engine's default."""
    external: bool = False
    """A volume that must exist already: it is never made, nor removed."""


@dataclass(frozen=True)
class Port:
    """A port of the container published on the host."""

    target: int
    published: int
    """0: the engine chooses."""
    protocol: str = "tcp"
    host_ip: str = ""
    """Empty: all addresses."""


@dataclass(frozen=True)
class Config:
    """A rendered file, mounted read-only."""

    target: str
    sha256: str
    """Lower-case hexadecimal digest of the content."""
    mode: int = 0o444
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class SecretRef:
    """A secret, mounted read-only under ``/run/secrets`` unless ``target`` says otherwise."""

    name: str
    target: str
    hmac: str
    """HMAC-SHA256 of the value under the host's key: tells a change, reveals nothing."""
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class Healthcheck:
    """How the agent proves an instance healthy. Times are seconds."""

    type: str = "none"
    """``http``, ``tcp``, ``command`` or ``none`` (running is healthy)."""
    port: int = 0
    path: str = ""
    command: Tuple[str, ...] = ()
    """Run inside the container; exit status 0 is success."""
    interval: float = 1.0
    timeout: float = 2.0
    successes: int = 2
    """In a row; any failure or restart starts the count again."""
    deadline: float = 60.0
    """From start to healthy."""


@dataclass(frozen=True)
class Resources:
    """Limits; 0 is unlimited."""

    memory: int = 0
    """Bytes."""
    cpus: float = 0.0
    pids: int = 0


@dataclass(frozen=True)
class InstanceConfig:
    """Everything the agent needs to create one container of a service."""

    project: str
    service: str
    image: str
    """Image id, ``sha256:`` and 64 hexadecimal digits: never a tag."""
    command: Optional[Tuple[str, ...]] = None
    """``None``: the image's own."""
    entrypoint: Optional[Tuple[str, ...]] = None
    environment: Tuple[Tuple[str, str], ...] = ()
    """Sorted by name."""
    working_dir: str = ""
    user: str = ""
    hostname: str = ""
    mounts: Tuple[Mount, ...] = ()
    ports: Tuple[Port, ...] = ()
    configs: Tuple[Config, ...] = ()
    secrets: Tuple[SecretRef, ...] = ()
    healthcheck: Healthcheck = Healthcheck()
    resources: Resources = Resources()
    read_only: bool = True
    init: bool = False
    cap_add: Tuple[str, ...] = ()
    cap_drop: Tuple[str, ...] = ()
    labels: Tuple[Tuple[str, str], ...] = ()
    """The user's own, sorted by name; ours are added by the agent."""
    extra_hosts: Tuple[Tuple[str, str], ...] = ()
    stop_signal: str = ""
    stop_grace_period: float = 10.0
    """Seconds between the stop signal and SIGKILL."""

    @cached_property
    def digest(self) -> str:
        """The config digest: 64 hexadecimal digits. Computed once: it is compared many times."""
        return digest(self)
