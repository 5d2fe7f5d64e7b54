"""The state behind the fake engine: images, containers, networks and volumes of one pretended host."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from support.fake_programs import Process

NEVER = "0001-01-01T00:00:00Z"
_NETWORKS = itertools.count(1)


class Refused(Exception):  # noqa: N818 - an answer of the engine
    """The engine's refusal: status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Fault:
    """An answer the engine is to give instead of doing what it is asked."""

    method: str
    path: str
    """A regular expression for the whole path without version and query."""
    status: int = 500
    message: str = "a fault made on purpose"
    times: int = 1
    """How often; then things work again."""


@dataclass
class FakeImage:
    """One image."""

    id: str
    config: str
    """Verbatim JSON text."""
    tags: list[str] = field(default_factory=list)
    size: int = 1000

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, with those of what it was made from."""
        return dict(json.loads(self.config).get("config", {}).get("Labels") or {})


class FakeContainer:
    """One container and, while it runs, its process."""

    def __init__(self, host: FakeHost, name: str, body: dict[str, Any], image: FakeImage) -> None:
        self.host = host
        self.id = secrets.token_hex(32)
        self.name = name
        self.body = body
        self.image = image
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.status = "created"
        self.exit_code = 0
        self.error = ""
        self.restarts = 0
        self.started_at = self.finished_at = NEVER
        self.stopped_by_hand = False
        self.lines: list[str] = []
        self.process: Process | None = None
        self.runs = 0
        self.address = f"127.77.{host.number}.{next(host.addresses)}"

    # --- life ---

    def start(self) -> None:
        """Start it, as a person or the agent asks."""
        with self.lock:
            if self.status == "running":
                raise Refused(304, "")
            for port, bindings in (self.body["HostConfig"].get("PortBindings") or {}).items():
                for binding in bindings:
                    self.host.claim_port(self, port, binding)
            self.stopped_by_hand = False
            self.restarts = 0
            self._run()

    def _run(self) -> None:
        with self.lock:
            config = json.loads(self.image.config).get("config", {})
            words = [*(self.body.get("Entrypoint") or config.get("Entrypoint") or [])]
            words += self.body.get("Cmd") or config.get("Cmd") or []
            self.status, self.error, self.exit_code = "running", "", 0
            self.started_at = now()
            self.runs += 1
            run = self.runs
            self.process = Process(
                words,
                address=self.address,
                files=self.files,
                write=self.lines.append,
                ended=lambda status: self._ended(run, status),
            )
            self.process.start()
            self.changed.notify_all()

    def _ended(self, run: int, status: int) -> None:
        with self.lock:
            if run != self.runs or self.status != "running":
                return
            self.exit_code, self.finished_at = status, now()
            policy = (self.body["HostConfig"].get("RestartPolicy") or {}).get("Name")
            again = policy == "unless-stopped" and not self.stopped_by_hand
            self.status = "restarting" if again else "exited"
            self.changed.notify_all()
            if again:
                threading.Timer(0.05 * 2**self.restarts, self._restart, (run,)).start()

    def _restart(self, run: int) -> None:
        with self.lock:
            if run == self.runs and self.status == "restarting":
                self.restarts += 1
                self._run()

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it after ``grace`` seconds."""
        with self.lock:
            if self.status not in ("running", "restarting"):
                raise Refused(304, "")
            self.stopped_by_hand = True
            if self.status == "restarting" or self.process is None:
                self.status = "exited"
                self.changed.notify_all()
                return
            if not self.process.ignores_stop:
                self.process.stop()
            if not self.changed.wait_for(lambda: self.status == "exited", grace):
                self.kill()

    def kill(self) -> None:
        """End it at once, with exit status 137."""
        with self.lock:
            self.stopped_by_hand = True
            if self.process is not None:
                self.process.stop()
            self.runs += 1
            self.status, self.exit_code, self.finished_at = "exited", 137, now()
            self.changed.notify_all()

    def crash(self, status: int = 1) -> None:
        """End the process as if by itself."""
        with self.lock:
            process, run = self.process, self.runs
        if process is not None:
            process.stop()
        self._ended(run, status)

    # --- views ---

    @property
    def running(self) -> bool:
        """As the engine counts it: also between two restarts."""
        return self.status in ("running", "restarting")

    @property
    def labels(self) -> dict[str, str]:
        """Its labels, with those of what it was made from."""
        return {**self.image.labels, **(self.body.get("Labels") or {})}

    @property
    def files(self) -> dict[str, str]:
        """Path inside -> path on this machine, of bind mounts."""
        mounts = self.body["HostConfig"].get("Mounts") or []
        return {mount["Target"]: mount["Source"] for mount in mounts if mount["Type"] == "bind"}

    def inspect(self) -> dict[str, Any]:
        """Return what ``GET /containers/ID/json`` answers."""
        with self.lock:
            network = self.body["HostConfig"].get("NetworkMode", "bridge")
            endpoint = (self.body.get("NetworkingConfig") or {}).get("EndpointsConfig", {}).get(network) or {}
            aliases = list(endpoint.get("Aliases") or ())
            ports = {
                port: [{"HostIp": b["HostIp"] or "0.0.0.0", "HostPort": b["HostPort"]} for b in bindings]
                for port, bindings in (self.body["HostConfig"].get("PortBindings") or {}).items()
            }
            config = {k: v for k, v in self.body.items() if k not in ("HostConfig", "NetworkingConfig")}
            return {
                "Id": self.id,
                "Name": f"/{self.name}",
                "Image": self.image.id,
                "RestartCount": self.restarts,
                "State": {
                    "Status": self.status,
                    "Running": self.running,
                    "Restarting": self.status == "restarting",
                    "ExitCode": self.exit_code,
                    "Error": self.error,
                    "OOMKilled": False,
                    "StartedAt": self.started_at,
                    "FinishedAt": self.finished_at,
                },
                "Config": {**config, "Labels": self.labels},
                "HostConfig": self.body["HostConfig"],
                "Mounts": [
                    {"Type": m["Type"], "Source": m.get("Source", ""), "Destination": m["Target"]}
                    for m in self.body["HostConfig"].get("Mounts") or []
                ],
                "NetworkSettings": {
                    "Ports": ports if self.running else {},
                    "Networks": {
                        network: {
                            "Aliases": [*aliases, self.id[:12]] if self.running else aliases,
                            "IPAddress": self.address if self.running else "",
                        }
                    },
                },
            }

    def listed(self) -> dict[str, Any]:
        """Return one line of ``GET /containers/json``."""
        bindings = (self.body["HostConfig"].get("PortBindings") or {}).items() if self.running else ()
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": self.body["Image"],
            "ImageID": self.image.id,
            "State": self.status,
            "Labels": self.labels,
            "Ports": [
                {
                    "PrivatePort": int(p.split("/")[0]),
                    "PublicPort": int(b["HostPort"] or 0),
                    "Type": p.split("/")[1],
                }
                for p, bound in bindings
                for b in bound
            ],
        }


class FakeHost:
    """Everything one pretended engine has."""

    def __init__(self) -> None:
        self.number = next(_NETWORKS) % 250
        self.addresses = itertools.count(2)
        self.lock = threading.RLock()
        self.images: dict[str, FakeImage] = {}
        self.containers: dict[str, FakeContainer] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.execs: dict[str, dict[str, Any]] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        """(method, path) of everything asked, oldest first."""
        self.info: dict[str, Any] = {
            "Driver": "overlay2",
            "DriverStatus": [["Backing Filesystem", "extfs"]],
            "DockerRootDir": "/",
            "NCPU": 2,
            "MemTotal": 1 << 30,
            "CgroupVersion": "2",
        }

    def add_image(
        self,
        *,
        labels: dict[str, str] | None = None,
        command: tuple[str, ...] = (),
        tags: tuple[str, ...] = (),
    ) -> str:
        """Add an image and return its id."""
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": list(command), "Labels": labels or {}},
                "rootfs": {"type": "layers", "diff_ids": []},
                "salt": secrets.token_hex(8),
            }
        )
        return self.put_image(
            FakeImage("sha256:" + hashlib.sha256(config.encode()).hexdigest(), config, list(tags))
        )

    def put_image(self, image: FakeImage) -> str:
        """Add an image; its tags leave the images that had them. Return its id."""
        with self.lock:
            known = self.images.setdefault(image.id, image)
            for tag in image.tags:
                for other in self.images.values():
                    if other is not known and tag in other.tags:
                        other.tags.remove(tag)
                if tag not in known.tags:
                    known.tags.append(tag)
        return image.id

    def image(self, name: str) -> FakeImage:
        """Return the image with that id or tag."""
        with self.lock:
            for image in self.images.values():
                if name in (image.id, image.id[7:], *image.tags) or f"{name}:latest" in image.tags:
                    return image
        raise Refused(404, f"No such image: {name}")

    def container(self, name: str) -> FakeContainer:
        """Return the container with that id or name."""
        with self.lock:
            for container in self.containers.values():
                if name in (container.id, container.name, container.id[:12]):
                    return container
        raise Refused(404, f"No such container: {name}")

    def create(self, name: str, body: dict[str, Any]) -> FakeContainer:
        """Make a container."""
        image = self.image(body["Image"])
        with self.lock:
            if any(container.name == name for container in self.containers.values()):
                raise Refused(409, f"Conflict. The container name {name!r} is already in use")
            network = body["HostConfig"].get("NetworkMode", "bridge")
            if network not in self.networks and network != "bridge":
                raise Refused(404, f"network {network} not found")
            container = FakeContainer(self, name, body, image)
            self.containers[container.id] = container
        return container

    def claim_port(self, claimer: FakeContainer, port: str, binding: dict[str, str]) -> None:
        """Refuse a published port that another running container has."""
        for other in list(self.containers.values()):
            taken = (other.body["HostConfig"].get("PortBindings") or {}).get(port) or ()
            if (
                other is not claimer
                and other.running
                and binding["HostPort"] in [b["HostPort"] for b in taken]
            ):
                raise Refused(
                    500, f"Bind for 0.0.0.0:{binding['HostPort']} failed: port is already allocated"
                )

    def remove(self, container: FakeContainer) -> None:
        """Delete a stopped container."""
        if container.running:
            raise Refused(409, "You cannot remove a running container")
        with self.lock:
            del self.containers[container.id]

    def take_fault(self, matches: Callable[[Fault], bool]) -> Fault | None:
        """Return the first fault that matches, and count it as used."""
        with self.lock:
            for fault in self.faults:
                if matches(fault):
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    return fault
        return None

    def close(self) -> None:
        """End every process."""
        for container in list(self.containers.values()):
            if container.running:
                container.kill()
            if container.process is not None:
                container.process.thread.join(5)


def now() -> str:
    """The time as engines write it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
