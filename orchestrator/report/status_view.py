"""`deploy status`, `history` and `show` as text and as single JSON documents.

Owns their layout and their documents' fields, each listed by hand. Pure; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.planning.types import Observed
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import ReleaseRecord
from orchestrator.report.fleet import (
    FleetStatus,
    InstanceStatus,
    fleet_status,
    release_changes,
    release_number,
)
from orchestrator.report.routes_view import held_document, held_lines, router_document, router_lines
from orchestrator.report.serving import RouterStatus, router_statuses
from orchestrator.report.style import Role, Style, unstyled
from orchestrator.report.table import Cell, table
from orchestrator.report.text import clean, duration, moment, plural, short_id

VERSION = 1
"""Of every document here; raised when a field changes its meaning or goes away."""

_STATUS = ("SERVICE", "SLOT", "HOST", "RELEASE", "STATE", "HEALTH", "RESTARTS", "UPTIME", "IMAGE")
_HISTORY = ("", "RELEASE", "WHEN", "WHO", "REASON", "CHANGES")
_HEALTH_ROLES: Mapping[str, Role] = {"healthy": "good", "unhealthy": "bad"}


# --- status --------------------------------------------------------------------------------------


def render_status(observed: Observed, *, now: float, style: Style = unstyled) -> str:
    """Return the table of all instances, and below it what a person should look at."""
    fleet = fleet_status(observed, now)
    rows = [_instance_row(item) for item in fleet.instances]
    lines = [*table(_STATUS, rows, style)]
    notes = [
        f"{style('!', 'warning')} {item.service}[{item.slot}] on {item.host}: {item.note}"
        for item in fleet.instances
        if item.note
    ]
    notes += [f"{style('!', 'bad')} {host}: {why}" for host, why in fleet.down]
    notes += [
        f"{style('!', 'warning')} {host}: held by {owner} for {duration(now - since)} ({reason}, {release})"
        for host, owner, reason, release, since in fleet.leases
    ]
    routers = router_statuses(observed)
    notes += [*router_lines(routers, style), *held_lines(observed, now, style)]
    for block in (notes, [_status_summary(fleet, routers, style)]):
        if block:
            lines += ["", *block] if lines else block
    return "\n".join((*lines, ""))


def status_document(observed: Observed, *, now: float) -> dict[str, Any]:
    """Return the status as JSON values."""
    fleet = fleet_status(observed, now)
    errors = dict(fleet.down)
    return {
        "document": "status",
        "version": VERSION,
        "time": round(now, 3),
        "release": fleet.release,
        "instances": [_instance_document(item) for item in fleet.instances],
        "kept": fleet.kept,
        "hosts": [
            {"host": name, "reachable": name not in errors, "error": errors.get(name, "")}
            for name in (clean(host.name) for host in observed.hosts)
        ],
        "leases": [
            {"host": host, "owner": owner, "reason": reason, "release": release, "since": since}
            for host, owner, reason, release, since in fleet.leases
        ],
        "held": held_document(observed),
        "routers": [{"host": router.host, **router_document(router)} for router in router_statuses(observed)],
    }


def _instance_row(item: InstanceStatus) -> tuple[Cell, ...]:
    stopped = item.state not in {"running", "unknown", "missing"}
    state = f"{item.state} ({item.exit_code})" if stopped else item.state
    return (
        Cell(item.service),
        Cell(str(item.slot)),
        Cell(item.host),
        Cell(f"{item.release} held" if item.held else item.release, "warning" if item.held else None),
        Cell(state, None if item.state == "running" else "bad"),
        Cell(item.health, _HEALTH_ROLES.get(item.health, "dim")),
        Cell(str(item.restarts), "warning" if item.restarts else None),
        Cell("-" if item.uptime is None else duration(int(item.uptime))),
        Cell(short_id(item.image) or "-", "dim"),
    )


def _instance_document(item: InstanceStatus) -> dict[str, Any]:
    return {
        "service": item.service,
        "slot": item.slot,
        "host": item.host,
        "release": item.release,
        "state": item.state,
        "health": item.health,
        "restarts": item.restarts,
        "uptime": None if item.uptime is None else round(item.uptime, 3),
        "image": item.image,
        "exit_code": item.exit_code,
        "held": item.held,
        "note": item.note,
    }


def _status_summary(fleet: FleetStatus, routers: Sequence[RouterStatus], style: Style) -> str:
    if not fleet.release and not fleet.instances:
        return "nothing is deployed"
    healthy = sum(item.state == "running" and item.health == "healthy" for item in fleet.instances)
    total = len(fleet.instances)
    role: Role = "good" if all(item.good for item in fleet.instances) and not fleet.down else "bad"
    parts = [
        f"release {fleet.release}" if fleet.release else "no release",
        style(f"{healthy} of {plural(total, 'instance')} healthy", role),
    ]
    if routers:
        running = sum(router.running for router in routers)
        shown = f"{running} of {plural(len(routers), 'router')} running"
        parts.append(style(shown, "good" if running == len(routers) else "bad"))
    if fleet.kept:
        parts.append(f"{plural(fleet.kept, 'stopped instance')} of other releases")
    if fleet.down:
        parts.append(f"{plural(len(fleet.down), 'host')} did not answer")
    return ", ".join(parts)


# --- history -------------------------------------------------------------------------------------


def render_history(
    records: Sequence[ReleaseRecord], *, current: str, now: float, style: Style = unstyled
) -> str:
    """Return one line per release, newest last, the one in force marked ``*``."""
    ordered = _ordered(records)
    if not ordered:
        return "no releases yet\n"
    rows = [
        (
            Cell("*" if record.id == current else "", "good"),
            Cell(clean(record.id), "strong" if record.id == current else None),
            Cell(f"{moment(record.created_at)} UTC ({duration(int(now - record.created_at))} ago)"),
            Cell(clean(record.author)),
            Cell(clean(record.reason)),
            Cell(_changes_text(record, ordered)),
        )
        for record in ordered
    ]
    return "\n".join((*table(_HISTORY, rows, style), ""))


def history_document(records: Sequence[ReleaseRecord], *, current: str) -> dict[str, Any]:
    """Return the history as JSON values, oldest first."""
    ordered = _ordered(records)
    return {
        "document": "history",
        "version": VERSION,
        "current": clean(current),
        "releases": [_record_document(record) | {"changes": _changes(record, ordered)} for record in ordered],
    }


def _ordered(records: Sequence[ReleaseRecord]) -> tuple[ReleaseRecord, ...]:
    return tuple(sorted(records, key=lambda record: release_number(record.id)))


def _changes(record: ReleaseRecord, records: Sequence[ReleaseRecord]) -> dict[str, int] | None:
    changes = release_changes(record, records)
    if not changes.known:
        return None
    return {"create": changes.created, "replace": changes.replaced, "remove": changes.removed}


def _changes_text(record: ReleaseRecord, records: Sequence[ReleaseRecord]) -> str:
    changes = _changes(record, records)
    if changes is None:
        return f"{clean(record.parent)} is forgotten"
    return f"+{changes['create']} ±{changes['replace']} -{changes['remove']}"


# --- show ----------------------------------------------------------------------------------------


def render_release(records: Sequence[ReleaseRecord], *, style: Style = unstyled) -> str:
    """Return all that is known of one release.

    Args:
        records: The release as each host remembers it (they differ in ``configs`` only); at least one.
        style: Dresses headings.
    """
    record, configs = records[0], _configs(records)
    facts = [
        ("created", f"{moment(record.created_at)} UTC by {clean(record.author)}"),
        ("reason", clean(record.reason)),
        ("after", clean(record.parent) or "nothing: the first"),
        ("spec", short_id(record.spec_digest)),
    ]
    lines = [style(f"release {clean(record.id)}", "strong")]
    lines += [f"  {name:<8} {value}" for name, value in facts]
    lines += ["", style("images", "strong")]
    lines += [f"  {clean(name)}  {short_id(image)}" for name, image in record.images]
    rows = [
        (Cell(clean(i.service)), Cell(str(i.slot)), Cell(clean(i.host)), Cell(short_id(i.digest), "dim"))
        for i in record.instances
    ]
    lines += ["", *table(("SERVICE", "SLOT", "HOST", "CONFIG"), rows, style)]
    for digest, config in configs:
        lines += ["", style(f"{clean(config.service)} {short_id(digest)}", "strong")]
        lines += [f"  {name:<12} {value}" for name, value in _config_facts(config)]
    return "\n".join((*lines, ""))


def release_document(records: Sequence[ReleaseRecord]) -> dict[str, Any]:
    """Return one release as JSON values; ``records`` as for :func:`render_release`."""
    record = records[0]
    return {
        "document": "release",
        "version": VERSION,
        **_record_document(record),
        "images": {clean(name): clean(image) for name, image in record.images},
        "instances": [
            {"service": clean(i.service), "slot": i.slot, "host": clean(i.host), "config": clean(i.digest)}
            for i in record.instances
        ],
        "configs": {digest: _config_document(config) for digest, config in _configs(records)},
    }


def _record_document(record: ReleaseRecord) -> dict[str, Any]:
    return {
        "release": clean(record.id),
        "created_at": record.created_at,
        "author": clean(record.author),
        "reason": clean(record.reason),
        "parent": clean(record.parent),
        "spec_digest": clean(record.spec_digest),
    }


def _configs(records: Sequence[ReleaseRecord]) -> tuple[tuple[str, InstanceConfig], ...]:
    found = {config.digest: config for record in records for config in record.configs}
    return tuple(sorted(found.items(), key=lambda item: (item[1].service, item[0])))


def _config_document(config: InstanceConfig) -> dict[str, Any]:
    """Return names only: neither the values of variables, nor hashes of secrets."""
    return {
        "service": clean(config.service),
        "image": clean(config.image),
        "environment": [clean(name) for name, _ in config.environment],
        "configs": [clean(item.target) for item in config.configs],
        "secrets": [clean(item.name) for item in config.secrets],
        "volumes": [clean(mount.target) for mount in config.mounts],
        "ports": [f"{port.published}:{port.target}/{clean(port.protocol)}" for port in config.ports],
        "healthcheck": clean(config.healthcheck.type),
    }


def _config_facts(config: InstanceConfig) -> tuple[tuple[str, str], ...]:
    """Return the facts that are there as (name, text)."""
    document = _config_document(config)
    document["image"] = short_id(config.image)
    shown = {key: ", ".join(value) if isinstance(value, list) else value for key, value in document.items()}
    return tuple((key, value) for key, value in shown.items() if value and key != "service")
