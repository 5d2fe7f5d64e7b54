"""One container of the fake engine, and the image it was made from."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from support.fake_programs import Process

NEVER = "0001-01-01T00:00:00Z"


class Refused(Exception):  # noqa: N818 - an answer of the engine
    """The engine's refusal: status and words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


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


class Host(Protocol):
    """What a container needs of the host it is on."""

    number: int
    addresses: Iterator[int]

    def claim_port(self, claimer: FakeContainer, port: str, binding: dict[str, str]) -> None:
        """Refuse a published port that another running container has."""


class FakeContainer:
    """One container and, while it runs, its process."""

    def __init__(self, host: Host, name: str, body: dict[str, Any], image: FakeImage) -> None:
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


def now() -> str:
    """The time as engines write it."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
