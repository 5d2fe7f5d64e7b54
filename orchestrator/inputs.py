"""The user's files, read and valid: the spec, the inventory, and the files that the spec names.

Owns where they are looked for. It must not know hosts' state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import Problem, SpecError
from orchestrator.options import Options
from orchestrator.spec.inventory import load_inventory
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.loader import LoadedSpec, load_spec


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
