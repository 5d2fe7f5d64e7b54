"""One host as the agent's handlers see it: an engine, a state directory, one image with busybox."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.agent.engine import Engine
from orchestrator.agent.handler import Context
from orchestrator.agent.journal import Journal
from orchestrator.agent.observe import observe
from orchestrator.agent.operations import perform
from orchestrator.agent.paths import Paths
from orchestrator.protocol.instance import Healthcheck, InstanceConfig
from orchestrator.protocol.messages import HostReport, Observe, Operation, OperationProgress, Perform

PROJECT = "shop"
HTTPD = ("/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www")
SLEEP = ("/bin/busybox", "sleep", "1000")
HTTP = Healthcheck(type="http", port=8080, path="/", interval=0.05, timeout=1.0, successes=2, deadline=10.0)
RUNNING = Healthcheck(type="none", interval=0.05, successes=2, deadline=5.0)


class RecordingChannel:
    """A request's streams, kept in memory."""

    def __init__(self, body: tuple[bytes, ...] = ()) -> None:
        self.progressed: list[Any] = []
        self.sent = b""
        self.ended = False
        self.arrived = threading.Event()
        self._body = body

    def progress(self, payload: Any) -> None:
        """Record it."""
        self.progressed.append(payload)
        self.arrived.set()

    def body(self) -> Iterator[bytes]:
        """Yield what the test gave."""
        yield from self._body

    def send_body(self, data: bytes) -> None:
        """Record it."""
        self.sent += data
        self.arrived.set()

    def end_body(self) -> None:
        """Record it."""
        self.ended = True


@dataclass
class AgentWorld:
    """What a test acts on."""

    engine: Engine
    image: str
    root: Path
    channel: RecordingChannel = field(default_factory=RecordingChannel)
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def paths(self) -> Paths:
        """The state directory."""
        return Paths(self.root)

    @property
    def journal(self) -> Journal:
        """The project's journal."""
        return Journal(self.paths, PROJECT)

    def context(self, *body: bytes) -> Context:
        """Return the context of a new request."""
        self.channel = RecordingChannel(body)
        self.cancelled = threading.Event()
        return Context(paths=self.paths, channel=self.channel, engine=self.engine, cancelled=self.cancelled)

    def config(self, **changes: Any) -> InstanceConfig:
        """Return a configuration of a small web service."""
        values: dict[str, Any] = {"command": HTTPD, "healthcheck": HTTP, "stop_grace_period": 1.0, **changes}
        return InstanceConfig(
            project=PROJECT, service=values.pop("service", "api"), image=self.image, **values
        )

    def start_operation(
        self, config: InstanceConfig, *, slot: int = 1, release: str = "r1", number: int = 0
    ) -> Operation:
        """Return an operation that starts ``config``."""
        return Operation(number, "start", service=config.service, slot=slot, release=release, config=config)

    def perform(self, *operations: Operation, **contents: dict[str, str]) -> list[OperationProgress]:
        """Carry out operations and return their outcomes."""
        request = Perform(PROJECT, 1, operations, **contents)
        return list(perform(request, self.context()).outcomes)

    def start(self, config: InstanceConfig | None = None, **where: Any) -> OperationProgress:
        """Start one instance and return its outcome."""
        return self.perform(self.start_operation(config or self.config(), **where))[0]

    def change(
        self, kind: str, container: str = "", name: str = "", *, faulty: bool = False
    ) -> OperationProgress:
        """Carry out one operation on a container, or on something named."""
        return self.perform(Operation(0, kind, container=container, name=name, faulty=faulty))[0]

    def observe(self, *, probe: bool = True) -> HostReport:
        """Observe the project."""
        return observe(Observe(PROJECT, probe), self.context())

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the engine's inspect."""
        return dict(self.engine.get(f"/containers/{container}/json"))

    def secret(self, value: bytes) -> tuple[str, dict[str, str]]:
        """Return a secret's keyed hash, and the ``secrets`` of a request that brings it."""
        keyed = hmac.new(bytes.fromhex(self.journal.key()), value, "sha256").hexdigest()
        return keyed, {keyed: base64.b64encode(value).decode()}


def content(data: bytes) -> tuple[str, dict[str, str]]:
    """Return a config's digest, and the ``contents`` of a request that brings it."""
    digest = hashlib.sha256(data).hexdigest()
    return digest, {digest: base64.b64encode(data).decode()}
