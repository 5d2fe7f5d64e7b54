"""From a router's picture and the record of its seats to the text of HAProxy's configuration.

Owns the order of the sections and the global part; :mod:`.sections` owns what is in each. Pure: the same
picture, table and place give the same bytes. Every value is checked by :mod:`.picture` before and quoted
besides, so that nothing from outside can become a word of its own.
"""

from __future__ import annotations

import hashlib
import ipaddress
from typing import List, Sequence, Tuple

from orchestrator.agent.paths import BadNameError
from orchestrator.agent.router import backends, sections
from orchestrator.agent.router.picture import check_picture
from orchestrator.agent.router.table import ATTACHED, Table
from orchestrator.agent.router.words import NOBODY, Site
from orchestrator.protocol.routing import RouterConfig

HARD_STOP = 900
"""Seconds after which a HAProxy that was replaced or reloaded ends what is still open: nothing else would."""


def render(config: RouterConfig, table: Table, site: Site) -> str:
    """Return the text of ``haproxy.cfg``.

    Raises:
        BadNameError: The picture must not be said to HAProxy.
    """
    return _text(config, table, site, structure(config, table, site))


def structure(config: RouterConfig, table: Table, site: Site) -> str:
    """Return a digest of all that only a reload can change: everything but the seats.

    A running HAProxy tells it as its ``description``, so that what it serves is never guessed at.

    Raises:
        BadNameError: The picture must not be said to HAProxy.
    """
    check_picture(config)
    for source in site.sources:
        _check_network(source)
    # Seats beyond a backend's own number make it longer, which only a reload can do.
    longest = [(backend.name, backends.slots(backend, table)) for backend in config.backends]
    names = [certificate.name for certificate in config.certificates]
    text = _text(config, Table(), site, "")
    return hashlib.sha256(f"{text}\n{longest}\n{names}".encode()).hexdigest()


def maintenance_entries(config: RouterConfig, table: Table) -> Tuple[Tuple[str, str], ...]:
    """Return the map of routes in maintenance: those of the picture and those switched by hand."""
    routes = [route for listener in config.listeners for route in listener.routes]
    wanted = {route.name for route in routes if route.maintenance} | set(table.maintenance)
    return tuple((name, "1") for name in sorted(wanted & {route.name for route in routes}))


def preview_entries(config: RouterConfig, table: Table) -> Tuple[Tuple[str, str], ...]:
    """Return the map from ``release/backend`` (and ``*/backend``) to what serves the held release."""
    entries = set()
    for backend in config.backends:
        for seat in table.of(backend.service):
            if seat.state == ATTACHED:
                entries.add((f"{seat.release}/{backend.name}", f"{backend.name}_preview"))
                entries.add((f"*/{backend.name}", f"{backend.name}_preview"))
    return tuple(sorted(entries))


def map_text(entries: Sequence[Tuple[str, str]]) -> str:
    """Return the content of a map file."""
    return "".join(f"{key} {value}\n" for key, value in entries)


def _text(config: RouterConfig, table: Table, site: Site, description: str) -> str:
    blocks: List[List[str]] = [_global(config, site, description), _defaults(config)]
    blocks += [sections.listener(config, number, one, site) for number, one in enumerate(config.listeners)]
    blocks += [sections.virtual(config, virtual, site) for virtual in config.virtuals]
    for mesh in config.mesh:
        blocks += sections.mesh(config, mesh)
    if config.preview_port:
        blocks.append(sections.preview(config, site))
    for backend in config.backends:
        blocks += backends.backend(config, backend, table)
    blocks += sections.rate_tables(config)
    return "\n\n".join("\n    ".join(block) for block in blocks) + "\n"


def _global(config: RouterConfig, site: Site, description: str) -> List[str]:
    lines = [
        "global",
        f"description {description or '-'}",
        f"node {config.project}",
        "fd-hard-limit 50000",
        f"hard-stop-after {HARD_STOP}s",
        f"stats socket {site.home}/run/{site.socket} mode {site.mode} level admin expose-fd listeners",
        "stats timeout 1m",
        f"server-state-file {site.home}/run/{site.state}",
        "ssl-default-bind-options ssl-min-ver TLSv1.2",
    ]
    return lines + (["log stdout format raw local0 notice"] if site.log else [])


def _defaults(config: RouterConfig) -> List[str]:
    tokens = {remote.token for backend in config.backends for remote in backend.remotes}
    lines = [
        "defaults",
        "mode http",
        "log global",
        "load-server-state-from-file global",
        "option http-keep-alive",
        "option dontlognull",
        "option redispatch 1",
        "retries 3",
        f"retry-on conn-failure empty-response {NOBODY}",
        "timeout http-request 10s",
        "timeout http-keep-alive 60s",
        "timeout connect 2s",
        "timeout queue 10s",
        "timeout check 2s",
        "timeout client 60s",
        "timeout server 60s",
        "timeout client-fin 30s",
        "timeout server-fin 30s",
    ]
    # What a router shows to the other hosts': sent as the unique id of the PROXY protocol.
    return lines + [f"unique-id-format {token}" for token in sorted(tokens)]


def _check_network(text: str) -> None:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        raise BadNameError(f"cannot use {text[:80]!r} as a network") from None
