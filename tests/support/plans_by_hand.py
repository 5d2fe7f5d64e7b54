"""Desired states, steps and plans made by hand, for tests of what carries them out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from support.fake_fleet import FakeFleet

from orchestrator.planning.observed import observed
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.types import Artifact, Desired, DesiredInstance, Plan, Step, StepKind
from orchestrator.protocol.instance import InstanceConfig, Port
from orchestrator.protocol.messages import ReleaseRecord

RECORD = ReleaseRecord("r2", 1.0, "ann@ci", "0" * 64)


def image(name: str) -> str:
    """Return an image id."""
    return f"sha256:{hashlib.sha256(name.encode()).hexdigest()}"


def config(service: str = "api", version: str = "new", **fields: Any) -> InstanceConfig:
    """Return a configuration."""
    return InstanceConfig("shop", service, image(version), **fields)


def start(host: str, service: str = "api", slot: int = 1, after: Sequence[str] = (), **fields: Any) -> Step:
    """Return a start of a new instance; ``fields`` are the desired instance's."""
    wanted = fields.pop("config", None) or config(service)
    desired = DesiredInstance(service, slot, host, wanted, "app", **fields)
    name = f"start {host} {service}[{slot}]"
    return Step(name, StepKind.START, host, tuple(after), service, slot, desired)


def stop(host: str, container: str, service: str = "api", slot: int = 1, after: Sequence[str] = ()) -> Step:
    """Return a stop of an old instance."""
    name = f"stop {host} {service}[{slot}]"
    return Step(name, StepKind.STOP, host, tuple(after), service, slot, container=container)


def ship(host: str, version: str = "new") -> Step:
    """Return a ship of an image."""
    return Step(f"ship {host} {version}", StepKind.SHIP, host, image=image(version))


def commit(host: str, after: Sequence[str], *, essential: bool = True) -> Step:
    """Return the commit of one host."""
    return Step(f"commit {host}", StepKind.COMMIT, host, tuple(after), record=RECORD, essential=essential)


def remove(host: str, container: str, after: Sequence[str] = (), service: str = "api") -> Step:
    """Return a clean-up of an old instance."""
    name = f"remove {host} {container}"
    return Step(name, StepKind.REMOVE, host, tuple(after), service, 1, container=container, essential=False)


def plan(**fields: Any) -> Plan:
    """Return a plan of nothing in particular: what is done is said by the steps beside it."""
    return Plan("shop", "r2", "apply", desired([]), (), **fields)


def desired(
    instances: Iterable[tuple[str, int, str, str]],
    depends_on: Iterable[tuple[str, tuple[str, ...]]] = (),
    ports: Iterable[str] = (),
) -> Desired:
    """Return what should run: (service, slot, host, version), and the services with a fixed host port."""
    ports = frozenset(ports)
    items = []
    for service, slot, host, version in sorted(instances):
        number = 1000 + sum(service.encode()) * 100 + slot
        fixed = (Port(80, number),) if service in ports else ()
        wanted = config(service, version, ports=fixed)
        items.append(DesiredInstance(service, slot, host, wanted, version, stop_first=bool(fixed)))
    names = sorted({item.service for item in items})
    needs = dict(depends_on)
    return Desired(
        "shop",
        "0" * 64,
        tuple(items),
        tuple(Artifact(version, id=image(version)) for version in sorted({i.image for i in items})),
        tuple((name, tuple(n for n in needs.get(name, ()) if n in names)) for name in names),
        tuple((name, 2) for name in names),
    )


def plan_for(fleet: FakeFleet, wanted: Desired, *, now: float = 0.0) -> Plan:
    """Return the real plan from what the fleet is to what is wanted, ``now`` (seconds since the epoch)."""
    reports = {name: host.report() for name, host in fleet.hosts.items()}
    return reconcile(wanted, observed(reports, "shop"), now=now)
