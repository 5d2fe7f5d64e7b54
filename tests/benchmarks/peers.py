"""The other tools: an environment of their own, and this fleet in their words.

Owns where they are installed and their inventories. What is measured is in the module of a benchmark.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_REQUIREMENTS = Path(__file__).with_name("peers.txt")


@dataclass(frozen=True)
class Target:
    """One host as an SSH client sees it."""

    name: str
    address: str
    port: int


@dataclass(frozen=True)
class Access:
    """How to log in, the same for all."""

    key: Path
    known_hosts: Path


def environment() -> Path:
    """Return the folder of the peers' programs, installed when it is not there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "deploy-benchmarks" / "peers"
    done = folder / _REQUIREMENTS.name
    if not done.exists() or done.read_text() != _REQUIREMENTS.read_text():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", _REQUIREMENTS]
        subprocess.run([folder / "bin/python", *install], check=True)
        done.write_text(_REQUIREMENTS.read_text())
    return folder / "bin"


def write_ansible(folder: Path, targets: Sequence[Target], access: Access, play: object) -> None:
    """Write an inventory, a configuration and a playbook of one play; JSON is YAML."""
    inventory = {
        "all": {
            "vars": {
                "ansible_user": "root",
                "ansible_ssh_private_key_file": str(access.key),
                "ansible_ssh_common_args": f"-o UserKnownHostsFile={access.known_hosts}",
                "ansible_python_interpreter": "/usr/bin/python3",
            },
            "hosts": {
                target.name: {"ansible_host": target.address, "ansible_port": target.port}
                for target in targets
            },
        }
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inventory.json").write_text(json.dumps(inventory, indent=2))
    (folder / "play.yml").write_text(json.dumps([play], indent=2))


def ansible(bin_: Path, folder: Path) -> list[str]:
    """Return the command that runs the playbook of :func:`write_ansible`."""
    return [str(bin_ / "ansible-playbook"), "-i", str(folder / "inventory.json"), str(folder / "play.yml")]


def ansible_environment(bin_: Path, folder: Path, *, forks: int, pipelining: bool) -> Mapping[str, str]:
    """Return Ansible's settings. Connections are not kept over runs: every tool connects anew."""
    return {
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_PIPELINING": str(pipelining),
        "ANSIBLE_GATHERING": "explicit",
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=auto -o ControlPersist=2s",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "LC_ALL": "C.UTF-8",
    }


def write_pyinfra(folder: Path, targets: Sequence[Target], access: Access, operations: str) -> None:
    """Write an inventory and a deploy file."""
    hosts = [
        (
            target.name,
            {
                "ssh_hostname": target.address,
                "ssh_port": target.port,
                "ssh_user": "root",
                "ssh_key": str(access.key),
                "ssh_known_hosts_file": str(access.known_hosts),
                "ssh_strict_host_key_checking": "yes",
            },
        )
        for target in targets
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inventory.py").write_text(f"fleet = {hosts!r}\n")
    (folder / "operations.py").write_text(operations)


def pyinfra(bin_: Path, folder: Path) -> list[str]:
    """Return the command that runs the operations of :func:`write_pyinfra`."""
    return [str(bin_ / "pyinfra"), "-y", str(folder / "inventory.py"), str(folder / "operations.py")]
