"""A job: one container run to its end, once per release and name.

Owns creating, awaiting and remembering it. A job that ended well leaves a mark and is removed; one that
failed stays for a look at it until it is tried again. It must not know what the job is for.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict

from orchestrator.agent import containers, durable, failures
from orchestrator.agent.containers import Identity
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import check_name
from orchestrator.agent.stage import Stage
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import Failure

_SLICE = 0.2
_GRACE = 10


def run(
    engine: Engine,
    journal: Journal,
    identity: Identity,
    config: InstanceConfig,
    *,
    name: str,
    seconds: float,
    cancelled: threading.Event,
    tell: Callable[[str], None],
) -> str:
    """Run a job to its end, unless it has ended well before in this release; return a remark.

    Args:
        engine: The host's engine.
        journal: The project.
        identity: Service, slot and release it belongs to.
        config: What to run: the new image with the new environment.
        name: Of the job, unique within the release.
        seconds: Longest run.
        cancelled: Ends it early.
        tell: Called with the id of its container once it runs.

    Raises:
        OperationFailed: ``exited`` with its last lines, ``timeout`` or ``cancelled``.
        EngineError, Refusal, OSError: It could not be run.
    """
    mark = _mark(journal, identity.release, name)
    if mark.exists():
        return "ran already in this release"
    journal.put_instance(config)
    stage = Stage(engine, journal)
    stage.network()
    stage.volumes(config)
    title = f"{identity.project}-job-{name}-{identity.release}"
    _remove(engine, title)
    files = stage.files(config, title)
    body = _body(config, identity, files, name)
    container = str(engine.post("/containers/create", {"name": title}, body)["Id"])
    started = time.monotonic()
    engine.post(f"/containers/{container}/start")
    tell(container)
    status = _await(engine, container, started + seconds, cancelled)
    took = round(time.monotonic() - started, 3)
    if status != 0:
        logs = failures.last_lines(engine, container)
        message = f"job {name!r} ended with exit status {status}"
        raise OperationFailed(
            "exited", message, failure=Failure("exited", message, (), logs, took), container=container
        )
    durable.write(mark, config.digest.encode())
    _remove(engine, title)
    stage.discard_files(title)
    return f"took {took:g} s"


def forget(journal: Journal, release: str) -> None:
    """Forget the jobs of a release that is no longer kept."""
    folder = journal.files.base / "jobs"
    if folder.is_dir():
        for path in folder.glob(f"{release}-*"):
            durable.remove(path)


def _mark(journal: Journal, release: str, name: str) -> Path:
    return journal.files.base / "jobs" / f"{release}-{check_name(name, 'job')}"


def _body(config: InstanceConfig, identity: Identity, files: Any, name: str) -> Dict[str, Any]:
    body = containers.create_body(config, identity, files)
    body["Labels"][containers.JOB] = name
    body["HostConfig"]["RestartPolicy"] = {"Name": "no"}
    # No alias: nobody who asks for the service may reach its job.
    body["NetworkingConfig"] = {"EndpointsConfig": {identity.project: {}}}
    return body


def _await(engine: Engine, container: str, give_up: float, cancelled: threading.Event) -> int:
    while True:
        state = engine.get(f"/containers/{container}/json").get("State") or {}
        if state.get("Status") in ("exited", "dead"):
            return int(state.get("ExitCode") or 0)
        late = time.monotonic() > give_up
        if late or cancelled.wait(_SLICE):
            engine.post(f"/containers/{container}/stop", {"t": _GRACE}, timeout=_GRACE + 60)
            if late:
                logs = failures.last_lines(engine, container)
                message = "the job does not end in time"
                raise OperationFailed(
                    "timeout", message, failure=Failure("timeout", message, (), logs), container=container
                )
            raise OperationFailed("cancelled", "stopped on request", container=container)


def _remove(engine: Engine, name: str) -> None:
    try:
        engine.post(f"/containers/{name}/stop", {"t": _GRACE}, timeout=_GRACE + 60)
        engine.delete(f"/containers/{name}", {"force": False})
    except EngineError as error:
        if not error.not_found:
            raise
