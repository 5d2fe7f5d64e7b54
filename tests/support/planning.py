"""Projects, fleets and plans for tests of planning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from support.fleet_model import KEY, FleetModel

from orchestrator.planning.desired import Inputs, desired
from orchestrator.planning.limit import EVERYTHING, Limit
from orchestrator.planning.observed import Index, placement
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.release import records
from orchestrator.planning.rollout import rollout
from orchestrator.planning.types import Artifact, Desired, Plan, Step
from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.model import Project


def image_id(text: str) -> str:
    """Return an image id made from ``text``."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def project(services: Mapping[str, Mapping[str, Any]], **fields: Any) -> Project:
    """Return a project; every service runs image ``app`` on all hosts unless it says otherwise."""
    return Project.model_validate(
        {
            "project": "shop",
            "images": {"app": {"image": "app:1"}, "other": {"image": "other:1"}},
            "services": {name: {"image": "app", **service} for name, service in services.items()},
            **fields,
        }
    )


def inventory(*hosts: str, **groups: Sequence[str]) -> Inventory:
    """Return an inventory of hosts and groups."""
    return Inventory(
        hosts=tuple(
            Host(
                name=host,
                address=f"{host}.example",
                groups=tuple(sorted(name for name, members in groups.items() if host in members)),
                labels=(("zone", host[-1]),),
            )
            for host in hosts
        ),
        groups={"all": tuple(hosts), **{name: tuple(members) for name, members in groups.items()}},
    )


def render(template_text: str, context: Mapping[str, Any], /, *, file: str) -> str:
    """Render by ``str.format``: enough to depend on the instance."""
    return template_text.format(**context)


def wanted(
    model: Project,
    fleet: FleetModel,
    *,
    hosts: Inventory | None = None,
    images: Mapping[str, str] | None = None,
    secrets: Mapping[tuple[str, str], bytes] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Desired:
    """Return what should run, for a fleet as it is."""
    index = Index(fleet.observed())
    ids = {name: image_id(name) for name in model.images} | dict(images or {})
    inputs = Inputs(
        spec_digest="5" * 64,
        artifacts={name: Artifact(name, reference=f"{name}:1", id=ids[name]) for name in model.images},
        keys={host: report.key for host, report in index.up.items()},
        render=render,
        files=files or {},
        secrets=secrets or {},
        current=placement(index),
    )
    return desired(model, hosts or inventory(*fleet.hosts), inputs)


def planned(model: Project, fleet: FleetModel, *, limit: Limit = EVERYTHING, **options: Any) -> Plan:
    """Return the plan of an apply."""
    return reconcile(wanted(model, fleet, **options), fleet.observed(), limit=limit)


def rolled_out(plan: Plan, *, max_parallel: int = 1) -> tuple[Step, ...]:
    """Return the steps of a plan."""
    made = records(plan, created_at=float(int(plan.release[1:] or 0)), author="ann@ci")
    return rollout(plan, made, max_parallel=max_parallel)


def applied(model: Project, fleet: FleetModel, **options: Any) -> Plan:
    """Plan and carry out, on the model."""
    plan = planned(model, fleet, **options)
    fleet.apply(plan, rolled_out(plan))
    return plan


def lines(plan: Plan) -> list[str]:
    """Return a plan's changes as text, without what is kept."""
    return [
        f"{change.action.value} {change.name} {change.host}: "
        + "; ".join(item.message for item in change.reasons)
        for change in plan.changes
        if change.action.value != "keep"
    ]


__all__ = ["KEY", "applied", "image_id", "inventory", "lines", "planned", "project", "rolled_out", "wanted"]
