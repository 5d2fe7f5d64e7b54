"""What the real ``ansible-inventory --list`` says of an inventory is what we read from it."""

from __future__ import annotations

import json
from pathlib import Path

from orchestrator.spec.inventory import load_inventory

HERE = Path(__file__).parent / "ansible"
LISTED = json.loads((HERE / "hosts.yaml.list.json").read_text())
BESIDE = {"from_file", "weight"}
"""Variables that Ansible took from group_vars/ and host_vars/ beside its inventory."""


def without(variables, *names):
    """Return ``variables`` less ``names``."""
    return {key: value for key, value in variables.items() if key not in names}


def test_variables():
    """Every host has Ansible's variables, apart from those of files beside the inventory."""
    inventory = load_inventory(HERE / "hosts.yaml")
    found = {host.name: without(host.vars, "ansible_group_priority") for host in inventory.hosts}
    listed = {name: without(each, *BESIDE) for name, each in LISTED["_meta"]["hostvars"].items()}
    for variables in listed.values():
        if variables.get("tier") == "from-group_vars-web":
            variables["tier"] = "from-web"
    assert found == listed


def test_groups():
    """Every group has Ansible's hosts, its children's included."""

    def members(group):
        entry = LISTED.get(group, {})
        inner = {name for child in entry.get("children", ()) for name in members(child)}
        return inner | set(entry.get("hosts", ()))

    inventory = load_inventory(HERE / "hosts.yaml")
    groups = set(LISTED) - {"_meta"}
    assert {name: set(inventory.groups[name]) for name in groups} == {name: members(name) for name in groups}


def test_files_beside_it_are_a_warning(tmp_path):
    """What Ansible would read and we do not is said."""
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "i.yaml").write_text("all: {hosts: {a: }}\n")
    (warning,) = load_inventory(tmp_path / "i.yaml").warnings
    assert "group_vars/ beside the inventory is not read" in str(warning)
