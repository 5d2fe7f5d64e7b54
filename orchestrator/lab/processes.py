"""Processes in namespaces of their own: start one, find it again, enter it, end it.

It owns the only two ways in and out of a host: a supervisor (``unshare``) and its first process, which
runs a boot script. A running one is recognised by the script's absolute path in its command line: there
are no pid files, so there are none to be stale after ``kill -9`` or a power cut.
It must not know what the boot script does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import DeployError

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_END_SECONDS = 10.0


class LabError(DeployError):
    """The lab, or a host of it, could not be brought into the state asked for."""


@dataclass(frozen=True)
class Boot:
    """A host that is starting: a channel each way between it and whoever starts it."""

    script: Path
    pid: int
    """Of the first process, as the machine numbers it."""
    go: int
    """Descriptor; the boot script waits for a line here. Closing it instead ends the host."""
    said: int
    """Descriptor; the boot script reports here, one word a line, and closes it when it has nothing to add."""


@dataclass(frozen=True)
class Running:
    """A running first process and its supervisor."""

    script: str
    supervisor: int
    init: int


def environment() -> dict[str, str]:
    """A clean environment: hosts do not inherit the caller's."""
    return {"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def spawn(script: Path, *, log: Path, network: bool, variables: Mapping[str, str]) -> Boot:
    """Start ``script`` as the first process of new namespaces and wait until it has said its pid.

    Args:
        script: Boot script, run by ``sh``.
        log: File that takes everything the host prints.
        network: Whether it gets a network namespace of its own.
        variables: Added to a clean environment.

    Raises:
        LabError: The first process ended before it was ready for its network.
    """
    names = ["--mount", "--uts", "--ipc", "--pid", *(["--net"] if network else [])]
    argv = ["unshare", *names, "--fork", "--kill-child=SIGKILL", "--", "/bin/sh", str(script)]
    go_read, go_write = os.pipe()
    said_read, said_write = os.pipe()
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        supervisor = os.posix_spawnp(
            argv[0],
            argv,
            {**environment(), **variables},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, go_read, 0),
                (os.POSIX_SPAWN_DUP2, log_fd, 1),
                (os.POSIX_SPAWN_DUP2, log_fd, 2),
                (os.POSIX_SPAWN_DUP2, said_write, 3),
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in _inherited()),
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP),
        )
    finally:
        for fd in (go_read, said_write, log_fd):
            os.close(fd)
    word = hear(said_read)
    if not word.isdigit():
        os.close(go_write)
        os.close(said_read)
        end([supervisor])
        raise LabError(f"cannot start {script.parent.name}", context=tail(log))
    return Boot(script, int(word), go_write, said_read)


def _inherited() -> list[int]:
    """Descriptors above 3 that a child would get, such as a pipe of ``make``, which would wait for hosts."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - names, not paths
    inherited = []
    for number in numbers:
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            if number > 3 and os.get_inheritable(number):
                inherited.append(number)
    return inherited


def hear(said: int) -> str:
    """The next word a boot script says, or ``""`` when it has closed the channel or ended."""
    word = bytearray()
    while (byte := os.read(said, 1)) not in {b"", b"\n"}:
        word += byte
    return word.decode()


def tail(log: Path, lines: int = 15) -> tuple[str, ...]:
    """The last lines of a log, for an error's context."""
    try:
        return tuple(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ()


def find(under: Path) -> tuple[Running, ...]:
    """Every running first process whose boot script lies in or below ``under``."""
    prefix = f"{under}/"
    supervisors: dict[str, int] = {}
    inits: dict[str, int] = {}
    for pid, argv in command_lines():
        if not argv[-1].startswith(prefix):
            continue
        if argv[0] == "unshare":
            supervisors[argv[-1]] = pid
        elif argv[0] == "/bin/sh" and _is_first(pid):
            inits[argv[-1]] = pid
    return tuple(
        Running(script, supervisors.get(script, 0), inits.get(script, 0))
        for script in sorted({*supervisors, *inits})
    )


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Pid and arguments of every process of the machine that has any."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            words = Path(f"/proc/{entry.name}/cmdline").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        if words:
            yield int(entry.name), words.rstrip("\0").split("\0")


def _is_first(pid: int) -> bool:
    """Whether the process is number 1 of its pid namespace (a forked child has the same command line)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    numbers = next((line.split() for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(numbers) > 2 and numbers[-1] == "1"


def end(pids: Iterable[int], *, polite: float = 0.0) -> None:
    """Kill processes and wait until they are gone, and with a supervisor all that runs in its namespaces.

    Args:
        pids: Supervisors or first processes; 0 and pids that no longer exist are passed over.
        polite: Seconds to wait after SIGTERM before SIGKILL; 0 kills at once.

    Raises:
        LabError: One is still there after ten seconds.
    """
    handles: dict[int, int] = {}
    for pid in set(pids) - {0}:
        with contextlib.suppress(ProcessLookupError):
            handles[os.pidfd_open(pid)] = pid
    try:
        if polite:
            _signal(handles, signal.SIGTERM)
            _wait_gone(handles, polite)
        _signal(handles, signal.SIGKILL)
        left = _wait_gone(handles, _END_SECONDS)
        if left:
            raise LabError(f"cannot end processes {', '.join(map(str, sorted(left)))}")
    finally:
        for handle in handles:
            os.close(handle)


def _signal(handles: Mapping[int, int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _wait_gone(handles: Mapping[int, int], seconds: float) -> set[int]:
    """Wait for all; the pids that are left. A pidfd becomes readable when its process has ended."""
    poll = select.poll()
    for handle in handles:
        poll.register(handle, select.POLLIN)
    waiting = set(handles)
    deadline = time.monotonic() + seconds
    while waiting and (remaining := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(remaining * 1000):
            poll.unregister(handle)
            waiting.discard(handle)
            with contextlib.suppress(ChildProcessError):  # started by another process
                os.waitpid(handles[handle], 0)
    return {handles[handle] for handle in waiting}


def enter(pid: int, argv: Sequence[str]) -> list[str]:
    """The command line that runs ``argv`` inside the host whose first process is ``pid``."""
    target = ["nsenter", "--target", str(pid), "--mount", "--uts", "--ipc", "--net", "--pid"]
    return [*target, "--", "env", "--chdir=/root", *argv]


def call(argv: Sequence[str], *, text: str | None = None, why: str) -> str:
    """Run a tool of the machine and return what it printed.

    Args:
        argv: The tool and its arguments.
        text: Standard input.
        why: What fails when the tool does: "cannot <why>".

    Raises:
        LabError: It is missing or ended with another status than 0; the context holds what it said.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"cannot {why}: {argv[0]} is not installed") from None
    if done.returncode != 0:
        raise LabError(f"cannot {why}", context=(" ".join(argv), *done.stderr.splitlines()[-10:]))
    return done.stdout
