"""What a controller needs to reach the fleet: inventory, known hosts, an OpenSSH configuration.

It owns those three files' contents and must not know how hosts are run.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.lab.model import LabHost, Layout
from orchestrator.lab.provision import host_key

RELAY_PORT = 2022
"""Where a slowed host's relay listens; clients keep using port 22."""


def write_client_files(layout: Layout, hosts: Sequence[LabHost]) -> None:
    """Write ``inventory.yaml``, ``known_hosts`` and ``ssh_config`` into the lab's folder."""
    layout.inventory.write_text(inventory(layout, hosts))
    layout.known_hosts.write_text("".join(f"{host.address} {host_key(host)}\n" for host in hosts))
    layout.ssh_config.write_text(ssh_config(layout, hosts))


def inventory(layout: Layout, hosts: Sequence[LabHost], user: str = "root") -> str:
    """The inventory in Ansible's YAML form: group ``db`` is the last host, ``web`` are the others.

    A single host is in both. Zones alternate between ``a`` and ``b``.
    """
    web = hosts[:-1] or hosts
    db = hosts[-1:]
    lines = [
        "all:",
        "  vars:",
        f"    ansible_user: {user}",
        f"    ansible_ssh_private_key_file: {quoted(str(layout.identity))}",
        f"    ansible_ssh_common_args: {quoted(f'-o UserKnownHostsFile={_option(str(layout.known_hosts))}')}",
        "  hosts:",
    ]
    for host in hosts:
        lines += [
            f"    {host.name}:",
            f"      ansible_host: {host.address}",
            "      ansible_port: 22",
            f"      labels: {{ zone: {'ab'[host.index % 2]} }}",
        ]
    lines.append("  children:")
    for group, members in (("web", web), ("db", db)):
        lines += [f"    {group}:", "      hosts:", *(f"        {host.name}: {{}}" for host in members)]
    return "\n".join(lines) + "\n"


def ssh_config(layout: Layout, hosts: Sequence[LabHost]) -> str:
    """An OpenSSH client configuration: ``ssh -F <file> <host>``."""
    names = " ".join(host.name for host in hosts)
    blocks = [f"Host {host.name}\n    HostName {host.address}\n" for host in hosts]
    common = (
        f"Host {names}\n"
        "    User root\n"
        "    Port 22\n"
        f'    IdentityFile "{layout.identity}"\n'
        "    IdentitiesOnly yes\n"
        f'    UserKnownHostsFile "{layout.known_hosts}"\n'
        "    GlobalKnownHostsFile none\n"
        "    StrictHostKeyChecking yes\n"
    )
    return "".join([*blocks, common])


def quoted(text: str) -> str:
    """``text`` as a YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"


def _option(value: str) -> str:
    """A value within ``-o``, quoted when a shell-like split would break it."""
    return f'"{value}"' if any(character in value for character in " \t'\\") else value
