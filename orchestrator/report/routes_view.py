"""`deploy routes` and `deploy maintenance` as text and as single JSON documents.

Owns their layout and their documents' fields, each listed by hand. Pure; the time is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orchestrator.planning.types import Observed
from orchestrator.protocol.routing import Guard
from orchestrator.report.fleet import fleet_status
from orchestrator.report.serving import (
    RouterStatus,
    RouteStatus,
    ServerStatus,
    held_releases,
    router_statuses,
)
from orchestrator.report.style import Role, Style, unstyled
from orchestrator.report.table import Cell, table
from orchestrator.report.text import clean, duration, plural

VERSION = 1
"""Of every document here; raised when a field changes its meaning or goes away."""

_ROUTES = ("", "ROUTE", "HOST", "LISTENER", "MATCH", "BACKEND", "SERVING")
_SERVERS = (
    "",
    "BACKEND",
    "HOST",
    "SERVER",
    "INSTANCE",
    "RELEASE",
    "STATE",
    "WEIGHT",
    "WANTED",
    "SESSIONS",
    "REQUESTS",
    "5XX",
    "ERRORS",
)


def render_routes(observed: Observed, *, now: float, style: Style = unstyled) -> str:
    """Return the table of routes, the table of servers, and below them every difference."""
    routers = router_statuses(observed)
    routes = sorted((r for router in routers for r in router.routes), key=lambda r: (r.name, r.host))
    servers = sorted((s for router in routers for s in router.servers), key=_server_order)
    blocks: list[Sequence[str]] = [
        table(_ROUTES, [_route_row(route) for route in routes], style),
        table(_SERVERS, [_server_row(server) for server in servers], style),
        _notes(observed, routers, servers, now, style),
        [_summary(observed, routers, style)],
    ]
    lines: list[str] = []
    for block in blocks:
        if block:
            lines += ["", *block] if lines else block
    return "\n".join((*lines, ""))


def routes_document(observed: Observed, *, now: float) -> dict[str, Any]:
    """Return the same as JSON values."""
    fleet = fleet_status(observed, now)
    errors = dict(fleet.down)
    routers = {router.host: router for router in router_statuses(observed)}
    return {
        "document": "routes",
        "version": VERSION,
        "time": round(now, 3),
        "release": fleet.release,
        "held": held_document(observed),
        "hosts": [
            {
                "host": name,
                "reachable": name not in errors,
                "error": errors.get(name, ""),
                "router": router_document(routers[name]) if name in routers else None,
                "routes": [_route_document(route) for route in routers[name].routes]
                if name in routers
                else [],
                "servers": [_server_document(s) for s in routers[name].servers] if name in routers else [],
            }
            for name in (clean(host.name) for host in observed.hosts)
        ],
    }


def router_document(router: RouterStatus) -> dict[str, Any]:
    """Return what there is to say of a router as a whole."""
    return {
        "running": router.running,
        "picture": router.picture,
        "wanted_picture": router.wanted,
        "guard": _guard_document(router.guard),
        "maintenance": list(router.maintenance),
        "differences": list(router.differences),
    }


def held_document(observed: Observed) -> list[dict[str, Any]]:
    """Return the releases that wait for a promote or an abort."""
    return [
        {"release": release, "since": since, "hosts": list(hosts)}
        for release, since, hosts in held_releases(observed)
    ]


def held_lines(observed: Observed, now: float, style: Style) -> list[str]:
    """Say which releases wait, and what for."""
    return [
        f"{style('!', 'warning')} release {release} is held for {duration(now - since)} on "
        f"{plural(len(hosts), 'host')}: deploy promote {release}, or deploy abort {release}"
        for release, since, hosts in held_releases(observed)
    ]


def router_lines(routers: Sequence[RouterStatus], style: Style) -> list[str]:
    """Say what is not as it should be with whole routers, and which routes are in maintenance."""
    found = [f"{style('!', 'bad')} {r.host}: {text}" for r in routers for text in r.differences]
    routes: dict[str, list[str]] = {}
    for router in routers:
        for route in router.maintenance:
            routes.setdefault(route, []).append(router.host)
    return found + [
        f"{style('!', 'warning')} route {route} is in maintenance on {', '.join(hosts)}"
        for route, hosts in sorted(routes.items())
    ]


def render_maintenance(route: str, hosts: Sequence[str], changed: Sequence[str], *, on: bool) -> str:
    """Return one line on what a switch came to."""
    state = "in maintenance" if on else "served"
    already = "" if changed else " already"
    return f"route {clean(route)} is {state}{already} on {clean(', '.join(hosts))}\n"


def maintenance_document(
    route: str, hosts: Sequence[str], changed: Sequence[str], *, on: bool
) -> dict[str, Any]:
    """Return the same as JSON values."""
    return {
        "document": "maintenance",
        "version": VERSION,
        "route": clean(route),
        "on": on,
        "hosts": [clean(host) for host in hosts],
        "changed": [clean(host) for host in changed],
    }


def _server_order(server: ServerStatus) -> tuple[str, str, bool, int, str]:
    return (server.backend, server.host, not server.slot, server.slot, server.server)


def _route_row(route: RouteStatus) -> tuple[Cell, ...]:
    if route.maintenance:
        serving = Cell("maintenance", "warning")
    elif route.redirect:
        serving = Cell("redirect")
    else:
        serving = Cell(plural(route.serving, "server"), None if route.serving else "bad")
    return (
        Cell("" if route.good else "!", "bad"),
        Cell(route.name),
        Cell(route.host),
        Cell(route.listener),
        Cell(route.match),
        Cell(route.backend),
        serving,
    )


def _server_row(server: ServerStatus) -> tuple[Cell, ...]:
    role: Role | None = "bad" if server.differences else None
    numbers = (server.sessions, server.requests, server.responses_5xx, server.errors)
    return (
        Cell("!" if server.differences else "", "bad"),
        Cell(server.backend),
        Cell(server.host),
        Cell(server.server or "-"),
        Cell(server.name),
        Cell(server.release or "-"),
        Cell(server.state, role),
        Cell(str(server.weight), role),
        Cell(str(server.wanted)),
        *(Cell(str(number)) for number in numbers),
    )


def _notes(
    observed: Observed,
    routers: Sequence[RouterStatus],
    servers: Sequence[ServerStatus],
    now: float,
    style: Style,
) -> list[str]:
    return [
        *(
            f"{style('!', 'bad')} {s.name} in {s.backend} on {s.host}: {'; '.join(s.differences)}"
            for s in servers
            if s.differences
        ),
        *router_lines(routers, style),
        *(f"{style('!', 'bad')} {host}: {why}" for host, why in fleet_status(observed, now).down),
        *held_lines(observed, now, style),
    ]


def _summary(observed: Observed, routers: Sequence[RouterStatus], style: Style) -> str:
    down = sum(host.report is None for host in observed.hosts)
    good = sum(router.good for router in routers)
    parts = [
        style(
            f"{good} of {plural(len(routers), 'router')} as it should be"
            if len(routers) == 1
            else f"{good} of {plural(len(routers), 'router')} as they should be",
            "good" if good == len(routers) and not down else "bad",
        )
        if routers
        else "no router"
    ]
    if down:
        parts.append(f"{plural(down, 'host')} did not answer")
    return ", ".join(parts)


def _route_document(route: RouteStatus) -> dict[str, Any]:
    return {
        "name": route.name,
        "listener": route.listener,
        "match": route.match,
        "backend": route.backend,
        "serving": route.serving,
        "redirect": route.redirect,
        "maintenance": route.maintenance,
    }


def _server_document(server: ServerStatus) -> dict[str, Any]:
    return {
        "backend": server.backend,
        "server": server.server,
        "service": server.service,
        "slot": server.slot,
        "release": server.release,
        "address": server.address,
        "state": server.state,
        "weight": server.weight,
        "wanted_weight": server.wanted,
        "sessions": server.sessions,
        "requests": server.requests,
        "responses_5xx": server.responses_5xx,
        "errors": server.errors,
        "differences": list(server.differences),
    }


def _guard_document(guard: Guard | None) -> dict[str, Any] | None:
    if guard is None:
        return None
    return {"cutover": clean(guard.cutover), "state": clean(guard.state), "deadline": guard.deadline}
