"""Removes everything a lab has on the machine, whoever started it and however it ended.

It needs nothing but the lab's folder: what is running, mounted or connected is found by names derived
from it. It owns leftovers and must not know how a lab is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

from orchestrator.lab import network, processes
from orchestrator.lab.faults import end_relays
from orchestrator.lab.model import Layout
from orchestrator.lab.processes import LabError
from orchestrator.lab.provision import mounts_below, unmount_below

_CGROUP_SECONDS = 5.0


def remove_running(layout: Layout) -> None:
    """End the lab's processes and remove its links, firewall rules, cgroups and mounts."""
    running = processes.find(layout.hosts)
    processes.end([pid for one in running for pid in (one.supervisor, one.init)])
    end_relays(layout.hosts)
    network.remove(layout)
    remove_cgroups(layout.tag)
    unmount_below(layout.hosts)


def remove_files(layout: Layout) -> None:
    """Remove the lab's files, and its folder when nothing else is in it."""
    for folder in (layout.hosts, layout.log):
        if folder.exists():
            shutil.rmtree(folder)
    identity = layout.identity
    files = (layout.record, layout.inventory, layout.known_hosts, layout.ssh_config, identity)
    for file in (*files, identity.with_suffix(".pub")):
        file.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # somebody keeps a file of their own in it
        layout.root.rmdir()


def leftovers(layout: Layout) -> tuple[str, ...]:
    """What the lab has on the machine right now, one line each; empty when nothing."""
    return (
        *(f"process {one.supervisor or one.init}: {one.script}" for one in processes.find(layout.hosts)),
        *(f"link {link}" for link in network.lab_links(layout)),
        *(f"firewall rule {rule}" for rule in network.rules(layout)),
        *(f"cgroup {path}" for path in cgroups(layout.tag)),
        *(f"mount {point}" for point in mounts_below(layout.hosts)),
    )


def cgroups(name: str) -> tuple[Path, ...]:
    """The folders of the control group ``name`` in every hierarchy that is mounted."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = {Path(mount[1]) / name for mount in mounts if mount[2] in {"cgroup", "cgroup2"}}
    return tuple(sorted(path for path in found if path.is_dir()))


def remove_cgroups(name: str) -> None:
    """Remove a control group and those below it, in every hierarchy. Its processes must have ended.

    Raises:
        LabError: One is still in use after five seconds.
    """
    deadline = time.monotonic() + _CGROUP_SECONDS
    for top in cgroups(name):
        for folder, _, _ in os.walk(top, topdown=False):
            while (error := _rmdir(folder)) and time.monotonic() < deadline:
                time.sleep(0.02)
            if error:
                raise LabError(f"cannot remove the control group {folder}: {error.strerror}")


def _rmdir(folder: str) -> OSError | None:
    """Remove a control group; the error while the kernel has not let go of its last process yet."""
    try:
        Path(folder).rmdir()
    except FileNotFoundError:
        return None
    except OSError as error:
        return error
    return None
