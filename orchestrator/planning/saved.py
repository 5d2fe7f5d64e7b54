"""A plan as a document: what ``plan --json`` prints, ``--out`` saves, and an apply of it is held to.

Owns the document's form, by a list of what may be in it (never a configuration, a content or a secret),
and the comparison with a fresh plan. It must not know files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.errors import RequestError
from orchestrator.planning.types import Action, Change, Plan, Reason, RouterChange

VERSION = 1
"""Raised when the meaning of a field changes; new fields do not raise it."""

Document = Mapping[str, Any]


def plan_document(plan: Plan, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``plan`` as JSON values.

    Args:
        plan: What to write down.
        request: What is needed to make the plan again (files, inventory, limit), as JSON values.
    """
    counts = {action.value: 0 for action in Action}
    for change in plan.changes:
        counts[change.action.value] += 1
    return {
        "version": VERSION,
        "kind": "plan",
        "request": dict(request or {}),
        "project": plan.project,
        "release": plan.release,
        "reason": plan.reason,
        "spec_digest": plan.desired.spec_digest,
        "empty": plan.empty,
        "counts": counts,
        "changes": [_change(change) for change in plan.changes],
        "routers": [_router(change) for change in plan.routers],
        "artifacts": [
            {"name": item.name, "build": item.build, "reference": item.reference, "id": item.id}
            for item in plan.desired.artifacts
        ],
        "builds": [item.name for item in plan.builds],
        "ships": [{"host": host, "image": image} for host, image in plan.ships],
        "skipped": [{"host": host, "reason": why} for host, why in plan.skipped],
        "forgets": [{"host": host, "release": release} for host, release in plan.forgets],
        "removed_images": [{"host": host, "image": image} for host, image in plan.images],
        "removed_volumes": [{"host": host, "volume": volume} for host, volume in plan.volumes],
        "placement": [{"instance": name, "reason": why} for name, why in plan.desired.explanations],
        "states": dict(plan.states),
        "epoch": plan.epoch,
    }


def _router(change: RouterChange) -> dict[str, Any]:
    return {
        "host": change.host,
        "digest": change.desired.digest if change.desired is not None else "",
        "reasons": _reasons(change.reasons),
    }


def differences(saved: Document, fresh: Document) -> tuple[str, ...]:
    """Return what has changed since ``saved`` was made, one clause each; empty when it still holds.

    Args:
        saved: A document as it was read back: anything may be in it.
        fresh: The document of the plan made now.

    Raises:
        RequestError: ``saved`` is no plan that this version understands.
    """
    if saved.get("kind") != "plan" or saved.get("version") != VERSION:
        raise RequestError("cannot read the saved plan: it is no plan of this version", hint="plan again")
    try:
        found = tuple(_differences(saved, fresh))
    except (AttributeError, KeyError, TypeError) as error:
        raise RequestError(f"cannot read the saved plan: {error!r}", hint="plan again") from error
    return tuple(dict.fromkeys(found))


def _change(change: Change) -> dict[str, Any]:
    return {
        "action": change.action.value,
        "service": change.service,
        "slot": change.slot,
        "host": change.host,
        "image": change.desired.image if change.desired else "",
        "digest": change.desired.config.digest if change.desired else "",
        "current": change.current.container.id if change.current else "",
        "resumes": change.resumes.container.id if change.resumes else "",
        "reasons": _reasons(change.reasons),
    }


def _reasons(reasons: Iterable[Reason]) -> list[dict[str, str]]:
    return [{"code": reason.code, "message": reason.message, "path": reason.path} for reason in reasons]


def _differences(saved: Document, new: Document) -> Iterator[str]:
    if saved["project"] != new["project"]:
        yield f"the project is {new['project']}, not {saved['project']}"
    if saved["spec_digest"] != new["spec_digest"]:
        yield "the spec has changed"
    yield from _artifacts(saved, new)
    yield from _states(saved["states"], new["states"])
    if saved["release"] != new["release"]:
        yield f"the next release is {new['release']}, not {saved['release']}"
    yield from _changes(saved, new)
    yield from _routers(saved, new)
    for key, what in (
        ("forgets", "old releases to forget"),
        ("removed_images", "images to remove"),
        ("removed_volumes", "volumes to remove"),
    ):
        if saved[key] != new[key]:
            yield f"the {what} have changed"


def _artifacts(saved: Document, new: Document) -> Iterator[str]:
    old = {item["name"]: item for item in saved["artifacts"]}
    for item in new["artifacts"]:
        before = old.pop(item["name"], None)
        if before is None:
            yield f"image {item['name']} is new"
        elif (before["build"], before["reference"]) != (item["build"], item["reference"]):
            yield f"image {item['name']} has changed"
        elif before["id"] and item["id"] and before["id"] != item["id"]:
            yield f"image {item['name']} was built again"
    yield from (f"image {name} is gone" for name in sorted(old))


def _states(saved: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for host in sorted(saved.keys() | new.keys()):
        if host not in new:
            yield f"host {host} does not answer any more"
        elif host not in saved:
            yield f"host {host} answers now"
        elif saved[host] != new[host]:
            yield f"the state of host {host} has changed"


def _changes(saved: Document, new: Document) -> Iterator[str]:
    unbuilt = {*saved["builds"], *new["builds"]}
    old, fresh = (dict(_lines(document, unbuilt)) for document in (saved, new))
    for key in sorted(old.keys() | fresh.keys()):
        action, name, host, _ = key
        if key not in fresh:
            yield f"{action} {name} on {host} is no longer planned"
        elif key not in old:
            yield f"{action} {name} on {host} was not planned"
        elif old[key] != fresh[key]:
            yield f"{action} {name} on {host} would run another configuration"


def _routers(saved: Document, new: Document) -> Iterator[str]:
    """Yield the routers that would be changed in another way, as far as their image is known."""
    old, fresh = (
        {item["host"]: item["digest"] for item in document.get("routers", ())} for document in (saved, new)
    )
    comparable = saved["builds"] == new["builds"]
    for host in sorted(old.keys() | fresh.keys()):
        if host not in old or host not in fresh or (comparable and old[host] != fresh[host]):
            yield f"the router of {host} would be changed in another way"


def _lines(document: Document, unbuilt: set[str]) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    """Yield what identifies each change, and its digest as far as its image is known."""
    for change in document["changes"]:
        name = f"{change['service']}[{change['slot']}]"
        key = (change["action"], name, change["host"], f"{change['current']} {change['resumes']}")
        yield key, "" if change["image"] in unbuilt else change["digest"]
