"""The guard: a cutover that nobody confirms in time is taken back by this host itself.

Owns the journal entry (what to go back to, until when), the one compare-and-set that decides between
confirm and expiry, and going back. Armed before traffic moves, confirmed over a fresh connection after
it has moved; a controller that is gone, or a host that can no longer be reached, never confirms.

::

    armed ──confirm──> confirmed
      │ ├──disarm────> (nothing)
      │ └──deadline, reboot, or another run──> reverted, then restored

Deadlines are on the clock that counts since boot: nobody can set it. It must not know who watches:
:mod:`.watchman` does while the host is up, and every request settles what was left over.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterator, Optional, Tuple

from orchestrator.agent import durable
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import private_directory
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.lifecycle import Lifecycle
from orchestrator.agent.router.table import Table
from orchestrator.agent.say import say
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.routing import Arm, Guard, RouterConfig

ARMED, CONFIRMED, REVERTED = "armed", "confirmed", "reverted"
_LONGEST = 86_400.0
_MOST_QUARANTINED = 50


@dataclass(frozen=True)
class Entry:
    """What ``guard.json`` holds."""

    cutover: str = ""
    state: str = ""
    """Empty: nothing is guarded."""
    deadline: float = 0.0
    """Seconds since the epoch, for people."""
    boot_deadline: float = 0.0
    """Seconds since boot: the one that counts."""
    boot_id: str = ""
    containers: Tuple[str, ...] = ()
    """Ids of those that have to run again."""
    table: Table = field(default_factory=Table)
    picture: Optional[RouterConfig] = None
    restored: bool = True
    """False: reverted, and the way back has not been gone to its end."""
    quarantine: Tuple[str, ...] = ()
    """Releases that were reverted here, newest last: nothing that acts by itself installs them again."""

    @property
    def epoch(self) -> int:
        """Epoch of the run that armed it."""
        text = self.cutover.rpartition("-")[2]
        return int(text) if text.isdecimal() else 0

    @property
    def overdue(self) -> bool:
        """It is armed, and its time has come: by the clock, or since the host was booted again."""
        late = boot_id() != self.boot_id or since_boot() >= self.boot_deadline
        return self.state == ARMED and late


def arm(journal: Journal, order: Arm) -> str:
    """Guard what is served now; return a remark.

    Raises:
        OperationFailed: ``bad-request``, or ``conflict``: this cutover was decided already, or another is
            not yet.
    """
    home = Home(journal.files)
    if not 0 < order.seconds <= _LONGEST or not order.cutover:
        raise OperationFailed("bad-request", "a guard needs a cutover and between a second and a day")
    with _locked(home):
        known = read(home)
        if known.cutover == order.cutover and known.state:
            if known.state == ARMED:
                return "was armed already"
            raise OperationFailed("conflict", f"cutover {order.cutover} was {known.state} already")
        if known.state == ARMED:
            raise OperationFailed("conflict", f"cutover {known.cutover} is not decided yet")
        entry = Entry(
            cutover=order.cutover,
            state=ARMED,
            deadline=time.time() + order.seconds,
            boot_deadline=since_boot() + order.seconds,
            boot_id=boot_id(),
            containers=order.containers,
            table=home.table(),
            picture=home.picture(),
            quarantine=known.quarantine,
        )
        _write(home, entry)
    return ""


def disarm(journal: Journal, cutover: str) -> str:
    """Guard a cutover no more: its controller has put things back. Returns a remark."""
    home = Home(journal.files)
    with _locked(home):
        known = read(home)
        if known.cutover != cutover or not known.state:
            return "was not armed"
        if known.state != ARMED:
            return f"was {known.state} already"
        _write(home, Entry(quarantine=known.quarantine))
    return ""


def confirm(journal: Journal, cutover: str) -> str:
    """Decide a cutover: return ``confirmed``, or ``reverted`` when the host was first or never knew it.

    The way back, where there is one to go, is the caller's to start: see :func:`settle`.
    """
    home = Home(journal.files)
    with _locked(home):
        known = read(home)
        if known.cutover != cutover or known.state not in (ARMED, CONFIRMED):
            return REVERTED
        if known.overdue:
            _expire(home, known)
            return REVERTED
        if known.state == ARMED:
            _write(home, replace(known, state=CONFIRMED))
    return CONFIRMED


def expire(journal: Journal, cutover: str, *, now: bool = False) -> bool:
    """Decide that a cutover was not confirmed, if its time has come (or ``now``); return whether it was."""
    home = Home(journal.files)
    with _locked(home):
        known = read(home)
        if known.cutover != cutover or known.state != ARMED or not (now or known.overdue):
            return False
        _expire(home, known)
    return True


def settle(engine: Engine, journal: Journal, epoch: Optional[int] = None) -> Entry:
    """Bring to its end whatever a dead guard, a dead controller or a reboot has left; return what is so now.

    Args:
        engine: The host's engine.
        journal: The project.
        epoch: Of the run that wants to change traffic now: another run's cutover is then over.

    Raises:
        OperationFailed, EngineError, OSError: The way back could not be gone to its end; the next call
            tries again.
    """
    home = Home(journal.files)
    known = read(home)
    superseded = epoch is not None and known.state == ARMED and known.epoch != epoch
    if known.overdue or superseded:
        expire(journal, known.cutover, now=superseded)
    if read(home).restored is False:
        restore(engine, journal)
    return read(home)


def restore(engine: Engine, journal: Journal) -> None:
    """Go back to what was served when the guard was armed.

    Raises:
        OperationFailed, EngineError, OSError: It did not work out.
    """
    lifecycle = Lifecycle(engine, journal)
    home = lifecycle.home
    with home.locked():
        entry = read(home)
        if entry.restored:
            return
        for container in entry.containers:
            _run(engine, container)
        if entry.picture is not None:
            if home.picture() != entry.picture:
                lifecycle.ensure(entry.picture, lambda _: None)
            steering = lifecycle.steering()
            table = steering.refresh(replace(entry.table, maintenance=home.table().maintenance))
            steering.reconcile(table)
            steering.record(table)
        with _locked(home):
            _write(home, replace(read(home), restored=True))


def refuse_after_revert(journal: Journal, epoch: int) -> None:
    """Return unless the cutover of this very run was taken back: then it must move nothing forward.

    Raises:
        OperationFailed: ``reverted``.
    """
    entry = read(Home(journal.files))
    if entry.state == REVERTED and entry.epoch == epoch:
        raise OperationFailed(
            "reverted", f"cutover {entry.cutover} was not confirmed in time: the host has gone back by itself"
        )


def report(home: Home) -> Optional[Guard]:
    """Return the guard as a host reports it."""
    entry = read(home)
    return Guard(entry.cutover, entry.state, entry.deadline) if entry.state else None


def read(home: Home) -> Entry:
    """Return what is guarded; a damaged entry guards nothing, and is told."""
    try:
        return decode(Entry, json.loads(home.guard_file.read_bytes()))
    except FileNotFoundError:
        return Entry()
    except (OSError, WireError, ValueError, RecursionError) as error:
        say(f"damaged: {home.guard_file}: {error}")
        return Entry()


def since_boot() -> float:
    """Return the seconds since boot, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what tells one boot of this host from the next."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _expire(home: Home, known: Entry) -> None:
    release = known.cutover.rpartition("-")[0]
    quarantine = [one for one in known.quarantine if one != release] + [release]
    kept = tuple(quarantine[-_MOST_QUARANTINED:])
    _write(home, replace(known, state=REVERTED, restored=False, quarantine=kept))
    say(f"cutover {known.cutover} was not confirmed: going back")


def _run(engine: Engine, container: str) -> None:
    """Have a container of the old state run; one that is gone cannot, and the others matter more."""
    try:
        engine.post(f"/containers/{container}/start")
    except EngineError as error:
        if not error.not_found and error.status != 304:
            raise
        say(f"container {container[:12]} of the old release: {error.message}")


def _write(home: Home, entry: Entry) -> None:
    durable.write(home.guard_file, canonical(entry))


@contextlib.contextmanager
def _locked(home: Home) -> Iterator[None]:
    """Decide alone. Held for the moment of a decision, never while something is done about it."""
    private_directory(home.base)
    descriptor = os.open(home.base / "guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
