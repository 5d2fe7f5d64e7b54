"""Looking at containers under traffic: ``watch`` for a while, ``check`` once.

Owns what counts as healthy meanwhile: in the router's eyes, by the container's own healthcheck, by its
process, and compared with the other members of its service. It moves nothing.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from orchestrator.agent import containers, failures
from orchestrator.agent.engine import Engine
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.health import probe_twice
from orchestrator.agent.journal import Journal
from orchestrator.agent.probes import probe
from orchestrator.agent.router.runtime import ServerStat
from orchestrator.agent.router.steering import Stats, Steering
from orchestrator.agent.router.table import SERVING, Key, Seat
from orchestrator.protocol.instance import Healthcheck
from orchestrator.protocol.messages import Failure
from orchestrator.protocol.routing import Check, Watch

FEWEST_REQUESTS = 20
"""Before so many nothing is said about rates: one failure of one request is no measure."""

_PAUSE = 0.1
_PROBE_EVERY = 1.0

Find = Callable[[Key], Dict[str, Any]]
"""Returns the inspect of a container, or raises ``OperationFailed``."""


@dataclass(frozen=True)
class Tally:
    """What some servers have done together."""

    requests: int = 0
    failures: int = 0
    seconds: float = 0.0
    """Sum over servers of (requests x mean response time)."""

    @property
    def rate(self) -> float:
        """Share of failures; 0 when nothing was asked."""
        return self.failures / self.requests if self.requests else 0.0

    @property
    def latency(self) -> float:
        """Mean response time in seconds."""
        return self.seconds / self.requests if self.requests else 0.0


def watch(
    engine: Engine,
    journal: Journal,
    steering: Optional[Steering],
    order: Watch,
    *,
    find: Find,
    cancelled: threading.Event,
) -> str:
    """Return after ``order.seconds`` in which all members were healthy; return what they have served.

    Args:
        engine: The host's engine.
        journal: The project.
        steering: Its router; ``None`` when the service is not routed.
        order: Whom to watch, and what is too much.
        find: Finds a member's container.
        cancelled: Ends it early.

    Raises:
        OperationFailed: ``unhealthy``, ``exited``, ``error-rate``, ``latency`` or ``cancelled``.
        RouterSilent: The router cannot be asked.
        EngineError: The engine cannot be asked.
    """
    keys = [(order.service, member.slot, member.release) for member in order.members]
    restarts = {key: int(find(key).get("RestartCount") or 0) for key in keys}
    end = time.monotonic() + order.seconds
    next_probe = 0.0
    first = steering.stats() if steering else {}
    now = first
    while True:
        if steering:
            now = steering.stats()
            _by_router(engine, steering, now, keys)
            _compare(engine, steering, first, now, order)
        if time.monotonic() >= next_probe:
            for key in keys:
                _by_itself(engine, journal, find(key), restarts[key], key)
            next_probe = time.monotonic() + _PROBE_EVERY
        left = end - time.monotonic()
        if left <= 0:
            return _told(steering, first, now, keys)
        if cancelled.wait(min(_PAUSE, left)):
            raise OperationFailed("cancelled", "stopped on request")


def check(engine: Engine, project: str, order: Check, inspect: Dict[str, Any]) -> str:
    """Make one test of a container; return what came back.

    Raises:
        OperationFailed: ``check``: it did not pass, with the container's last lines.
    """
    kind = "command" if order.command else "http"
    what = Healthcheck(
        type=kind, port=order.port, path=order.http, command=order.command, timeout=order.timeout
    )
    tried = probe(engine, inspect, project, what)
    if not tried.ok:
        container = str(inspect["Id"])
        logs = failures.last_lines(engine, container)
        name = containers.name_of(inspect)
        failure = Failure("check", f"a check of {name} did not pass", (tried.detail,), logs)
        raise OperationFailed("check", failure.message, failure=failure, container=container)
    return tried.detail


def _by_router(engine: Engine, steering: Steering, stats: Stats, keys: Iterable[Key]) -> None:
    table = steering.home.table()
    for key in keys:
        seat = table.find(*key)
        if seat is None:
            raise OperationFailed("unhealthy", f"{key[0]}[{key[1]}] of {key[2]} is not in the router")
        for stat in steering.of_seat(stats, seat):
            if stat.status.startswith(("DOWN", "MAINT")):
                _fail(engine, seat.container, "unhealthy", f"the router finds {seat.name} {_words(stat)}")


def _by_itself(engine: Engine, journal: Journal, inspect: Dict[str, Any], restarts: int, key: Key) -> None:
    container = str(inspect["Id"])
    name = f"{key[0]}[{key[1]}] of {key[2]}"
    more = int(inspect.get("RestartCount") or 0) - restarts
    if more > 0 or not containers.is_running(inspect):
        _fail(engine, container, "exited", f"the process of {name} has ended")
    config = journal.instance(containers.labels_of(inspect).get(containers.DIGEST, ""))
    if config is not None and config.healthcheck.type != "none":
        tried = probe_twice(engine, inspect, journal.project, config.healthcheck)
        if not tried.ok:
            _fail(engine, container, "unhealthy", f"{name} is unhealthy", (tried.detail,))


def _compare(engine: Engine, steering: Steering, first: Stats, now: Stats, order: Watch) -> None:
    """Hold the members against the others that get traffic of the same service."""
    members = {(order.service, member.slot, member.release) for member in order.members}
    seats = [seat for seat in steering.home.table().of(order.service) if seat.state == SERVING]
    ours = _tally(steering, first, now, [seat for seat in seats if seat.key in members])
    others = _tally(steering, first, now, [seat for seat in seats if seat.key not in members])
    if ours.requests < FEWEST_REQUESTS:
        return
    container = next((seat.container for seat in seats if seat.key in members), "")
    if ours.rate - others.rate > order.max_error_rate:
        rates = f"{ours.rate:.1%} of {ours.requests}, of others {others.rate:.1%}"
        _fail(engine, container, "error-rate", f"requests to {order.service} failed: {rates}")
    compared = order.max_latency_ratio > 0 and others.requests >= FEWEST_REQUESTS and others.latency > 0
    if compared and ours.latency > others.latency * order.max_latency_ratio:
        took = f"{ours.latency * 1000:.0f} ms, the others {others.latency * 1000:.0f} ms"
        _fail(engine, container, "latency", f"{order.service} takes {took}")


def _tally(steering: Steering, first: Stats, now: Stats, seats: Iterable[Seat]) -> Tally:
    requests, failed, seconds = 0, 0, 0.0
    for seat in seats:
        for stat in steering.of_seat(now, seat):
            before = first.get((stat.backend, stat.server))
            count = stat.requests - (before.requests if before else 0)
            requests += count
            failed += _bad(stat) - (_bad(before) if before else 0)
            seconds += count * stat.response_time
    return Tally(max(0, requests), max(0, failed), seconds)


def _told(steering: Optional[Steering], first: Stats, now: Stats, keys: List[Key]) -> str:
    if steering is None:
        return ""
    seats = [seat for seat in map(lambda key: steering.home.table().find(*key), keys) if seat]  # noqa: C417
    tally = _tally(steering, first, now, seats)
    return f"{tally.requests} requests, {tally.failures} failed"


def _bad(stat: ServerStat) -> int:
    return stat.errors + stat.responses_5xx


def _words(stat: ServerStat) -> str:
    return f"{stat.status.lower()} ({stat.check})" if stat.check else stat.status.lower()


def _fail(engine: Engine, container: str, code: str, message: str, probes: Tuple[str, ...] = ()) -> None:
    logs = failures.last_lines(engine, container) if container else ()
    raise OperationFailed(code, message, failure=Failure(code, message, probes, logs), container=container)
