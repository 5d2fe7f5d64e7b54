"""What this host's router serves right now, beside what the record says it should.

Owns the gathering of :class:`RoutingReport`. It changes nothing; a router that cannot be asked is told.
"""

from __future__ import annotations

from typing import Optional, Tuple

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine
from orchestrator.agent.journal import Journal
from orchestrator.agent.router import guard
from orchestrator.agent.router.lifecycle import Lifecycle
from orchestrator.agent.router.runtime import RouterRefused, RouterSilent, ServerStat
from orchestrator.agent.router.table import Seat, Table
from orchestrator.protocol.routing import Assigned, RouterConfig, RoutingReport


def routing(engine: Engine, journal: Journal) -> Optional[RoutingReport]:
    """Return what the router serves, or ``None`` when the project never had one here.

    Raises:
        EngineError: The engine cannot be asked.
    """
    lifecycle = Lifecycle(engine, journal)
    home = lifecycle.home
    config = home.picture()
    known = guard.report(home)
    if config is None:
        return RoutingReport(guard=known) if known is not None else None
    table = home.table()
    inspect = lifecycle.current(config)
    running = inspect is not None and containers.is_running(inspect)
    servers: Tuple[Assigned, ...] = tuple(_recorded(config, seat) for seat in table.seats)
    error = "" if running else "the router's container does not run"
    if running:
        try:
            stats = lifecycle.runtime(config).stats()
            servers = tuple(_assigned(config, table, stat) for stat in stats if _told(config, table, stat))
        except (RouterSilent, RouterRefused) as failed:
            error = str(failed)
    return RoutingReport(
        config=config.digest,
        image=config.image,
        running=running,
        error=error,
        servers=servers,
        guard=known,
        maintenance=table.maintenance,
    )


def _told(config: RouterConfig, table: Table, stat: ServerStat) -> bool:
    """Servers of the backends themselves; an empty slot as it should be is no news."""
    if all(stat.backend != backend.name for backend in config.backends):
        return False
    return _seat(config, table, stat) is not None or not stat.status.startswith("MAINT")


def _assigned(config: RouterConfig, table: Table, stat: ServerStat) -> Assigned:
    seat = _seat(config, table, stat)
    remote = stat.server.startswith("r_")
    return Assigned(
        backend=stat.backend,
        server=stat.server,
        service=next(backend.service for backend in config.backends if backend.name == stat.backend),
        slot=seat.slot if seat else 0,
        release=seat.release if seat else "",
        container=seat.container if seat else "",
        address=stat.address,
        state=stat.status,
        weight=stat.weight,
        recorded_weight=seat.weight if seat else stat.weight if remote else 0,
        sessions=stat.sessions,
        errors=stat.errors,
        requests=stat.requests,
        responses_5xx=stat.responses_5xx,
    )


def _recorded(config: RouterConfig, seat: Seat) -> Assigned:
    backend = next((one.name for one in config.backends if one.service == seat.service), "")
    return Assigned(
        backend=backend,
        server=f"s{seat.server}",
        service=seat.service,
        slot=seat.slot,
        release=seat.release,
        container=seat.container,
        address=seat.address,
        recorded_weight=seat.weight,
    )


def _seat(config: RouterConfig, table: Table, stat: ServerStat) -> Optional[Seat]:
    for backend in config.backends:
        if backend.name == stat.backend:
            for seat in table.of(backend.service):
                if stat.server == f"s{seat.server}":
                    return seat
    return None
