"""A fleet model whose hosts have routers: what routing steps do, as exactly as planning cares."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from support.fleet_model import FleetModel, ModelHost
from support.planning import image_id, inventory, render

from orchestrator.planning.desired import Inputs, desired
from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import ACTIVE, Index, placement
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.release import records
from orchestrator.planning.rollout import rollout
from orchestrator.planning.routing.changes import pictures_in_force
from orchestrator.planning.types import Artifact, Desired, ObservedHost, Plan, Step
from orchestrator.protocol.routing import Assigned, RouterConfig, RoutingReport, Shift
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.model import Project

Key = tuple[str, int, str]
"""(service, slot, release): how messages name a container."""


@dataclass
class ModelRouter:
    """One host's router: its picture, and who has a seat with which weight."""

    picture: RouterConfig
    seats: dict[Key, int]
    running: bool = True


class RoutedFleet(FleetModel):
    """Hosts that do what steps say, routers included."""

    def __init__(self, hosts: Iterable[str]) -> None:
        super().__init__(hosts)
        self.routers: dict[str, ModelRouter] = {}
        self.jobs: list[str] = []

    def serving(self, host: str, service: str) -> dict[tuple[int, str], int]:
        """Return (slot, release) -> weight of everything with traffic."""
        seats = self.routers[host].seats if host in self.routers else {}
        return {key[1:]: weight for key, weight in seats.items() if key[0] == service and weight}

    def _host(self, name: str) -> ObservedHost:
        seen = super()._host(name)
        router = self.routers.get(name)
        if seen.report is None or router is None:
            return seen
        servers = tuple(
            Assigned(
                backend=backend.name,
                server=f"s{number}",
                service=key[0],
                slot=key[1],
                release=key[2],
                recorded_weight=weight,
            )
            for backend in router.picture.backends
            for number, (key, weight) in enumerate(sorted(router.seats.items()), 1)
            if key[0] == backend.service
        )
        report = RoutingReport(router.picture.digest, router.picture.image, router.running, servers=servers)
        return ObservedHost(name, replace(seen.report, routing=report))

    def _alive(self, host: ModelHost, step: Step, key: Key) -> None:
        found = [c for c in host.containers.values() if (c.service, c.slot, c.release) == key]
        assert any(c.state in ACTIVE for c in found), f"{step.id}: {key} does not run"

    def _router(self, host: ModelHost, release: str, step: Step) -> None:
        if step.routing is None:
            del self.routers[step.host]
            return
        assert isinstance(step.routing, RouterConfig)
        assert step.routing.image in host.images, f"{step.id}: no image"
        before = self.routers.get(step.host)
        services = defaultdict(list)
        for backend in step.routing.backends:
            services[backend.service].append(backend.slots)
        seats = {key: weight for key, weight in before.seats.items() if key[0] in services} if before else {}
        for service, slots in services.items():
            count = sum(key[0] == service for key in seats)
            assert count <= min(slots), f"{step.id}: {count} containers of {service} in {slots}"
        self.routers[step.host] = ModelRouter(step.routing, seats)

    def _attach(self, host: ModelHost, release: str, step: Step) -> None:
        key = (step.service, step.slot, step.release or release)
        self._alive(host, step, key)
        router = self.routers[step.host]
        slots = [backend.slots for backend in router.picture.backends if backend.service == step.service]
        assert slots, f"{step.id}: no backend"
        router.seats.setdefault(key, 0)
        assert sum(seat[0] == step.service for seat in router.seats) <= min(slots), f"{step.id}: full"

    def _detach(self, host: ModelHost, release: str, step: Step) -> None:
        self.routers[step.host].seats.pop((step.service, step.slot, step.release or release), None)

    _drain = _detach

    def _shift(self, host: ModelHost, release: str, step: Step) -> None:
        assert isinstance(step.routing, Shift)
        seats = self.routers[step.host].seats
        named = {(step.service, m.slot, m.release): m.weight for m in step.routing.members}
        for key in named:
            assert key in seats, f"{step.id}: {key} has no seat"
            self._alive(host, step, key)
        seats.update({key: named.get(key, 0) for key in seats if key[0] == step.service})

    def _stop(self, host: ModelHost, release: str, step: Step) -> None:
        container = host.containers[step.container]
        key = (container.service, container.slot, container.release)
        router = self.routers.get(step.host)
        if router is not None:
            assert not router.seats.get(key), f"{step.id}: it has traffic"
        super()._stop(host, release, step)

    def _job(self, host: ModelHost, release: str, step: Step) -> None:
        assert step.desired is not None
        assert step.desired.config.image in host.images, f"{step.id}: no image"
        self.jobs.append(f"{step.host} {' '.join(step.desired.config.command or ())}")

    def _nothing(self, host: ModelHost, release: str, step: Step) -> None:
        """Nothing that planning can see."""

    _watch = _check = _arm = _disarm = _confirm = _hold = _unhold = _nothing


def wanted(model: Project, fleet: FleetModel, *, hosts: Inventory | None = None, **others: Any) -> Desired:
    """Return what should run and be served, for a fleet as it is."""
    return desired(model, hosts or inventory(*fleet.hosts), inputs(model, fleet, **others))


def inputs(
    model: Project,
    fleet: FleetModel,
    *,
    images: Mapping[str, str] | None = None,
    secrets: Mapping[tuple[str, str], bytes] | None = None,
    certificates: Mapping[str, bytes] | None = None,
) -> Inputs:
    """Return everything that is not in the spec."""
    index = Index(fleet.observed())
    ids = {name: image_id(name) for name in model.images} | dict(images or {})
    return Inputs(
        spec_digest="5" * 64,
        artifacts={name: Artifact(name, build="b" * 64, id=ids[name]) for name in model.images},
        keys={host: report.key for host, report in index.up.items()},
        render=render,
        secrets=secrets or {},
        current=placement(index),
        certificates=certificates or {},
        endpoints=index.current.endpoints if index.current else (),
        routers=pictures_in_force(index),
    )


def planned(model: Project, fleet: FleetModel, *, limit: Limit = EVERYTHING, **options: Any) -> Plan:
    """Return the plan of an apply."""
    return reconcile(wanted(model, fleet, **options), fleet.observed(), limit=limit)


def carried_out(plan: Plan, fleet: FleetModel) -> Plan:
    """Carry a plan out on the model, and return it."""
    number = int(plan.release[1:] or 0)
    fleet.apply(plan, rollout(plan, records(plan, created_at=float(number), author="ann@ci")))
    return plan


def applied(model: Project, fleet: FleetModel, **options: Any) -> Plan:
    """Plan and carry out, on the model."""
    return carried_out(planned(model, fleet, **options), fleet)


def router_lines(plan: Plan) -> list[str]:
    """Return a plan's changes of routers as text."""
    return [f"{c.host}: {'; '.join(reason.message for reason in c.reasons)}" for c in plan.routers]
