"""The engine that builds images: in the machine's own network, shared by labs, its data kept between runs.

It owns that engine's life. Each lab that uses it leaves a file with its folder's path; the engine ends
when the last such lab has gone. Builds reach what the machine reaches with ``--network host``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from orchestrator.lab import cleanup, engine, processes
from orchestrator.lab.model import Layout
from orchestrator.lab.processes import LabError

CACHE_VARIABLE = "DEPLOY_LAB_CACHE"
_DEFAULT_CACHE = "/var/cache/deploy-lab"
_POLITE_SECONDS = 10.0


def cache() -> Path:
    """Folder that outlives labs: roots, images, the builder's data. ``DEPLOY_LAB_CACHE`` moves it."""
    return Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE).resolve()


@contextmanager
def locked(name: str, folder: Path | None = None) -> Iterator[None]:
    """Hold a lock of the cache (or of ``folder``); it is free again when the holder ends, however it does."""
    path = (folder or cache()) / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def acquire(layout: Layout) -> Path:
    """Start the builder if it is not running, on behalf of a lab; its socket.

    Raises:
        LabError: It did not start.
    """
    folder = cache() / "builder"
    with locked("lock", folder):
        _users(folder).mkdir(exist_ok=True)
        # Both before it starts: whoever cleans up after a killed run finds it, whatever its environment.
        layout.builder.write_text(str(folder))
        (_users(folder) / layout.ident).write_text(str(layout.root))
        if not engine.answers(_socket(folder)):
            _end(folder)
            _start(folder)
    return _socket(folder)


def release(layout: Layout) -> None:
    """End the builder that the lab used, if no other lab that is still there uses it."""
    try:
        folder = Path(layout.builder.read_text())
    except FileNotFoundError:
        return
    if _users(folder).is_dir():
        with locked("lock", folder):
            (_users(folder) / layout.ident).unlink(missing_ok=True)
            if not _in_use(folder):
                _end(folder)
    layout.builder.unlink()


def _in_use(folder: Path) -> bool:
    """Whether a lab that runs uses the builder; forgets those that do not."""
    for user in _users(folder).iterdir():
        if processes.find(Layout.of(Path(user.read_text())).hosts):
            return True
        user.unlink()
    return False


def _socket(folder: Path) -> Path:
    return folder / "docker.sock"


def _users(folder: Path) -> Path:
    return folder / "users"


def _start(folder: Path) -> None:
    script = folder / "boot"
    script.write_text(resources.files(__package__).joinpath("builder.sh").read_text())
    log = folder / "engine.log"
    log.unlink(missing_ok=True)
    variables = {"LAB_BUILDER": str(folder), "HOME": str(folder), "LAB_CGROUP": f"/{Layout.of(folder).tag}"}
    boot = processes.spawn(script, log=log, network=False, variables=variables)
    try:
        os.write(boot.go, b"go\n")
        if processes.hear(boot.said) != "ready":
            raise LabError("cannot start the builder", context=processes.tail(log))
    finally:
        os.close(boot.go)
        os.close(boot.said)
    engine.wait_until_ready(_socket(folder), "the builder", log)


def _end(folder: Path) -> None:
    """Ask the engine to finish first: its data is kept."""
    running = processes.find(folder)
    processes.end([one.init for one in running], polite=_POLITE_SECONDS)
    processes.end([one.supervisor for one in running])
    cleanup.remove_cgroups(Layout.of(folder).tag)
