"""From an instance's configuration to the engine's own words.

Owns names, labels, the body of a create request with its secure defaults, and the check of everything
that comes from outside before it goes in. Pure: asks no engine, touches no file.
"""

from __future__ import annotations

import math
import re
from typing import Any, Dict, List, Mapping, Optional, Tuple

from orchestrator.agent.paths import BadNameError, check_container, check_digest, check_name, check_release
from orchestrator.protocol.instance import InstanceConfig, Mount
from orchestrator.protocol.records import dataclass

PROJECT = "deploy.project"
SERVICE = "deploy.service"
SLOT = "deploy.slot"
RELEASE = "deploy.release"
DIGEST = "deploy.digest"
ROUTER = "deploy.router"
"""On a project's router alone: how it was created."""
JOB = "deploy.job"
"""On a job alone: its name."""
OURS = "deploy."
"""Prefix of the labels that are ours alone."""

LOG_LIMITS = {"max-size": "10m", "max-file": "3"}
"""A container that talks too much must not fill the host's disk."""

_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_SLOT = 100_000
_CHECKS = ("http", "tcp", "command", "none")
_PROTOCOLS = ("tcp", "udp", "sctp")
_LAST_PORT = 65535
_LONGEST = 86_400.0
"""Seconds: a day; nobody waits longer, and engines take no more than 32 bits."""


@dataclass(frozen=True)
class Identity:
    """Which instance of which release a container is."""

    project: str
    service: str
    slot: int
    release: str

    @property
    def name(self) -> str:
        """The container's name."""
        return f"{self.project}-{self.service}-{self.slot}-{self.release}"

    @property
    def aliases(self) -> Tuple[str, ...]:
        """Names under which others on the project's network find it."""
        return (self.service, f"{self.service}-{self.slot}")

    def labels(self, digest: str) -> Dict[str, str]:
        """Return the labels that say what it is, created from the configuration ``digest``."""
        return {
            PROJECT: self.project,
            SERVICE: self.service,
            SLOT: str(self.slot),
            RELEASE: self.release,
            DIGEST: digest,
        }

    def check(self) -> None:
        """Return when every part is fit for names and paths.

        Raises:
            BadNameError: One is not.
        """
        check_name(self.project, "project")
        check_name(self.service, "service")
        check_release(self.release)
        if not 0 < self.slot <= _MAX_SLOT:
            raise BadNameError(f"cannot use {self.slot} as a slot")


def check_config(config: InstanceConfig, project: str) -> None:
    """Return when ``config`` is safe to act on for ``project``.

    Raises:
        BadNameError: It belongs to another project, or holds a name or path that must not be used.
    """
    if config.project != project:
        raise BadNameError(f"a configuration of {config.project[:80]!r} in a request for {project!r}")
    check_name(config.service, "service")
    if not _IMAGE.fullmatch(config.image):
        raise BadNameError(f"cannot use {config.image[:80]!r} as an image id")
    _check_numbers(config)
    for ref in config.secrets:
        check_digest(ref.hmac, "secret's hash")
    for file in config.configs:
        check_digest(file.sha256, "config's digest")
    targets = [mount.target for mount in config.mounts]
    targets += [file.target for file in config.configs]
    targets += [ref.target for ref in config.secrets]
    for target in targets:
        _check_path(target)
    for target in targets:
        if targets.count(target) > 1:
            raise BadNameError(f"two mounts on {target!r}")
    for mount in config.mounts:
        _check_mount(mount)


def _check_numbers(config: InstanceConfig) -> None:
    check, limits = config.healthcheck, config.resources
    if check.type not in _CHECKS:
        raise BadNameError(f"cannot check health by {check.type[:80]!r}")
    times = (check.interval, check.deadline, config.stop_grace_period)
    sizes = (limits.memory, limits.cpus, limits.pids, *(mount.size for mount in config.mounts))
    ports = [check.port, *(port.published for port in config.ports)]
    fine = (
        0 < check.timeout <= _LONGEST
        and all(0 <= seconds <= _LONGEST for seconds in times)
        and all(size >= 0 for size in sizes)
        and all(0 <= port <= _LAST_PORT for port in ports)
        and all(0 < port.target <= _LAST_PORT and port.protocol in _PROTOCOLS for port in config.ports)
    )
    if not fine:
        raise BadNameError(f"a time, size or port of {config.service!r} is out of range")


def _check_mount(mount: Mount) -> None:
    if mount.type == "volume":
        check_container(mount.source, "volume")
    elif mount.type == "bind":
        _check_path(mount.source)
    elif mount.type != "tmpfs":
        raise BadNameError(f"cannot mount a {mount.type[:80]!r}")


def _check_path(path: str) -> None:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/") or path.strip("/") == "":
        raise BadNameError(f"cannot use {path[:80]!r} as a path: it must be absolute, without '..'")


@dataclass(frozen=True)
class MountedFile:
    """A file of ours that a container sees."""

    source: str
    """Path on the host."""
    target: str
    """Path inside the container."""


def create_body(
    config: InstanceConfig, identity: Identity, files: Tuple[MountedFile, ...] = (), address: str = ""
) -> Dict[str, Any]:
    """Return the body of ``POST /containers/create`` for one instance.

    Nothing secret is in it: secrets are among ``files``, by path. With an empty ``address`` the engine
    chooses one, and another one after every restart.
    """
    endpoint: Dict[str, Any] = {"Aliases": list(identity.aliases)}
    _set(endpoint, "IPAMConfig", {"IPv4Address": address} if address else None)
    ports = [f"{port.target}/{port.protocol}" for port in config.ports]
    labels = {key: value for key, value in config.labels if not key.startswith(OURS)}
    body: Dict[str, Any] = {
        "Image": config.image,
        "Env": [f"{name}={value}" for name, value in config.environment],
        "WorkingDir": config.working_dir,
        "User": config.user,
        "Hostname": config.hostname,
        "Labels": {**labels, **identity.labels(config.digest)},
        "ExposedPorts": {port: {} for port in ports},
        # The agent proves health itself; an image's own check would only cost the host.
        "Healthcheck": {"Test": ["NONE"]},
        "StopTimeout": math.ceil(config.stop_grace_period),
        "HostConfig": _host_config(config, identity, files),
        "NetworkingConfig": {"EndpointsConfig": {identity.project: endpoint}},
    }
    _set(body, "Cmd", None if config.command is None else list(config.command))
    _set(body, "Entrypoint", None if config.entrypoint is None else list(config.entrypoint))
    _set(body, "StopSignal", config.stop_signal or None)
    return body


def _host_config(
    config: InstanceConfig, identity: Identity, files: Tuple[MountedFile, ...]
) -> Dict[str, Any]:
    bindings: Dict[str, List[Dict[str, str]]] = {}
    for port in config.ports:
        published = {"HostIp": port.host_ip, "HostPort": str(port.published) if port.published else ""}
        bindings.setdefault(f"{port.target}/{port.protocol}", []).append(published)
    mounts = [_mount(mount) for mount in config.mounts]
    mounts += [
        {"Type": "bind", "Source": file.source, "Target": file.target, "ReadOnly": True} for file in files
    ]
    host_config: Dict[str, Any] = {
        "NetworkMode": identity.project,
        "PortBindings": bindings,
        "Mounts": mounts,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": ["no-new-privileges"],
        "CapAdd": list(config.cap_add),
        "CapDrop": list(config.cap_drop),
        "Init": config.init,
        "ExtraHosts": [f"{name}:{address}" for name, address in config.extra_hosts],
        "RestartPolicy": {"Name": "unless-stopped"},
        "LogConfig": {"Type": "json-file", "Config": dict(LOG_LIMITS)},
    }
    limits = config.resources
    _set(host_config, "Memory", limits.memory or None)
    _set(host_config, "NanoCpus", round(limits.cpus * 1e9) or None)
    _set(host_config, "PidsLimit", limits.pids or None)
    return host_config


def _mount(mount: Mount) -> Dict[str, Any]:
    body: Dict[str, Any] = {"Type": mount.type, "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.type == "tmpfs":
        if mount.size:
            body["TmpfsOptions"] = {"SizeBytes": mount.size}
    else:
        body["Source"] = mount.source
    return body


def _set(body: Dict[str, Any], key: str, value: Any) -> None:
    if value is not None:
        body[key] = value


# --- reading an inspect ---------------------------------------------------------------------------


def labels_of(inspect: Mapping[str, Any]) -> Dict[str, str]:
    """Return the labels of a container's inspect."""
    return dict((inspect.get("Config") or {}).get("Labels") or {})


def name_of(inspect: Mapping[str, Any]) -> str:
    """Return the name of a container's inspect, without the engine's slash."""
    return str(inspect.get("Name", "")).lstrip("/")


def is_running(inspect: Mapping[str, Any]) -> bool:
    """Its process runs, and is not between two tries of the restart policy."""
    state = inspect.get("State") or {}
    return bool(state.get("Running")) and not state.get("Restarting")


def address_of(inspect: Mapping[str, Any], network: str) -> Optional[str]:
    """Return its IP address on ``network``, or ``None`` when it has none."""
    networks = (inspect.get("NetworkSettings") or {}).get("Networks") or {}
    return (networks.get(network) or {}).get("IPAddress") or None


def published(inspect: Mapping[str, Any], port: int, protocol: str = "tcp") -> Optional[Tuple[str, int]]:
    """Return (address, port) on the host under which ``port`` of the container is published, if it is."""
    ports = (inspect.get("NetworkSettings") or {}).get("Ports") or {}
    for binding in ports.get(f"{port}/{protocol}") or ():
        address = binding.get("HostIp") or "127.0.0.1"
        loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
        return (loopback.get(address, address), int(binding["HostPort"]))
    return None
