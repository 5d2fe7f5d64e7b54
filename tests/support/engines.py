"""Real engines for tests: each `dockerd` with folders, socket and pid file of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DOCKERD = "/usr/sbin/dockerd"


def missing() -> str:
    """Return why no engine can be started here, or nothing."""
    if os.geteuid() != 0:
        return "starting an engine needs root"
    if not os.access(DOCKERD, os.X_OK):
        return f"Docker Engine ({DOCKERD}) is not installed"
    return ""


@contextlib.contextmanager
def engine() -> Iterator[Path]:
    """Run an engine without bridge and yield its socket.

    Raises:
        RuntimeError: It does not start; the message has its last words.
    """
    folder = Path(tempfile.mkdtemp(prefix="deploy-engine-", dir="/tmp"))
    socket, log = folder / "e.sock", folder / "log"
    command = [
        DOCKERD, "--bridge", "none", "--iptables=false", "--data-root", str(folder / "data"),
        "--exec-root", str(folder / "exec"), "--pidfile", str(folder / "pid"), "--host", f"unix://{socket}",
    ]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(process, socket, log)
        yield socket
    finally:
        process.terminate()
        process.wait(30)
        _unmount(folder)
        shutil.rmtree(folder)


def _unmount(folder: Path) -> None:
    """Let go of what an engine leaves mounted: its data folder, and its network namespace."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{folder}/")]):
        subprocess.run(["umount", mount], check=True)


def _wait(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + 30
    while "API listen on" not in log.read_text(errors="replace") or not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        time.sleep(0.02)
