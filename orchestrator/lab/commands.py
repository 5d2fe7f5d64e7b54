"""What the command line does with labs: each call may come from a process of its own.

It owns the mapping from a folder to a lab and must not know how anything is shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.lab.lab import Lab
from orchestrator.lab.model import HostOptions, LabStatus, host_options


def up(root: Path, hosts: int | Sequence[str | HostOptions] = 3, *, name: str = "lab") -> LabStatus:
    """Start a lab in ``root``; one that is already running as asked for is left alone."""
    with contextlib.suppress(RequestError):
        lab = Lab.load(root)
        now = lab.status()
        same = tuple(host.options for host in lab.hosts) == host_options(hosts)
        if same and all(host.state == "running" for host in now.hosts):
            return now
    lab = Lab(root, name=name, hosts=hosts)
    lab.up()
    return lab.status()


def down(root: Path) -> None:
    """Remove whatever there is of the lab in ``root``, even when its record is missing or unreadable."""
    Lab(root).down()


def status(root: Path) -> LabStatus:
    """What the lab in ``root`` is doing.

    Raises:
        RequestError: There is none.
    """
    return Lab.load(root).status()


def ssh_command(root: Path, host: str, command: Sequence[str] = ()) -> list[str]:
    """The ``ssh`` command line for a host of the lab in ``root``.

    Raises:
        RequestError: There is no such lab or host.
    """
    lab = Lab.load(root)
    return [
        "ssh",
        "-F",
        str(lab.layout.ssh_config),
        lab.host(host).name,
        *(["--", *command] if command else []),
    ]
