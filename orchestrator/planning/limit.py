"""What ``--limit`` leaves of a plan: some hosts, some services, or everything.

Owns the reading of its terms against the inventory and the services there are. It must not know what
is planned for them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from orchestrator.errors import InventoryError, Problem
from orchestrator.spec.inventory_types import Inventory


@dataclass(frozen=True)
class Limit:
    """Which hosts and services may change. ``None`` means all of them."""

    hosts: frozenset[str] | None = None
    services: frozenset[str] | None = None

    def host(self, name: str) -> bool:
        """Return whether a host may change."""
        return self.hosts is None or name in self.hosts

    def service(self, name: str) -> bool:
        """Return whether a service may change."""
        return self.services is None or name in self.services


EVERYTHING = Limit()


def limit(terms: Iterable[str], inventory: Inventory, services: Collection[str]) -> Limit:
    """Read ``--limit``: services by name, hosts by name, group or label.

    Hosts and services both given mean those services on those hosts. ``service:NAME`` and ``host:TERM``
    tell a service from a host or group of the same name.

    Args:
        terms: As the user wrote them; no terms mean everything.
        inventory: Where hosts, groups and labels are looked up.
        services: Names of the services of the spec and of those that run.

    Raises:
        InventoryError: A term names nothing, or both a service and a host.
    """
    hosts: set[str] = set()
    chosen: set[str] = set()
    host_terms, problems = [], []
    for term in terms:
        kind, _, name = term.partition(":")
        if kind == "service":
            chosen.add(name)
            if name not in services:
                problems.append(_unknown(name, services))
        elif kind == "host":
            host_terms.append(name)
        elif term in services:
            chosen.add(term)
            if not inventory.unknown([term]):
                hint = f"write service:{term} or host:{term}"
                problems.append(Problem(f"{term!r} is both a service and a host or group", hint=hint))
        else:
            host_terms.append(term)
    for term in host_terms:
        if unknown := inventory.unknown([term]):
            problems.append(_unknown(term, services) if _close(term, services) else unknown[0])
        else:
            hosts.update(host.name for host in inventory.select([term]))
    if problems:
        raise InventoryError(problems, hint="--limit takes services, hosts, groups and labels")
    return Limit(frozenset(hosts) if host_terms else None, frozenset(chosen) if chosen else None)


def _unknown(name: str, services: Collection[str]) -> Problem:
    close = _close(name, services)
    return Problem(
        f"no service, host or group is called {name!r}", hint=f"did you mean {close[0]!r}?" if close else ""
    )


def _close(name: str, services: Collection[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(services), n=1)
