"""An Ansible YAML inventory to hosts, groups and labels.

Owns the stages: read, build the tree, merge each host's variables by Ansible's precedence (``all``,
parent groups, child groups, the host), read the ones that say how to connect. It must not know SSH.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from orchestrator.errors import InventoryError, Problem
from orchestrator.spec.groups import Group, Tree, read_tree
from orchestrator.spec.host_vars import Findings, read_host
from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.positions import Positions
from orchestrator.spec.text_file import read_text
from orchestrator.spec.yaml_data import Map
from orchestrator.spec.yaml_errors import NOT_YAML
from orchestrator.spec.yaml_reader import read_yaml

_BOOLEANS = dict.fromkeys(("yes", "true", "on"), True) | dict.fromkeys(("no", "false", "off"), False)
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INT = re.compile(r"[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]{0,18})")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+][0-9]{1,3})?")
_OPAQUE = frozenset(("!vault", "!vault-encrypted", "!unsafe"))


def ansible_scalar(text: str) -> Any:
    """Return what Ansible's YAML 1.1 makes of a plain scalar; dates and base-60 numbers stay text."""
    if text in _NULLS:
        return None
    if text.lower() in _BOOLEANS and text in (text.lower(), text.upper(), text.capitalize()):
        return _BOOLEANS[text.lower()]
    if _INT.fullmatch(text) and len(text) < 64:
        return _integer(text.replace("_", ""))
    if _FLOAT.fullmatch(text) and len(text) < 64:
        return float(text.replace("_", ""))
    return text


def _integer(text: str) -> Any:
    digits = text.lstrip("+-")
    base = {"0b": 2, "0x": 16}.get(digits[:2], 8 if digits.startswith("0") and len(digits) > 1 else 10)
    if digits in ("", "0b", "0x"):
        return text
    return int(digits, base) * (-1 if text.startswith("-") else 1)


def load_inventory(path: Path) -> Inventory:
    """Load an inventory file.

    Raises:
        InventoryError: With everything that is wrong.
    """
    directory = path.absolute().parent
    inventory = parse_inventory(read_text(path, InventoryError), str(path), directory=directory)
    unread = tuple(
        Problem(
            f"{name}/ beside the inventory is not read",
            str(directory / name),
            hint="write these variables into the inventory: ansible-inventory -i FILE --list --yaml does",
        )
        for name in ("group_vars", "host_vars")
        if (directory / name).is_dir()
    )
    return dataclasses.replace(inventory, warnings=inventory.warnings + unread)


def parse_inventory(text: str, file: str, *, directory: Path) -> Inventory:
    """Load an inventory from its text; see :func:`load_inventory`.

    Args:
        text: YAML.
        file: Its name, for positions.
        directory: Absolute folder that relative key files start at.

    Raises:
        InventoryError: With everything that is wrong.
    """
    if refusal := _refusal(text):
        raise InventoryError([Problem(refusal[0], file, 1, hint=refusal[1])])
    data, unreadable = read_yaml(text, file, scalar=ansible_scalar, opaque_tags=_OPAQUE)
    if any(problem.message.startswith(NOT_YAML) for problem in unreadable):
        raise InventoryError(unreadable)
    tree = read_tree(data, Positions(data, file))
    findings = Findings()
    hosts = tuple(_host(tree, name, directory, findings) for name in tree.hosts)
    problems = [*unreadable, *tree.problems, *findings.problems.values()]
    if problems:
        raise InventoryError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    warnings = (*_clashes(tree), *findings.warnings.values())
    return Inventory(hosts=hosts, groups=_members(tree, hosts), warnings=warnings)


def _refusal(text: str) -> tuple[str, str] | None:
    """Return message and hint when ``text`` is an inventory of another kind."""
    lines = (line for line in text.splitlines() if line.strip() and line.lstrip()[0] not in "#;")
    first = next(lines, "")
    if first.startswith("$ANSIBLE_VAULT"):
        return "the file is encrypted by ansible-vault", "decrypt it, or keep only values encrypted"
    if re.fullmatch(r"\[[A-Za-z0-9_.:-]+\]\s*([#;].*)?", first):
        return "this is an INI inventory", "ansible-inventory -i FILE --list --yaml converts it"
    if re.match(r"plugin\s*:", first):
        return "this configures an inventory plugin", "ansible-inventory -i FILE --list --yaml runs it"
    return None


def _host(tree: Tree, name: str, directory: Path, findings: Findings) -> Host:
    chain = tree.chain(name)
    variables, labels = Map(), Map()
    for level in (*(group.variables for group in chain), tree.hosts[name]):
        variables.update(level)
        variables.places.update(level.places)
        given = level.get("labels")
        if isinstance(given, Map):
            labels.update(given)
            labels.places.update(given.places)
        elif given is not None:
            place = Positions(level).at(("labels",))
            message = "expected labels as a map, such as {zone: a}"
            findings.problems.setdefault((place, message), place.problem(message, path=f"{name}.labels"))
    return read_host(
        name,
        variables,
        labels=labels,
        groups=tuple(sorted(_names(chain) - {"all", "ungrouped"})),
        position=tree.places[name],
        directory=directory,
        findings=findings,
    )


def _names(chain: list[Group]) -> set[str]:
    return {group.name for group in chain}


def _members(tree: Tree, hosts: tuple[Host, ...]) -> dict[str, tuple[str, ...]]:
    members: dict[str, list[str]] = {name: [] for name in (*tree.groups, "all", "ungrouped")}
    for host in hosts:
        for group in host.groups or ("ungrouped",):
            members[group].append(host.name)
        members["all"].append(host.name)
    return {name: tuple(names) for name, names in members.items()}


def _clashes(tree: Tree) -> list[Problem]:
    return [
        tree.places[name].problem(f"{name!r} is both a host and a group; the name means the group", path=name)
        for name in tree.hosts
        if name in tree.groups
    ]
