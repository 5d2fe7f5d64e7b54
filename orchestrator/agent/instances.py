"""What can be done to one instance: start, stop, resume.

Owns the order of engine calls, adoption of what an interrupted run left, and taking back what did not
work out. There is no way to change a container here. It must not know about other instances.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any, Callable, Dict, Optional

from orchestrator.agent import containers, failures, ports
from orchestrator.agent.containers import Identity
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.fingerprint import fingerprint
from orchestrator.agent.health import Verdict, wait_healthy
from orchestrator.agent.journal import Journal
from orchestrator.agent.observe import is_intact
from orchestrator.agent.say import say
from orchestrator.agent.stage import Stage
from orchestrator.protocol.instance import Healthcheck, InstanceConfig
from orchestrator.protocol.messages import Failure
from orchestrator.protocol.records import dataclass

Tell = Callable[[str, str, str], None]
"""Called with (phase, container id or empty, detail) as an operation goes on."""

_DEFAULT_GRACE = 10
_MARGIN = 60.0
"""Seconds the engine may take beyond a container's own grace period."""


@dataclass(frozen=True)
class Outcome:
    """An operation that ended well."""

    container: str = ""
    detail: str = ""
    """``adopted``, ``was stopped already``, ...; empty when there is nothing to remark."""


class Instances:
    """The containers of one project. Safe to use from many threads, for different instances."""

    def __init__(self, engine: Engine, journal: Journal, cancelled: threading.Event) -> None:
        self._engine = engine
        self._journal = journal
        self._cancelled = cancelled
        self._stage = Stage(engine, journal)

    def start(
        self, identity: Identity, config: InstanceConfig, tell: Tell, *, seconds: float = 0.0
    ) -> Outcome:
        """Create a container, or adopt the half-started one that matches, and prove it healthy.

        One that does not become healthy is stopped and kept for a look at it; one that somebody asked
        to give up is removed.

        Args:
            identity: Who it is.
            config: What to run.
            tell: Is told how it goes on.
            seconds: Longest time to healthy, when its own health check is not to say.

        Raises:
            OperationFailed: It was not proven healthy.
            EngineError, Refusal, OSError: It could not even be tried.
        """
        tell("creating", "", "")
        self._journal.put_instance(config)
        self._stage.network()
        self._stage.volumes(config)
        found = self._adoptable(identity, config)
        container = str(found["Id"]) if found else self._create(identity, config)
        was_running = bool(found) and containers.is_running(found or {})
        restarts = int((found or {}).get("RestartCount") or 0) if was_running else 0
        try:
            self._run(container, _within(config, seconds), was_running, restarts, tell)
        except OperationFailed as failed:
            if failed.failure.code != "cancelled":
                self._halt_quietly(container)
            elif not was_running:
                self._discard(container, identity.name)
            raise
        return Outcome(container, "adopted" if found else "")

    def stop(self, container: str, tell: Tell) -> Outcome:
        """End a container and keep it; one that is gone or has ended already is no failure."""
        inspect = self.find(container)
        if inspect is None:
            return Outcome(container, "was gone already")
        tell("stopping", container, "")
        if (inspect.get("State") or {}).get("Status") in ("created", "exited", "dead"):
            return Outcome(container, "was stopped already")
        self._halt(container)
        return Outcome(container)

    def resume(self, container: str, tell: Tell, *, faulty: bool = False, seconds: float = 0.0) -> Outcome:
        """Start a stopped container again, exactly as it was, and prove it healthy; else stop it again.

        Args:
            container: Its id.
            tell: Is told how it goes on.
            faulty: It was unhealthy or changed when it was stopped: it is started, and that is all.
            seconds: As for :meth:`start`.

        Raises:
            OperationFailed: It is gone, was changed since it was made, or is not healthy.
        """
        inspect = self.find(container)
        if inspect is None:
            raise OperationFailed("not-found", "the container to start again is gone")
        if faulty:
            return self._resume_unproven(container, inspect, tell)
        if not is_intact(self._journal, inspect):
            raise OperationFailed("drift", "the container was changed since it was made", container=container)
        digest = containers.labels_of(inspect).get(containers.DIGEST, "")
        config = self._journal.instance(digest)
        if config is None:
            raise OperationFailed("not-found", "the journal has lost the container's configuration")
        was_running = containers.is_running(inspect)
        restarts = int(inspect.get("RestartCount") or 0) if was_running else 0
        try:
            self._run(container, _within(config, seconds), was_running, restarts, tell)
        except OperationFailed:
            if not was_running:
                self._halt_quietly(container)
            raise
        return Outcome(container, "was running already" if was_running else "")

    def _resume_unproven(self, container: str, inspect: Dict[str, Any], tell: Tell) -> Outcome:
        if containers.is_running(inspect):
            return Outcome(container, "was running already")
        tell("starting", container, "")
        self._engine.post(f"/containers/{container}/start")
        return Outcome(container, "as it was before: not proven healthy")

    def find(self, container: str) -> Optional[Dict[str, Any]]:
        """Return the inspect of a container of this project, or ``None`` when there is none.

        Raises:
            OperationFailed: It is not ours to touch.
        """
        try:
            inspect = self._engine.get(f"/containers/{container}/json")
        except EngineError as error:
            if error.not_found:
                return None
            raise
        if containers.labels_of(inspect).get(containers.PROJECT) != self._journal.project:
            name = containers.name_of(inspect)
            raise OperationFailed("conflict", f"container {name!r} does not belong to this project")
        return dict(inspect)

    def delete(self, inspect: Dict[str, Any]) -> None:
        """Delete a container, and what only it needed."""
        self._discard(str(inspect["Id"]), containers.name_of(inspect))

    def halt_leftover(self, inspect: Dict[str, Any]) -> None:
        """End a container that an interrupted or failed run left behind; one of a release is refused.

        Raises:
            OperationFailed: ``conflict``: it runs as part of a release.
        """
        state = inspect.get("State") or {}
        if not (state.get("Running") or state.get("Restarting")):
            return
        release = containers.labels_of(inspect).get(containers.RELEASE, "")
        if any(record.id == release for record in self._journal.releases()):
            name = containers.name_of(inspect)
            raise OperationFailed("conflict", f"container {name!r} still runs as part of release {release}")
        self._halt(str(inspect["Id"]))

    # --- parts -----------------------------------------------------------------------------------

    def _adoptable(self, identity: Identity, config: InstanceConfig) -> Optional[Dict[str, Any]]:
        """Return the container of that name if it may go on; clear the name of any other of ours."""
        found = self.find(identity.name)
        if found is None or containers.name_of(found) != identity.name:
            return None
        same = containers.labels_of(found).get(containers.DIGEST) == config.digest
        fresh = (found.get("State") or {}).get("Status") in ("created", "running")
        if same and fresh and is_intact(self._journal, found):
            return found
        self.halt_leftover(found)
        self.delete(found)
        return None

    def _create(self, identity: Identity, config: InstanceConfig) -> str:
        files = self._stage.files(config, identity.name)
        body = containers.create_body(config, identity, files, self._stage.address())
        created = self._engine.post("/containers/create", {"name": identity.name}, body)
        container = str(created["Id"])
        inspect = self._engine.get(f"/containers/{container}/json")
        self._journal.put_fingerprint(container, fingerprint(inspect))
        return container

    def _run(
        self, container: str, config: InstanceConfig, was_running: bool, restarts: int, tell: Tell
    ) -> None:
        """Start a container unless it runs, and prove it healthy.

        Raises:
            OperationFailed: Whatever the reason, it names the container.
        """
        try:
            if not was_running:
                tell("starting", container, "")
                self._start(container, config)
            self._prove(container, config, restarts, tell)
        except EngineError as error:
            known = failures.describe(error)
            raise OperationFailed(known.code, known.message, failure=known, container=container) from error

    def _start(self, container: str, config: InstanceConfig) -> None:
        try:
            self._engine.post(f"/containers/{container}/start")
        except EngineError as error:
            for port in config.ports:
                who = ports.holder(self._engine, port)
                if who:
                    raise OperationFailed(
                        "conflict", f"port {port.published} is held by {who}", container=container
                    ) from error
            raise

    def _prove(self, container: str, config: InstanceConfig, restarts: int, tell: Tell) -> None:
        check: Healthcheck = config.healthcheck
        secrets = [value for value in (self._journal.secret(ref.hmac) for ref in config.secrets) if value]

        def tell_safely(detail: str) -> None:
            tell("checking", container, failures.hide([detail], secrets)[0])

        tell("checking", container, "")
        verdict = wait_healthy(
            self._engine,
            container,
            self._journal.project,
            check,
            restarts=restarts,
            cancelled=self._cancelled,
            tell=tell_safely,
        )
        if not verdict.healthy:
            raise OperationFailed(
                verdict.code,
                verdict.message,
                failure=self._failure(container, verdict, secrets),
                container=container,
            )

    def _failure(self, container: str, verdict: Verdict, secrets: "list[bytes]") -> Failure:
        logs = () if verdict.code == "cancelled" else failures.last_lines(self._engine, container)
        return Failure(
            code=verdict.code,
            message=verdict.message,
            probes=failures.hide(verdict.probes, secrets),
            logs=failures.hide(logs, secrets),
            seconds=round(verdict.seconds, 3),
        )

    def _halt_quietly(self, container: str) -> None:
        """End what has failed already; when even that fails, the first reason is the one to tell."""
        try:
            self._halt(container)
        except EngineError as error:
            say(f"cannot stop container {container[:12]}: {error}")

    def _halt(self, container: str) -> None:
        """Ask the process to end, by its own signal, and kill it after its own grace period."""
        try:
            inspect = self._engine.get(f"/containers/{container}/json")
            grace = (inspect.get("Config") or {}).get("StopTimeout")
            seconds = _DEFAULT_GRACE if grace is None else int(grace)
            self._engine.post(f"/containers/{container}/stop", {"t": seconds}, timeout=seconds + _MARGIN)
        except EngineError as error:
            if not error.not_found:
                raise

    def _discard(self, container: str, name: str) -> None:
        self._halt(container)
        try:
            self._engine.delete(f"/containers/{container}", {"v": False, "force": False})
        except EngineError as error:
            if not error.not_found:
                raise
        self._stage.discard_files(name)


def _within(config: InstanceConfig, seconds: float) -> InstanceConfig:
    """Return what to prove a container by: how long that may take is no part of what it is."""
    if not seconds:
        return config
    return replace(config, healthcheck=replace(config.healthcheck, deadline=seconds))
