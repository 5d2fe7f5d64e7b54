"""An agent as a child process: for hosts with ``connection: local`` and for the builder on this machine.

Owns the pipes and the process. It must not know what is said over them.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time

from orchestrator.remote.bootstrap import Started, start_agent
from orchestrator.remote.bundle import Bundle
from orchestrator.remote.transport import Tail

_GRACE = 2.0
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

    def send(self, data: bytes) -> None:
        """See :meth:`.transport.Transport.send`."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._stdin.fileno(), view) :]
            except ValueError as error:
                raise BrokenPipeError("closed here") from error

    def recv(self, limit: int, timeout: float) -> bytes:
        """See :meth:`.transport.Transport.recv`."""
        deadline = time.monotonic() + timeout
        while True:
            waiting = [file for file in (self._stdout, self._stderr) if not file.closed]
            if self._stdout not in waiting:
                return b""
            ready, _, _ = select.select(waiting, [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            if self._stderr in ready:
                self._drain()
            if self._stdout in ready:
                return os.read(self._stdout.fileno(), limit)

    def close(self) -> None:
        """End the child: end of input first, then, if it does not go, by force."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def exit_status(self, timeout: float) -> int | None:
        """See :meth:`.transport.Transport.exit_status`."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def last_words(self) -> tuple[str, ...]:
        """See :meth:`.transport.Transport.last_words`."""
        while not self._stderr.closed and select.select([self._stderr], [], [], 0)[0]:
            self._drain()
        return self._tail.lines()

    def _drain(self) -> None:
        data = os.read(self._stderr.fileno(), _CHUNK)
        self._tail.feed(data)
        if not data:
            self._stderr.close()


def connect_local(host: str, bundle: Bundle, *, become: bool = False, root: str = "") -> Started:
    """Start an agent on this machine.

    Args:
        host: Name in the inventory.
        bundle: The agent.
        become: Start it by ``sudo -n``.
        root: State directory; empty: the default of the user who runs it.

    Raises:
        HostNotReady: Something is missing here.
    """
    return start_agent(host, ProcessTransport, bundle, become=become, root=root)
