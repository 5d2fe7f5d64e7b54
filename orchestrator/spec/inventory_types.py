"""What the inventory is to the rest of the program: hosts, groups and labels, frozen.

Owns the types and the selection of hosts by name, group or label. It must not know YAML, Ansible or
OpenSSH's own configuration, which ``remote/`` resolves.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.errors import InventoryError, Problem
from orchestrator.spec.location import Location
from orchestrator.spec.suggest import did_you_mean


@dataclass(frozen=True)
class Host:
    """One host, with everything its groups and variables say about it."""

    name: str
    """Name in the inventory: letters, digits, ``.``, ``_`` and ``-``."""
    address: str
    """Name or address to connect to; the name itself unless ``ansible_host`` says otherwise. An alias
    of OpenSSH's configuration is allowed."""
    port: int | None = None
    """``None``: whatever OpenSSH's configuration says, else 22."""
    user: str | None = None
    """``None``: whatever OpenSSH's configuration says, else the current user."""
    identity_files: tuple[str, ...] = ()
    """Private keys as written (``~`` not expanded; relative ones are already absolute)."""
    connection: Literal["ssh", "local"] = "ssh"
    """``local``: the agent runs on this machine, without SSH."""
    options: tuple[tuple[str, str], ...] = ()
    """Honoured ``-o`` options by OpenSSH's own name, sorted."""
    become: bool = False
    """Whether the agent must be started by ``sudo -n``."""
    groups: tuple[str, ...] = ()
    """Every group it is in, directly or through children, sorted; without ``all``."""
    labels: tuple[tuple[str, str], ...] = ()
    """Merged from its groups' and its own, sorted by name."""
    vars: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """All its variables, merged; read-only by contract."""
    position: Location = field(default=Location(), compare=False)
    """Where it was first written."""

    @property
    def label_map(self) -> dict[str, str]:
        """The labels as a new dictionary."""
        return dict(self.labels)


@dataclass(frozen=True)
class Inventory:
    """All hosts, in the order of the file."""

    hosts: tuple[Host, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Names of each group's hosts, including its children's, in the order of ``hosts``; with ``all``."""
    warnings: tuple[Problem, ...] = ()
    """What was understood and not honoured."""

    def get(self, name: str) -> Host | None:
        """Return the host of that name, the implicit ``localhost`` included, or ``None``."""
        return self._by_name.get(name)

    def select(self, terms: Iterable[str]) -> tuple[Host, ...]:
        """Return the hosts that any of ``terms`` names, each once, in the order of the inventory.

        A term is a host, a group, ``all``, or a label selector ``key=value``. ``localhost`` exists
        implicitly, with a local connection, and is never part of ``all``.

        Raises:
            InventoryError: A term names nothing; :meth:`unknown` tells which without raising.
        """
        terms = tuple(terms)
        if problems := self.unknown(terms):
            raise InventoryError(problems)
        wanted = {name for term in terms for name in self._names(term)}
        found = tuple(host for host in self.hosts if host.name in wanted)
        implicit = LOCALHOST.name in wanted and self.get(LOCALHOST.name) is LOCALHOST
        return (*found, LOCALHOST) if implicit else found

    def unknown(self, terms: Iterable[str]) -> tuple[Problem, ...]:
        """Return a problem for each term that names no host, group or label of this inventory."""
        return tuple(self._explain(term) for term in terms if not self._known(term))

    @functools.cached_property
    def _by_name(self) -> dict[str, Host]:
        return {LOCALHOST.name: LOCALHOST} | {host.name: host for host in self.hosts}

    @functools.cached_property
    def _by_label(self) -> dict[tuple[str, str], tuple[str, ...]]:
        found: dict[tuple[str, str], tuple[str, ...]] = {}
        for host in self.hosts:
            for label in host.labels:
                found[label] = (*found.get(label, ()), host.name)
        return found

    def _known(self, term: str) -> bool:
        return term == "all" or term in self.groups or bool(self._names(term))

    def _names(self, term: str) -> tuple[str, ...]:
        key, is_selector, value = term.partition("=")
        if is_selector:
            return self._by_label.get((key, value), ())
        if term == "all":
            return tuple(host.name for host in self.hosts)
        if term in self.groups:
            return self.groups[term]
        return (term,) if self.get(term) is not None else ()

    def _explain(self, term: str) -> Problem:
        if "=" in term:
            labels = sorted({f"{key}={value}" for host in self.hosts for key, value in host.labels})
            return Problem(f"no host has the label {term}", hint=did_you_mean(term, labels))
        names = [*(host.name for host in self.hosts), *self.groups]
        return Problem(f"no host or group is called {term!r}", hint=did_you_mean(term, names))


LOCALHOST = Host(name="localhost", address="localhost", connection="local")
"""This machine, for specs that name it without an inventory."""
