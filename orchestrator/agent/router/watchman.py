"""The process that outlives the session and takes an unconfirmed cutover back when its time has come.

Owns starting it (its own session, nobody's child), that there is one at a time, and its loop. What
going back means is :mod:`.guard`'s. It ends by itself as soon as the cutover is decided.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Iterator, List

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import Paths
from orchestrator.agent.router import guard
from orchestrator.agent.router.home import Home
from orchestrator.agent.say import say

_SLICE = 0.25
"""Seconds; how soon the process sees that it is no longer needed."""
_PATIENCE = 1800.0
"""Seconds for which going back is tried again: an engine may just be starting."""
_PAUSE = 1.0


def start(engine: Engine, journal: Journal, root: Path) -> None:
    """Start the watching process, unless one watches already.

    Raises:
        OperationFailed: ``internal``: it does not start; nothing would be guarded.
    """
    home = Home(journal.files)
    if watched(home):
        return
    words = [*_program(), "guard", "--root", str(root), "--project", journal.project]
    words += ["--socket", engine.socket_path]
    # The shell ends at once, so that init is the parent; a session of its own survives ours.
    script = 'cd /; "$@" </dev/null >/dev/null 2>>"$0" &'
    log_file = str(home.base / "guard.log")
    subprocess.run(["/bin/sh", "-c", script, log_file, *words], check=True, start_new_session=True)
    give_up = time.monotonic() + 10
    while not watched(home):
        if time.monotonic() > give_up or guard.read(home).state != guard.ARMED:
            break
        time.sleep(0.02)
    if guard.read(home).state == guard.ARMED and not watched(home):
        raise OperationFailed("internal", "the process that would take the cutover back does not start")


def watched(home: Home) -> bool:
    """A process watches the guard at this moment."""
    try:
        descriptor = os.open(home.base / "guard.watch", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def watch(root: Path, project: str, engine_socket: str) -> int:
    """Watch a project's guard until its cutover is decided and done with; return the exit status."""
    journal = Journal(Paths(root), project)
    home = Home(journal.files)
    with _alone(home) as alone:
        if not alone:
            return 0
        while True:
            entry = guard.read(home)
            if entry.state != guard.ARMED:
                break
            if entry.overdue:
                guard.expire(journal, entry.cutover)
                break
            time.sleep(min(_SLICE, max(0.0, entry.boot_deadline - guard.since_boot())))
        return _go_back(Engine(engine_socket), journal, home)


def _go_back(engine: Engine, journal: Journal, home: Home) -> int:
    give_up = time.monotonic() + _PATIENCE
    while not guard.read(home).restored:
        try:
            guard.restore(engine, journal)
        except (OperationFailed, EngineError, OSError) as error:
            say(f"cannot go back yet: {error}")
            if time.monotonic() > give_up:
                return 1
            time.sleep(_PAUSE)
    return 0


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[bool]:
    descriptor = os.open(home.base / "guard.watch", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _program() -> List[str]:
    """Return what starts this very agent again: the bundle it was started from, or its sources."""
    own = Path(sys.argv[0])
    if own.suffix == ".pyz" and own.is_file():
        return [sys.executable, "-I", "-S", str(own.resolve())]
    sources = str(Path(__file__).resolve().parents[3])
    code = f"import sys; sys.path.insert(0, {sources!r}); from orchestrator.agent import __main__ as agent; "
    code += "sys.exit(agent.main())"
    return [sys.executable, "-I", "-c", code]
