"""A pure model of a fleet: what steps do to an ``Observed``, as exactly as planning cares.

No engine, no clock: a started container is running and healthy, a stopped one ``exited``. What an agent
refuses (removing what runs, starting where a port is held) fails the test that made it happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from orchestrator.planning.observed import ACTIVE
from orchestrator.planning.types import Observed, ObservedHost, Plan, Step, StepKind
from orchestrator.protocol.codec import digest
from orchestrator.protocol.messages import (
    ContainerReport,
    HostReport,
    ImageReport,
    ReleaseRecord,
    VolumeReport,
)

KEY = "ab" * 32


@dataclass
class ModelHost:
    """One host's containers, images, volumes and journal."""

    containers: dict[str, ContainerReport] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)
    releases: dict[str, ReleaseRecord] = field(default_factory=dict)
    epoch: int = 0
    down: bool = False


class FleetModel:
    """Hosts that do what steps say."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = {name: ModelHost() for name in hosts}
        self._made = 0

    def observed(self) -> Observed:
        """Return what the hosts would report."""
        return Observed(tuple(self._host(name) for name in sorted(self.hosts)))

    def running(self) -> dict[str, str]:
        """Return container id -> digest of everything that runs."""
        return {
            container.id: container.digest
            for host in self.hosts.values()
            for container in host.containers.values()
            if container.state in ACTIVE
        }

    def apply(self, plan: Plan, steps: Iterable[Step]) -> dict[str, str]:
        """Carry out steps in their order; return the containers that starts made, by step."""
        made: dict[str, str] = {}
        for step in steps:
            if created := self.step(plan.release, step):
                made[step.id] = created
        return made

    def step(self, release: str, step: Step) -> str:
        """Carry out one step; return the container a start made."""
        host = self.hosts[step.host]
        assert not host.down, f"{step.id} on a host that is down"
        return str(getattr(self, f"_{step.kind.value.replace('-', '_')}")(host, release, step) or "")

    def _host(self, name: str) -> ObservedHost:
        host = self.hosts[name]
        if host.down:
            return ObservedHost(name, error=f"{name}: no route to it")
        containers = tuple(host.containers[key] for key in sorted(host.containers))
        return ObservedHost(
            name,
            HostReport(
                epoch=host.epoch,
                key=KEY,
                containers=containers,
                images=tuple(ImageReport(image) for image in sorted(host.images)),
                volumes=tuple(VolumeReport(volume) for volume in sorted(host.volumes)),
                releases=tuple(
                    host.releases[key] for key in sorted(host.releases, key=lambda item: int(item[1:]))
                ),
                state=digest(
                    [[[item.id, item.state] for item in containers], max(host.releases, default="")]
                ),
            ),
        )

    def _ship(self, host: ModelHost, release: str, step: Step) -> None:
        host.images.add(step.image)

    def _start(self, host: ModelHost, release: str, step: Step) -> str:
        assert step.desired is not None
        config = step.desired.config
        assert config.image in host.images, f"{step.id}: no image"
        assert all(reference.hmac for reference in config.secrets), f"{step.id}: a secret without its hash"
        self._made += 1
        container = f"c{self._made:05}"
        name = f"{config.project}-{step.service}-{step.slot}-{release}"
        assert all(other.name != name for other in host.containers.values()), f"{step.id}: {name} is taken"
        host.volumes.update(
            mount.source.removeprefix(f"{config.project}_")
            for mount in config.mounts
            if mount.type == "volume"
        )
        report = ContainerReport(
            id=container,
            name=name,
            service=step.service,
            slot=step.slot,
            release=release,
            digest=config.digest,
            image=config.image,
            state="created",
            health="none",
            config=config,
        )
        self._run(host, step, report)
        return container

    def _run(self, host: ModelHost, step: Step, report: ContainerReport) -> None:
        assert report.config is not None
        mine = {port.published for port in report.config.ports if port.published}
        for other in host.containers.values():
            if other.state in ACTIVE and other.config is not None and other.id != report.id:
                held = {port.published for port in other.config.ports}
                assert not mine & held, f"{step.id}: port held by {other.name}"
        host.containers[report.id] = replace(report, state="running", health="healthy")

    def _stop(self, host: ModelHost, release: str, step: Step) -> None:
        container = host.containers[step.container]
        if container.state in ACTIVE:
            host.containers[container.id] = replace(container, state="exited", health="none")

    def _resume(self, host: ModelHost, release: str, step: Step) -> None:
        assert host.containers[step.container].intact, f"{step.id}: it was changed"
        self._run(host, step, host.containers[step.container])

    def _remove(self, host: ModelHost, release: str, step: Step) -> None:
        assert host.containers[step.container].state not in ACTIVE, f"{step.id}: it runs"
        del host.containers[step.container]

    def _commit(self, host: ModelHost, release: str, step: Step) -> None:
        assert step.record is not None
        host.releases[step.record.id] = step.record

    def _forget(self, host: ModelHost, release: str, step: Step) -> None:
        del host.releases[step.name]

    def _remove_image(self, host: ModelHost, release: str, step: Step) -> None:
        used = [item.name for item in host.containers.values() if item.image == step.name]
        assert not used, f"{step.id}: used by {used}"
        host.images.remove(step.name)

    def _remove_volume(self, host: ModelHost, release: str, step: Step) -> None:
        host.volumes.remove(step.name)


def inspectable(step: Step) -> bool:
    """Return whether a step changes what runs."""
    return step.kind in (StepKind.START, StepKind.STOP, StepKind.RESUME)
