"""What a machine must have before it can run a lab, and how to get it.

It owns the list of needs. It says and installs; it never prints: whoever calls decides where words go.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ToolMissing
from orchestrator.lab.model import HostOptions
from orchestrator.lab.processes import LabError, call

_SEARCH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ELSEWHERE = "everything but the lab works: validate, graph, plan and apply on hosts of your own, unit tests"


@dataclass(frozen=True)
class Missing:
    """Something the machine lacks."""

    what: str
    """Such as ``the command dockerd`` or ``root``."""
    package: str | None
    """Debian package that brings it, or None when no package can."""
    without: str
    """What does not work without it, and what still does."""
    optional: bool = False
    """The lab starts without it."""


_COMMANDS = (
    ("dockerd", "docker.io", "only hosts of kind bare start", "engine"),
    ("sshd", "openssh-server", "no host starts", "all"),
    ("ssh-keygen", "openssh-client", "no host starts", "all"),
    ("iptables", "iptables", "no host starts", "all"),
    ("ip", "iproute2", "no host starts", "all"),
    ("unshare", "util-linux", "no host starts", "all"),
    ("nsenter", "util-linux", "no host starts", "all"),
    ("python3", "python3", "hosts cannot run the agent; everything else of the lab works", "optional"),
    ("sudo", "sudo", "the user deployer of the hosts cannot become root; root works", "optional"),
    ("debootstrap", "debootstrap", "no Debian base image and no hosts of kind trixie or podman", "root"),
    ("busybox", "busybox-static", "no busybox image; the Debian one works", "optional"),
)


def requirements(hosts: Sequence[HostOptions] | None = None) -> tuple[Missing, ...]:
    """What this machine lacks to run a lab.

    Args:
        hosts: The hosts it is to run; None for everything a lab can do.
    """
    missing: list[Missing] = []
    if not sys.platform.startswith("linux"):
        return (Missing("Linux", None, _ELSEWHERE),)
    if os.geteuid() != 0:
        missing.append(Missing("root", None, _ELSEWHERE))
    kinds = {host.kind for host in hosts} if hosts is not None else {"docker"}
    for command, package, without, needed in _COMMANDS:
        if shutil.which(command, path=_SEARCH):
            continue
        optional = {"engine": "docker" not in kinds, "root": not kinds & {"trixie", "podman"}}
        missing.append(
            Missing(f"the command {command}", package, without, optional.get(needed, needed == "optional"))
        )
    if _apparmor() and not shutil.which("apparmor_parser", path=_SEARCH):
        without = "no container starts: the kernel has AppArmor on, and the engine loads a profile"
        missing.append(Missing("the command apparmor_parser", "apparmor", without))
    missing += _kernel()
    return tuple(missing)


def _apparmor() -> bool:
    enabled = Path("/sys/module/apparmor/parameters/enabled")
    return enabled.exists() and enabled.read_text().strip() == "Y"


def _kernel() -> list[Missing]:
    missing = [
        Missing(f"the kernel's {name} namespaces", None, _ELSEWHERE)
        for name in ("net", "mnt", "pid", "uts", "ipc")
        if not Path("/proc/self/ns", name).exists()
    ]
    filesystems = Path("/proc/filesystems").read_text().split()
    if "overlay" not in filesystems and not _has_module("overlay"):
        missing.append(Missing("the kernel's overlay file system", None, _ELSEWHERE))
    if not any(mount.split()[2] in {"cgroup", "cgroup2"} for mount in _mounts()):
        missing.append(Missing("mounted control groups", None, _ELSEWHERE))
    return missing


def _has_module(name: str) -> bool:
    return any(Path("/lib/modules", os.uname().release).rglob(f"{name}.ko*"))


def _mounts() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def require(hosts: Sequence[HostOptions]) -> None:
    """Check that the lab can start these hosts.

    Raises:
        ToolMissing: It cannot; says everything that is missing, how to get it, and what works without.
    """
    missing = [one for one in requirements(hosts) if not one.optional]
    if not missing:
        return
    raise ToolMissing(
        "cannot start a lab: missing " + ", ".join(one.what for one in missing),
        hint=advice(missing),
        context=[f"without {one.what}: {one.without}" for one in missing],
    )


def advice(missing: Sequence[Missing]) -> str:
    """One sentence on how to get what is missing."""
    packages = packages_for(missing)
    parts = [f"install with: apt-get install {' '.join(packages)}"] if packages else []
    if any(one.what == "root" for one in missing):
        parts.append("run as root")
    if not parts:
        parts.append(
            "a lab needs a Linux machine, or a virtual one, with namespaces, overlay and control groups"
        )
    return "; ".join(parts)


def packages_for(missing: Sequence[Missing]) -> tuple[str, ...]:
    """The Debian packages that bring what is missing, each once."""
    return tuple(dict.fromkeys(one.package for one in missing if one.package))


def install_missing(say: Callable[[str], None]) -> tuple[str, ...]:
    """Install the packages a lab lacks, from the distribution; which ones.

    Args:
        say: Told what will be done before it is done.

    Raises:
        ToolMissing: Something is missing that no package brings, or this is not a Debian system.
        LabError: The package manager failed.
    """
    missing = requirements()
    packages = packages_for(missing)
    if stuck := [one for one in missing if one.package is None]:
        raise ToolMissing(
            "cannot prepare this machine for a lab: missing " + ", ".join(one.what for one in stuck),
            hint=advice(stuck),
            context=[f"without {one.what}: {one.without}" for one in stuck],
        )
    if not packages:
        return ()
    if not shutil.which("apt-get"):
        if all(one.optional for one in missing):
            return ()
        raise ToolMissing(
            "cannot install packages: this is not a Debian system",
            hint="install what corresponds to: " + ", ".join(packages),
        )
    say(f"installing from the distribution: {' '.join(packages)}")
    call(["apt-get", "update", "-q"], why="update the package lists")
    with _services_held_back():
        line = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
        call(["env", "DEBIAN_FRONTEND=noninteractive", *line], why="install packages")
    if left := [one for one in requirements() if not one.optional]:
        raise LabError("cannot find what was just installed: " + ", ".join(one.what for one in left))
    return packages


@contextmanager
def _services_held_back() -> Iterator[None]:
    """Keep packages from starting their services: the lab runs its own, the machine needs none."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
