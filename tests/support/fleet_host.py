"""The hosts of the fleet in memory: what survives on them, and the effects that can befall them.

Owns containers, images, journal and lease of a host; what an agent does to them is `fleet_agent`'s.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING

from support.fleet_faults import Effect, Failing, Hanging, disconnects, expires, fails, goes_down, hangs
from support.fleet_router import FakeRouter

from orchestrator.protocol import messages as m
from orchestrator.protocol.codec import digest
from orchestrator.protocol.instance import InstanceConfig

if TYPE_CHECKING:
    from support.fake_fleet import FakeSession


@dataclasses.dataclass
class FakeContainer:
    """One container of a host."""

    id: str
    service: str
    slot: int
    release: str
    config: InstanceConfig
    state: str = "created"
    healthy: bool = True


class FakeHost:
    """What survives on a host between sessions."""

    def __init__(self, name: str, ids: itertools.count[int]) -> None:
        self.ids = ids
        self.name = name
        self.down = False
        self.containers: dict[str, FakeContainer] = {}
        self.images: set[str] = set()
        self.volumes: set[str] = set()
        self.configs: set[str] = set()
        self.secrets: set[str] = set()
        self.releases: dict[str, m.ReleaseRecord] = {}
        self.maintenance: set[str] = set()
        self.epoch = 0
        self.holder: FakeSession | None = None
        self.lease: m.LeaseInfo | None = None
        self.sessions: list[FakeSession] = []
        self.router = FakeRouter(self)

    def add(self, config: InstanceConfig, slot: int = 1, release: str = "r1", state: str = "running") -> str:
        """Put a container there as if an earlier run had; return its id."""
        self.images.add(config.image)
        self.configs.update(c.sha256 for c in config.configs)
        self.secrets.update(s.hmac for s in config.secrets)
        container = FakeContainer(f"c{next(self.ids)}", config.service, slot, release, config, state)
        self.containers[container.id] = container
        return container.id

    @property
    def running(self) -> frozenset[str]:
        """Ids of the containers that run."""
        return frozenset(c.id for c in self.containers.values() if c.state == "running")

    @property
    def state(self) -> str:
        """What a plan depends on, as a digest."""
        return digest(
            [[c.id, c.state] for c in sorted(self.containers.values(), key=lambda c: c.id)]
            + [list(self.releases)[-1:], self.router.state]
        )

    def report(self) -> m.HostReport:
        """Answer an ``observe``."""
        return m.HostReport(
            epoch=self.epoch,
            key="00" * 32,
            containers=tuple(_report(c) for c in self.containers.values()),
            images=tuple(m.ImageReport(image) for image in sorted(self.images)),
            volumes=tuple(m.VolumeReport(volume) for volume in sorted(self.volumes)),
            releases=tuple(self.releases.values()),
            lease=self.lease,
            state=self.state,
            routing=self.router.report(),
            held=self.router.held,
        )

    def run(self, container: str) -> None:
        """Start a container.

        Raises:
            Failing: One of its ports is taken.
        """
        this = self.containers[container]
        wanted = {p.published for p in this.config.ports if p.published}
        for other in self.containers.values():
            taken = {p.published for p in other.config.ports}
            if other is not this and other.state == "running" and wanted & taken:
                raise Failing("conflict", f"port {min(wanted & taken)} is taken")
        this.state = "running"

    def find(self, key: tuple[str, int, str]) -> str | None:
        """Return the id of the container of (service, slot, release): the one that runs, if one does."""
        found = [c for c in self.containers.values() if (c.service, c.slot, c.release) == key]
        return max(found, key=lambda c: c.state == "running").id if found else None

    def disconnect(self) -> None:
        """End all sessions with this host."""
        for session in list(self.sessions):
            session.close()


def _report(container: FakeContainer) -> m.ContainerReport:
    running = container.state == "running"
    return m.ContainerReport(
        id=container.id,
        name=f"{container.service}-{container.slot}-{container.release}",
        service=container.service,
        slot=container.slot,
        release=container.release,
        digest=container.config.digest,
        image=container.config.image,
        state=container.state,
        health=("healthy" if container.healthy else "unhealthy") if running else "none",
        config=container.config,
    )


__all__ = [
    "Effect",
    "Failing",
    "FakeContainer",
    "FakeHost",
    "Hanging",
    "disconnects",
    "expires",
    "fails",
    "goes_down",
    "hangs",
]
