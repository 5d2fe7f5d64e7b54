"""From started to healthy: repeated probes, and the watch for a process that ends meanwhile.

Owns the rule (so many successes in a row before the deadline, no end of the process in between) and
the record of what was tried. It must not know how a single try is made, nor what follows a failure.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, Optional, Tuple

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError, Response
from orchestrator.agent.probes import Probe, probe
from orchestrator.protocol.instance import Healthcheck
from orchestrator.protocol.records import dataclass

_KEPT = 20
"""Probes in a record, newest last; equal ones in a row count as one."""
_FIRST_PAUSE = 0.05
"""Seconds; doubled up to the interval while nothing has succeeded yet: many are healthy very soon."""
_SHORTEST_PAUSE = 0.01
_SLICE = 0.1
"""Seconds; how soon a request to stop is noticed."""


@dataclass(frozen=True)
class Verdict:
    """How the wait ended."""

    code: str
    """Empty when healthy, else ``exited``, ``unhealthy`` or ``cancelled``."""
    message: str
    probes: Tuple[str, ...]
    seconds: float

    @property
    def healthy(self) -> bool:
        """It was proven healthy."""
        return not self.code


class _Record:
    def __init__(self, started: float) -> None:
        self.started = started
        self.lines: List[str] = []
        self.last = ""
        self.repeated = 1

    def add(self, detail: str) -> None:
        seconds = time.monotonic() - self.started
        if detail == self.last and self.lines:
            self.repeated += 1
            self.lines[-1] = f"{seconds:.2f} s: {detail} ({self.repeated} times)"
            return
        self.last, self.repeated = detail, 1
        self.lines = [*self.lines[-(_KEPT - 1) :], f"{seconds:.2f} s: {detail}"]


class ExitWatch:
    """Tells at once when a container's process ends: one request that waits beside the probes."""

    def __init__(self, engine: Engine, container: str) -> None:
        self.ended = threading.Event()
        self._engine = engine
        self._container = container
        self._response: Optional[Response] = None
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="exit-watch", daemon=True)

    def __enter__(self) -> "ExitWatch":  # noqa: PYI034 - Self came with 3.11
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            if self._response is not None:
                self._response.abort()

    def _watch(self) -> None:
        path = f"/containers/{self._container}/wait"
        try:
            with self._engine.stream("POST", path, timeout=0) as response:
                with self._lock:
                    self._response = response
                    if self._closed:
                        return
                response.read()
                self.ended.set()
        except EngineError:
            return  # ended by us, or by the engine: the inspect beside every probe still tells
        finally:
            with self._lock:
                self._response = None


def wait_healthy(
    engine: Engine,
    container: str,
    project: str,
    check: Healthcheck,
    *,
    restarts: int = 0,
    cancelled: threading.Event,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Wait until ``container``, just started, has proven itself healthy.

    Args:
        engine: The host's engine.
        container: Its id.
        project: Its project, which names its network.
        check: What proves it; ``type: none`` asks only that it goes on running.
        restarts: Restarts by the engine that are in the past; one more is a failure.
        cancelled: Ends the wait early.
        tell: Called with the detail of every probe that says something new.

    Raises:
        EngineError: The engine cannot be asked any more.
    """
    started = time.monotonic()
    record = _Record(started)

    def verdict(code: str, message: str) -> Verdict:
        return Verdict(code, message, tuple(record.lines), time.monotonic() - started)

    successes, pause = 0, _FIRST_PAUSE
    with ExitWatch(engine, container) as watch:
        while True:
            inspect = engine.get(f"/containers/{container}/json")
            ended = _ended(inspect, restarts)
            if ended:
                return verdict("exited", ended)
            tried = probe(engine, inspect, project, check)
            if tried.detail != record.last:
                tell(tried.detail)
            record.add(tried.detail)
            successes = successes + 1 if tried.ok else 0
            if successes >= max(1, check.successes):
                return verdict("", "healthy")
            left = started + check.deadline - time.monotonic()
            if left <= 0:
                return verdict("unhealthy", f"not healthy within {check.deadline:g} s")
            pause = min(check.interval, pause * 2) if not tried.ok else check.interval
            _pause(max(min(pause, left), _SHORTEST_PAUSE), watch.ended, cancelled)
            if cancelled.is_set():
                return verdict("cancelled", "stopped on request before it was healthy")


def probe_twice(engine: Engine, inspect: Dict[str, Any], project: str, check: Healthcheck) -> Probe:
    """Try a check, and once more when it fails: one lost packet must not look like an outage.

    A failing one is told as what came back the second time.
    """
    first = probe(engine, inspect, project, check)
    return first if first.ok else probe(engine, inspect, project, check)


def _pause(seconds: float, ended: threading.Event, cancelled: threading.Event) -> None:
    """Wait, but no longer than until the process ends or somebody asks to stop."""
    until = time.monotonic() + seconds
    while not cancelled.is_set():
        left = until - time.monotonic()
        if left <= 0 or ended.wait(min(left, _SLICE)):
            return


def _ended(inspect: Dict[str, Any], restarts: int) -> str:
    """Return how the process ended or was restarted; empty when it goes on."""
    state = inspect.get("State") or {}
    if containers.is_running(inspect):
        more = int(inspect.get("RestartCount") or 0) - restarts
        return f"the process ended and was restarted {more} times" if more > 0 else ""
    if state.get("OOMKilled"):
        return f"the process used more memory than its limit and was killed (exit status {_status(state)})"
    told = f": {state['Error']}" if state.get("Error") else ""
    return f"the process ended with exit status {_status(state)}{told}"


def _status(state: Dict[str, Any]) -> int:
    return int(state.get("ExitCode") or 0)
