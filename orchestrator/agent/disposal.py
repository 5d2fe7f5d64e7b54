"""Taking away: containers, volumes, images, and what the journal no longer needs.

Owns the refusals that keep what is in use, and the clean-up after a change. It must not know why
something is to go. Nothing is ever forced.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any, Dict, Iterator, List, Optional

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.instances import Instances, Outcome
from orchestrator.agent.journal import Journal

_GONE = "was gone already"


def remove(instances: Instances, container: str) -> Outcome:
    """Delete a stopped container; what runs is ended first only if it belongs to no release.

    Raises:
        OperationFailed: It runs as part of a release, or is not ours.
    """
    inspect = instances.find(container)
    if inspect is None:
        return Outcome(container, _GONE)
    instances.halt_leftover(inspect)
    instances.delete(inspect)
    return Outcome(container)


def remove_volume(engine: Engine, project: str, name: str) -> Outcome:
    """Delete a volume of the project, with its data.

    Raises:
        OperationFailed: ``conflict``: it is in use, or was not made for this project.
    """
    path = f"/volumes/{project}_{name}"
    volume = _find(engine, path)
    if volume is None:
        return Outcome(detail=_GONE)
    if (volume.get("Labels") or {}).get(containers.PROJECT) != project:
        raise OperationFailed("conflict", f"volume {project}_{name} was not made for this project")
    try:
        engine.delete(path)
    except EngineError as error:
        if error.status == 409:
            raise OperationFailed("conflict", error.message) from error
        raise
    return Outcome()


def remove_image(engine: Engine, image: str) -> Outcome:
    """Delete an image that no container uses, whatever it is tagged.

    Raises:
        OperationFailed: ``conflict``: a container, even a stopped one, was made from it.
    """
    if _find(engine, f"/images/{image}/json") is None:
        return Outcome(detail=_GONE)
    for container in engine.get("/containers/json", {"all": True}) or ():
        if container.get("ImageID") == image:
            raise OperationFailed("conflict", f"container {_name(container)} was made from this image")
    # Several tags are the one thing that has to be overruled, and the engine calls that force.
    engine.delete(f"/images/{image}", {"force": True})
    return Outcome()


def _find(engine: Engine, path: str) -> Optional[Dict[str, Any]]:
    try:
        return dict(engine.get(path))
    except EngineError as error:
        if error.not_found:
            return None
        raise


class _Changes:
    """Counts the changes under way in this process, the only one that holds the lease."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.under_way: Dict[str, int] = {}


_changes = _Changes()


@contextlib.contextmanager
def changes(journal: Journal, engine: Engine) -> Iterator[None]:
    """Clean the journal up when the last of the changes under way to a project has ended.

    Not before: a start that has written its configuration but not yet its container would lose it.
    """
    project = str(journal.files.base)
    with _changes.lock:
        _changes.under_way[project] = _changes.under_way.get(project, 0) + 1
    try:
        yield
    finally:
        with _changes.lock:
            _changes.under_way[project] -= 1
            if not _changes.under_way[project]:
                del _changes.under_way[project]
                _collect(journal, engine)


def _collect(journal: Journal, engine: Engine) -> None:
    """Drop what nothing refers to; when the engine cannot say what there is, keep everything."""
    query = {"all": True, "filters": {"label": [f"{containers.PROJECT}={journal.project}"]}}
    try:
        listing: List[Dict[str, Any]] = engine.get("/containers/json", query) or []
    except EngineError:
        return
    journal.collect(
        {str(item["Id"]): (item.get("Labels") or {}).get(containers.DIGEST, "") for item in listing},
        [_name(item) for item in listing],
    )
    if not listing:
        _remove_network(engine, journal.project)


def _remove_network(engine: Engine, project: str) -> None:
    """Remove the project's network, which nothing of the project uses any more."""
    with contextlib.suppress(EngineError):  # somebody else's container may be connected: then it stays
        network = _find(engine, f"/networks/{project}")
        ours = network and (network.get("Labels") or {}).get(containers.PROJECT) == project
        if ours and network and network.get("Name") == project:
            engine.delete(f"/networks/{project}")


def _name(listed: Dict[str, Any]) -> str:
    return str((listed.get("Names") or ["?"])[0]).lstrip("/")
