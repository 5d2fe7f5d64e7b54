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

from orchestrator.lab import engine, processes
from orchestrator.lab.model import Layout
from orchestrator.lab.processes import LabError

CACHE_VARIABLE = "DEPLOY_LAB_CACHE"
_DEFAULT_CACHE = "/var/cache/deploy-lab"
_POLITE_SECONDS = 10.0


def cache() -> Path:
    """Folder that outlives labs: roots, images, the builder's data. ``DEPLOY_LAB_CACHE`` moves it."""
    return Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT_CACHE).resolve()


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a lock of the cache; it is free again when the holder ends, however that happens."""
    path = cache() / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def socket_path() -> Path:
    """Where the builder listens, whether or not it is running."""
    return _folder() / "docker.sock"


def acquire(layout: Layout) -> Path:
    """Start the builder if it is not running, on behalf of a lab; its socket.

    Raises:
        LabError: It did not start.
    """
    with locked("builder"):
        _users().mkdir(parents=True, exist_ok=True)
        (_users() / layout.ident).write_text(str(layout.root))
        if not engine.answers(socket_path()):
            _end()
            _start()
    return socket_path()


def release(layout: Layout) -> None:
    """End the builder if no other lab that is still there uses it."""
    if not _users().is_dir():
        return
    with locked("builder"):
        (_users() / layout.ident).unlink(missing_ok=True)
        for user in _users().iterdir():
            if processes.find(Layout.of(Path(user.read_text())).hosts):
                return
            user.unlink()
        _end()


def _folder() -> Path:
    return cache() / "builder"


def _users() -> Path:
    return _folder() / "users"


def _start() -> None:
    script = _folder() / "boot"
    script.write_text(resources.files(__package__).joinpath("builder.sh").read_text())
    log = _folder() / "engine.log"
    log.unlink(missing_ok=True)
    variables = {"LAB_BUILDER": str(_folder()), "HOME": str(_folder())}
    boot = processes.spawn(script, log=log, network=False, variables=variables)
    try:
        os.write(boot.go, b"go\n")
        if processes.hear(boot.said) != "ready":
            raise LabError("cannot start the builder", context=processes.tail(log))
    finally:
        os.close(boot.go)
        os.close(boot.said)
    engine.wait_until_ready(socket_path(), "the builder", log)


def _end() -> None:
    """Ask the engine to finish first: its data is kept."""
    running = processes.find(_folder())
    processes.end([one.init for one in running], polite=_POLITE_SECONDS)
    processes.end([one.supervisor for one in running])
