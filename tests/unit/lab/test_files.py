"""The files a lab writes: for its hosts, and for whoever reaches them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.lab import client_files
from orchestrator.lab.model import Layout, host_options
from orchestrator.lab.provision import hosts_file, mounts_below, with_groups, with_shadow, with_users

PASSWD = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/bin/false\n"


def fleet(count: int, root: str = "/labs/one"):
    """A layout and its hosts, none of which runs."""
    layout = Layout(Path(root))
    return layout, layout.hosts_for("10.20.30.0/24", host_options(count))


def test_inventory_groups():
    """The last host is the database group; labels and connection settings are there."""
    layout, hosts = fleet(3)
    inventory = YAML(typ="safe").load(client_files.inventory(layout, hosts))["all"]
    assert list(inventory["children"]["web"]["hosts"]) == ["web-1", "web-2"]
    assert list(inventory["children"]["db"]["hosts"]) == ["db-1"]
    assert inventory["hosts"]["web-2"] == {
        "ansible_host": "10.20.30.12",
        "ansible_port": 22,
        "labels": {"zone": "b"},
    }
    assert inventory["vars"] == {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": "/labs/one/id_ed25519",
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/labs/one/known_hosts",
    }


def test_a_single_host_is_in_both_groups():
    """A spec for web and db works on one host too."""
    groups = YAML(typ="safe").load(client_files.inventory(*fleet(1)))["all"]["children"]
    assert list(groups["web"]["hosts"]) == list(groups["db"]["hosts"]) == ["web-1"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=30))
def test_any_folder_name_survives_yaml(name):
    """A quote, colon or hash in the lab's path does not break the inventory."""
    layout, hosts = fleet(1, f"/labs/{name}")
    variables = YAML(typ="safe").load(client_files.inventory(layout, hosts))["all"]["vars"]
    assert variables["ansible_ssh_private_key_file"] == str(layout.identity)


def test_openssh_understands_its_configuration(tmp_path):
    """The client itself says what it makes of the file, blanks in paths included."""
    layout, hosts = fleet(2, f"{tmp_path}/a lab")
    config = tmp_path / "config"
    config.write_text(client_files.ssh_config(layout, hosts))
    try:
        done = subprocess.run(["ssh", "-G", "-F", config, "db-1"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("no OpenSSH client")
    settings = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert settings["hostname"] == "10.20.30.12"
    assert settings["user"] == "root"
    assert settings["identityfile"] == str(layout.identity)
    assert settings["stricthostkeychecking"] == "true"


def test_users_are_added_once():
    """A host's tables keep the machine's users; writing them again changes nothing."""
    once = with_users(PASSWD)
    assert once.startswith(PASSWD)
    assert with_users(once) == once
    assert [line.split(":")[0] for line in once.splitlines()] == ["root", "nobody", "deployer", "runner"]


@pytest.mark.parametrize(("group", "gid"), [("root:x:0:\ndocker:x:105:me\n", 105), ("root:x:0:\n", 20000)])
def test_the_engines_group_keeps_its_number(group, gid):
    """Whether or not the machine has it, and whoever was in it."""
    written = with_groups(group)
    assert f"docker:x:{gid}:runner\n" in written
    assert with_groups(written) == written


def test_no_password_of_the_machine_reaches_a_host():
    """Hashes stay out; accounts are not locked either, or sshd would refuse keys."""
    written = with_shadow("root:$6$salt$hash:1::::::\nsys:!:1::::::\n")
    assert "hash" not in written
    assert [line.split(":")[:2] for line in written.splitlines()] == [
        [name, "*"] for name in ("root", "sys", "deployer", "runner")
    ]


def test_hosts_know_each_other_and_the_controller():
    """Names resolve without a name server; the host's own address comes last."""
    _, hosts = fleet(2)
    lines = hosts_file(hosts[0], hosts, "10.20.30.1").splitlines()
    assert lines[2:] == ["10.20.30.1 controller", "10.20.30.12 db-1", "10.20.30.11 web-1"]


def test_mounts_below_a_folder(monkeypatch):
    """The last mounted comes first; blanks are unescaped; a folder with the same beginning is another."""
    table = "".join(
        f"{number} 1 0:1 / {point} rw - tmpfs tmpfs rw\n"
        for number, point in enumerate(["/lab\\040x/a", "/lab\\040x/a/b", "/lab\\040xy", "/lab\\040x"])
    )
    monkeypatch.setattr(Path, "read_text", lambda self: table)
    assert mounts_below(Path("/lab x")) == ("/lab x/a/b", "/lab x/a")
