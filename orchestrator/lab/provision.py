"""Writes a host's folder: users, keys, sshd and engine settings, its boot script.

It owns what a host looks like before it starts and must not know how it is started.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from orchestrator.lab.model import LabHost, Layout
from orchestrator.lab.processes import call

SUDO_USER = "deployer"
"""A user without privileges who may use ``sudo -n``."""
DOCKER_USER = "runner"
"""A user without privileges who is in the engine's group."""

_USERS = {SUDO_USER: 20001, DOCKER_USER: 20002}
_DOCKER_GID = 20000
_HIDDEN_FOLDERS = ("usr/bin", "usr/sbin", "usr/local/bin")
_ENGINE_TOOLS = ("docker", "dockerd", "docker-proxy", "docker-init", "containerd", "ctr", "runc", "podman")

_OCTAL = re.compile(r"\\([0-7]{3})")
"""How the kernel writes blanks and backslashes in mountinfo."""

_SSHD = """\
Port 22
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
Subsystem sftp internal-sftp
"""


def write_client_key(layout: Layout) -> str:
    """Make the client's key pair if there is none yet; its public part."""
    public = layout.identity.with_suffix(".pub")
    if not public.exists():
        _keygen(layout.identity, f"{layout.tag} client")
    return public.read_text()


def write_host(host: LabHost, hosts: Sequence[LabHost], public_key: str, gateway: str, rootfs: Path) -> None:
    """Write the folder of a host that has not run yet, or is stopped. What it stored stays.

    Args:
        host: The host.
        hosts: All hosts, for ``/etc/hosts``.
        public_key: Who may log in.
        gateway: The machine's address on the bridge, known to the host as ``controller``.
        rootfs: The root the host is laid over: ``/``, or a Debian root.
    """
    folder = host.folder
    for name in (
        "etc/ssh",
        "etc/docker",
        "etc/sudoers.d",
        "etc.work",
        "root",
        "home",
        "var/log",
        "rootfs",
        "scratch",
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("upper", "upper.work"):
        (folder / name).mkdir(exist_ok=True)
    kept = folder / "disk" if host.options.disk_mb else folder
    for name in ("var/lib/docker", "var/lib/containers", "var/lib/deploy"):
        (kept / name).mkdir(parents=True, exist_ok=True)
    _write_tmp(folder / "tmp")
    _write_etc(host, hosts, gateway, rootfs)
    _write_homes(folder, public_key)
    _write_hidden(host, rootfs)
    host.boot_script.write_text(resources.files(__package__).joinpath("boot.sh").read_text())


def _write_tmp(tmp: Path) -> None:
    """``/tmp`` is empty after a reboot, as everywhere."""
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir()
    tmp.chmod(stat.S_ISVTX | 0o777)


def _write_etc(host: LabHost, hosts: Sequence[LabHost], gateway: str, rootfs: Path) -> None:
    etc = host.folder / "etc"
    key = etc / "ssh/ssh_host_ed25519_key"
    if not key.exists():
        _keygen(key, f"root@{host.name}")
    files: dict[str, str] = {
        "hostname": f"{host.name}\n",
        "hosts": hosts_file(host, hosts, gateway),
        "resolv.conf": f"nameserver {gateway}\n",
        "bash.bashrc": "",
        "docker/daemon.json": '{"features": {"containerd-snapshotter": true}}\n'
        if host.options.containerd_store
        else "{}\n",
        "ssh/sshd_config": _SSHD,
        "sudoers.d/lab": f"{SUDO_USER} ALL=(ALL:ALL) NOPASSWD: ALL\n",
        "passwd": with_users((rootfs / "etc/passwd").read_text()),
        "group": with_groups((rootfs / "etc/group").read_text()),
        "shadow": with_shadow((rootfs / "etc/shadow").read_text()),
    }
    modes: Mapping[str, int] = {"sudoers.d/lab": 0o440, "shadow": 0o600}
    for name, text in files.items():
        path = etc / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(modes.get(name, 0o644))


def hosts_file(host: LabHost, hosts: Sequence[LabHost], gateway: str) -> str:
    """Contents of ``/etc/hosts``: itself, every other host, and the machine as ``controller``."""
    lines = ["127.0.0.1 localhost", "::1 localhost", f"{gateway} controller"]
    lines += [f"{other.address} {other.name}" for other in hosts if other != host]
    return "\n".join([*lines, f"{host.address} {host.name}"]) + "\n"


def with_users(passwd: str) -> str:
    """``passwd`` with the lab's users."""
    lines = _without(passwd, _USERS)
    lines += [f"{name}:x:{uid}:{uid}::/home/{name}:/bin/bash" for name, uid in _USERS.items()]
    return "\n".join(lines) + "\n"


def with_groups(group: str) -> str:
    """``group`` with the lab users' groups, and the one who may use the engine in the group ``docker``."""
    gid = next((line.split(":")[2] for line in group.splitlines() if line.startswith("docker:")), _DOCKER_GID)
    lines = _without(group, {**_USERS, "docker": 0})
    lines += [f"{name}:x:{uid}:" for name, uid in _USERS.items()]
    return "\n".join([*lines, f"docker:x:{gid}:{DOCKER_USER}"]) + "\n"


def with_shadow(shadow: str) -> str:
    """``shadow`` with no passwords at all; ``*`` is "no password", where sshd takes ``!`` for "locked"."""
    names = [line.split(":")[0] for line in _without(shadow, _USERS)]
    return "".join(f"{name}:*:20000:0:99999:7:::\n" for name in [*names, *_USERS])


def _without(table: str, names: Mapping[str, int]) -> list[str]:
    return [line for line in table.splitlines() if line.split(":")[0] not in names]


def _write_homes(folder: Path, public_key: str) -> None:
    """Homes hold an authorized key and nothing else: no start-up file adds its cost to every command."""
    for home, uid in [(folder / "root", 0), *((folder / "home" / n, uid) for n, uid in _USERS.items())]:
        keys = home / ".ssh/authorized_keys"
        keys.parent.mkdir(parents=True, exist_ok=True)
        keys.write_text(public_key)
        for path, mode in ((keys, 0o600), (keys.parent, 0o700), (home, 0o700)):
            path.chmod(mode)
            os.chown(path, uid, uid)


def _write_hidden(host: LabHost, rootfs: Path) -> None:
    """Whiteouts: a character device 0:0 in an overlay's upper layer removes the file of that name below."""
    hidden = host.folder / "hidden"
    shutil.rmtree(hidden, ignore_errors=True)
    for name in _HIDDEN_FOLDERS:
        folder = rootfs / name
        present = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        gone = [
            file
            for file in present
            if (file.startswith("python") and not host.options.python)
            or (file in _ENGINE_TOOLS and not host.has_engine)
        ]
        if gone:
            (hidden / name).mkdir(parents=True)
        for file in gone:
            os.mknod(hidden / name / file, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def host_key(host: LabHost) -> str:
    """The host's public key, ``type base64``."""
    return " ".join((host.folder / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])


def _keygen(path: Path, comment: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)], why="make a key")


def mount_disk(host: LabHost) -> None:
    """Give the host a disk of its own size, mounted on the machine so that it outlives reboots."""
    disk = host.folder / "disk"
    if host.options.disk_mb and not os.path.ismount(disk):
        disk.mkdir(parents=True, exist_ok=True)
        options = f"size={host.options.disk_mb}m,mode=755"
        call(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], why=f"mount the disk of {host.name}"
        )


def unmount_below(folder: Path) -> None:
    """Unmount whatever is mounted below ``folder``, the deepest first."""
    for point in mounts_below(folder):
        subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)


def mounts_below(folder: Path) -> tuple[str, ...]:
    """Mount points below ``folder``, the last mounted first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [_OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split()[4]) for line in lines]
    return tuple(point for point in reversed(points) if point.startswith(f"{folder}/"))
