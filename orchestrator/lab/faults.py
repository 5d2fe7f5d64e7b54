"""What can go wrong with a host, on purpose: distance, a full disk, an engine that dies.

It owns the injuries and how they heal; cutting a cable is in ``network`` and power cuts in ``lab``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from orchestrator.lab import processes
from orchestrator.lab.client_files import RELAY_PORT
from orchestrator.lab.model import LabHost
from orchestrator.lab.processes import LabError, call, enter

_RELAY = Path(__file__).with_name("relay.py")
_FILL = "fill"


def slow(host: LabHost, pid: int, delay_ms: float) -> None:
    """Put ``delay_ms`` milliseconds each way between the host's SSH port and everybody else.

    New connections take the detour, which is invisible to clients: same address, same port.
    """
    end_relays(host.folder)
    delay = ["22", f"{delay_ms:g}", str(host.boot_script)]
    relay = [sys.executable, "-I", "-S", str(_RELAY), str(RELAY_PORT), *delay]
    # Python is the machine's (the host may have none), so only the network and the pids are the host's.
    inside = ["nsenter", "--target", str(pid), "--net", "--pid", "--", *relay]
    with subprocess.Popen(
        ["setsid", "--fork", *inside],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as starter:
        said = starter.stdout.readline() if starter.stdout else b""
    if said != b"listening\n":
        raise LabError(f"cannot slow {host.name}: the relay did not start")
    _detour(host, pid, present=True)


def fast(host: LabHost, pid: int) -> None:
    """Undo :func:`slow`. Connections that went through the relay end."""
    _detour(host, pid, present=False)
    end_relays(host.folder)


def end_relays(under: Path) -> None:
    """End the relays of the hosts in and below ``under``."""
    prefix = f"{under}/"
    relays = (
        pid for pid, argv in processes.command_lines() if str(_RELAY) in argv and argv[-1].startswith(prefix)
    )
    processes.end(relays)


def _detour(host: LabHost, pid: int, *, present: bool) -> None:
    rule = ["PREROUTING", "-i", "eth0", "-p", "tcp", "--dport", "22"]
    rule += ["-j", "REDIRECT", "--to-ports", str(RELAY_PORT)]
    table = ["iptables", "-w", "-t", "nat"]
    there = (
        subprocess.run(enter(pid, [*table, "-C", *rule]), capture_output=True, check=False).returncode == 0
    )
    if there != present:
        verb = "-I" if present else "-D"
        call(enter(pid, [*table, verb, *rule]), why=f"change the route to the SSH port of {host.name}")


def fill_disk(host: LabHost, *, leave_mb: int = 0) -> None:
    """Leave only ``leave_mb`` MiB on the host's disk.

    Raises:
        LabError: The host has no disk of its own.
    """
    disk = _disk(host)
    free_disk(host)
    size = shutil.disk_usage(disk).free - (leave_mb << 20)
    if size > 0:
        with (disk / _FILL).open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)


def free_disk(host: LabHost) -> None:
    """Undo :func:`fill_disk`."""
    (_disk(host) / _FILL).unlink(missing_ok=True)


def _disk(host: LabHost) -> Path:
    if not host.options.disk_mb:
        raise LabError(
            f"cannot fill the disk of {host.name}: it is the machine's own",
            hint="start the host with a disk of its own: disk_mb",
        )
    return host.folder / "disk"
