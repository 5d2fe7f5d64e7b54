"""The lease: at most one session changes a project on this host, and a superseded one never again.

Owns the exclusive ``flock``, the note beside it that tells others who holds it, the persisted epoch,
and the check that a request comes from the holder. It must not know what the holder does. The lock
lives as long as the process that took it: whatever kills the agent frees the lease.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, Optional

from orchestrator.agent import durable
from orchestrator.agent.handler import Refusal
from orchestrator.agent.paths import Paths, ProjectPaths, private_directory
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.messages import Acquire, LeaseInfo

_PATIENCE = 0.25
"""Seconds: readers hold the lock for microseconds to see whether it is free; a lease lasts longer."""
_PAUSE = 0.01


class _Held:
    def __init__(self, descriptor: int, epoch: int) -> None:
        self.descriptor = descriptor
        self.epoch = epoch
        self.users = 0


class Leases:
    """The leases this session holds, by project."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._held: Dict[str, _Held] = {}
        self._lock = threading.Lock()

    def acquire(self, request: Acquire, state: Callable[[], str]) -> int:
        """Take the lease of a project and persist its epoch, which is returned.

        Args:
            request: Who wants it, why, and under which epoch.
            state: Tells the host's present state digest; asked only once the lock is ours.

        Raises:
            Refusal: ``lease-held``, ``stale-epoch`` or ``state-changed``; nothing is held then.
        """
        files = self._paths.project(request.project)
        private_directory(files.base)
        descriptor = _lock(files)
        try:
            self._check(request, files, state)
            durable.write(files.epoch, str(request.epoch).encode())
            info = LeaseInfo(request.owner, request.reason, request.release, time.time(), request.epoch)
            durable.write(files.lock_info, canonical(info))
            with self._lock:
                self._held[request.project] = _Held(descriptor, request.epoch)
        except BaseException:
            os.close(descriptor)
            raise
        return request.epoch

    @contextlib.contextmanager
    def use(self, project: str, epoch: int) -> Iterator[None]:
        """Prove that this session holds the lease under ``epoch``, and keep it held meanwhile.

        Raises:
            Refusal: ``no-lease`` or ``stale-epoch``.
        """
        with self._lock:
            held = self._holding(project, epoch)
            held.users += 1
        try:
            yield
        finally:
            with self._lock:
                held.users -= 1

    def release(self, project: str, epoch: int) -> None:
        """Give the lease back.

        Raises:
            Refusal: It is not held, or a change is still under way.
        """
        with self._lock:
            held = self._holding(project, epoch)
            if held.users:
                raise Refusal("bad-request", "cannot give the lease back while changes are under way")
            del self._held[project]
        os.close(held.descriptor)

    def close(self) -> None:
        """Give every lease back."""
        with self._lock:
            held, self._held = self._held, {}
        for lease in held.values():
            os.close(lease.descriptor)

    def _holding(self, project: str, epoch: int) -> _Held:
        held = self._held.get(project)
        if held is None:
            raise Refusal("no-lease", f"this session does not hold the lease of {project!r}")
        if held.epoch != epoch:
            raise Refusal("stale-epoch", f"the lease of {project!r} has epoch {held.epoch}, not {epoch}")
        return held

    @staticmethod
    def _check(request: Acquire, files: ProjectPaths, state: Callable[[], str]) -> None:
        last = epoch_of(files)
        if request.epoch <= last:
            raise Refusal(
                "stale-epoch",
                f"epoch {request.epoch} is not newer than {last}, which this host has seen",
                hint="another run came first: plan again",
            )
        if request.state and request.state != state():
            raise Refusal(
                "state-changed",
                "the host is not in the state the plan was made from",
                hint="plan again",
            )


def epoch_of(files: ProjectPaths) -> int:
    """Return the highest epoch this host has seen for a project; 0 when none.

    Raises:
        Refusal: The file is damaged: guessing could let a superseded run change things.
    """
    try:
        return int(files.epoch.read_text("ascii"))
    except FileNotFoundError:
        return 0
    except ValueError as error:
        raise Refusal(
            "internal",
            f"cannot read the epoch in {files.epoch}",
            hint="write the highest epoch of the other hosts into it",
        ) from error


def holder_of(files: ProjectPaths) -> Optional[LeaseInfo]:
    """Return who holds the lease of a project at this moment, or ``None``."""
    try:
        descriptor = os.open(files.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_info(files.lock_info)
    finally:
        os.close(descriptor)
    return None


def _lock(files: ProjectPaths) -> int:
    descriptor = os.open(files.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up = time.monotonic() + _PATIENCE
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise
                time.sleep(_PAUSE)
            else:
                return descriptor
    except BlockingIOError as error:
        os.close(descriptor)
        raise _held_by(_read_info(files.lock_info)) from error
    except BaseException:
        os.close(descriptor)
        raise


def _held_by(info: LeaseInfo) -> Refusal:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(info.since))
    return Refusal(
        "lease-held",
        f"{info.owner} holds the lease since {since}: {info.reason} of {info.release}",
        hint="wait until that run ends; when its session is gone the lease is free",
        lease=info,
    )


def _read_info(path: Path) -> LeaseInfo:
    """Read the note beside the lock; its writer may be just about to replace it."""
    try:
        return decode(LeaseInfo, json.loads(path.read_bytes()))
    except (OSError, ValueError, WireError):
        return LeaseInfo("unknown", "unknown", "unknown", 0.0, 0)
