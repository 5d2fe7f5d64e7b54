"""The state behind the fake engine: images, containers, networks and volumes of one pretended host."""

from __future__ import annotations

import hashlib
import itertools
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.fake_container import FakeContainer, FakeImage, Refused

__all__ = ["FakeContainer", "FakeHost", "FakeImage", "Fault", "Refused"]

_NETWORKS = itertools.count(1)


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
