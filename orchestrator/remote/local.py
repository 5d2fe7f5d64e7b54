"""An agent as a child process: for hosts with ``connection: local`` and for the builder on this machine.

Owns the pipes and the process. It must not know what is said over them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from orchestrator.remote.bootstrap import Started, start_agent
from orchestrator.remote.bundle import Bundle
from orchestrator.remote.transport import Tail

GRACE = 2.0
"""Seconds an agent gets to exit after the end of its input, before it is killed."""
_CHUNK = 65536


class ProcessTransport:
    """Implements :class:`~.transport.Transport` over a child's pipes.

    Args:
        command: Run by ``/bin/sh``, exactly as a login shell on a host would run it.
        env: Its environment; this process's own when ``None``.
    """

    def __init__(self, command: str, env: dict[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", command],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None and stdout is not None and stderr is not None  # noqa: S101, PT018 - by PIPE
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self._tail = Tail()
        # A descriptor must not be closed under a call that uses it: its number would soon be another's.
        self._sending = threading.Lock()
        self._receiving = threading.Lock()
        self._wake_receiver, self._wake = os.pipe()
        self._closing = threading.Lock()
        self._closed = False

    def send(self, data: bytes) -> None:
        """See :meth:`.transport.Transport.send`."""
        view = memoryview(data)
        with self._sending:
            if self._stdin.closed:
                raise BrokenPipeError("closed here")
            while view:
                view = view[os.write(self._stdin.fileno(), view) :]

    def recv(self, limit: int, timeout: float) -> bytes:
        """See :meth:`.transport.Transport.recv`."""
        deadline = time.monotonic() + timeout
        with self._receiving:
            while not self._stdout.closed:
                waiting: list[Any] = [self._stdout, self._wake_receiver]
                if not self._stderr.closed:
                    waiting.append(self._stderr)
                ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError
                if self._stderr in ready:
                    self._drain()
                if self._stdout in ready:
                    return os.read(self._stdout.fileno(), limit)
                if self._wake_receiver in ready:
                    break
        return b""

    def close(self) -> None:
        """End the child: end of input first, then, if it does not go, by force."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
            if self._sending.acquire(blocking=False):
                # Otherwise it does not read its input, and would not see the end of it either.
                self._stdin.close()
                self._sending.release()
                self.exit_status(GRACE)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # The whole group: a start-up script may have left children that hold the pipes.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.write(self._wake, b"\0")
            with self._receiving, self._sending:
                self._drain_all()
                for file in (self._stdin, self._stdout, self._stderr):
                    file.close()
                os.close(self._wake)
                os.close(self._wake_receiver)

    def exit_status(self, timeout: float) -> int | None:
        """See :meth:`.transport.Transport.exit_status`."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> tuple[str, ...]:
        """See :meth:`.transport.Transport.last_words`."""
        with self._receiving:
            self._drain_all()
        return self._tail.lines()

    def _drain_all(self) -> None:
        while not self._stderr.closed and select.select([self._stderr], [], [], 0)[0]:
            self._drain()

    def _drain(self) -> None:
        data = os.read(self._stderr.fileno(), _CHUNK)
        self._tail.feed(data)
        if not data:
            self._stderr.close()


def connect_local(
    host: str,
    bundle: Bundle,
    *,
    become: bool = False,
    root: str = "",
    leave: Callable[[], None] | None = None,
) -> Started:
    """Start an agent on this machine.

    Args:
        host: Name in the inventory.
        bundle: The agent.
        become: Start it by ``sudo -n``.
        root: State directory; empty: the default of the user who runs it.
        leave: Waited for before anything is installed.

    Raises:
        HostNotReady: Something is missing here.
    """
    return start_agent(host, ProcessTransport, bundle, become=become, root=root, leave=leave)
