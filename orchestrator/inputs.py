"""The user's files, read and valid: the spec, the inventory, and the files and certificates that they name.

Owns where they are looked for. It must not know hosts' state.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import InventoryError, Problem, RequestError, SpecError
from orchestrator.options import Options
from orchestrator.spec.inventory import load_inventory
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.loader import LoadedSpec, load_spec
from orchestrator.spec.model import Secret
from orchestrator.spec.secret_source import resolve_secret


@dataclass(frozen=True)
class Loaded:
    """The user's files, read and valid."""

    options: Options
    spec: LoadedSpec
    inventory: Inventory

    @property
    def name(self) -> str:
        """The project's name."""
        return self.spec.project.project

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment of this run."""
        return self.options.environ or {}

    def located(self, error: SpecError) -> SpecError:
        """Return ``error`` with a file, line and column for every problem that only names a key path."""
        return SpecError([self._located(problem) for problem in error.problems], hint=error.hint)

    def _located(self, problem: Problem) -> Problem:
        if problem.file or not problem.path:
            return problem
        return self.spec.problem(tuple(problem.path.split(".")), problem.message, hint=problem.hint)


def load(options: Options, inventory: Inventory | None = None) -> Loaded:
    """Read the spec, and the inventory unless it was read before.

    Raises:
        SpecError: The spec is wrong.
        InventoryError: The inventory is wrong.
    """
    spec = load_spec(options.specs, environ=options.environ or {})
    if inventory is None:
        path = options.inventory_file
        inventory = load_inventory(path) if path is not None else Inventory()
    return Loaded(options, spec, inventory)


def read_files(loaded: Loaded) -> dict[str, bytes]:
    """Read every template and file the spec's configs name.

    Raises:
        SpecError: Some cannot be read; each problem says where it is named.
    """
    found: dict[str, bytes] = {}
    problems: list[Problem] = []
    for name, service in loaded.spec.project.services.items():
        for number, config in enumerate(service.configs):
            path = config.template or config.file
            if path is None or path in found:
                continue
            try:
                found[path] = (loaded.spec.directory / path).read_bytes()
            except OSError as error:
                key = ("services", name, "configs", number, "template" if config.template else "file")
                problems.append(
                    loaded.spec.problem(key, f"cannot read {path}: {(error.strerror or '').lower()}")
                )
    if problems:
        raise SpecError(problems)
    return found


def read_addresses(inventory: Inventory) -> dict[str, str]:
    """Return where other hosts reach each host that says so by its variable ``private_address``.

    Raises:
        InventoryError: One is no IP address: a router listens on it.
    """
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for host in inventory.hosts:
        if (given := host.vars.get("private_address")) is None:
            continue
        try:
            found[host.name] = str(ipaddress.ip_address(str(given)))
        except ValueError:
            message = f"expected an IP address as private_address, got {str(given)[:80]!r}"
            problems.append(host.position.problem(message, path=f"{host.name}.private_address"))
    if problems:
        raise InventoryError(problems)
    return found


def read_certificates(loaded: Loaded) -> dict[str, bytes]:
    """Return the PEM bundle of each route with TLS, by the route's name.

    Raises:
        RequestError: One cannot be had, or lacks a certificate or its key: it would keep the router from
            serving any route. No message holds anything of it.
    """
    found: dict[str, bytes] = {}
    for name, route in loaded.spec.project.routes.items():
        if route.tls is None:
            continue
        source = Secret.model_validate({"name": name, "from": route.tls.certificate.from_})
        bundle = resolve_secret(source, environ=loaded.environ, directory=loaded.spec.directory).reveal()
        for mark, what in ((b"-----BEGIN CERTIFICATE-----", "certificate"), (b"PRIVATE KEY-----", "key")):
            if mark not in bundle:
                raise RequestError(
                    f"cannot use the certificate of route {name}: there is no {what} in it",
                    hint="it is one PEM bundle: the certificate, its chain, then the key",
                )
        found[name] = bundle
    return found
