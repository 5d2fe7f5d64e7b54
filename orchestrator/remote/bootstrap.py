"""From a way to run a command on a host to a live agent there.

Owns the one command that starts the agent or, where it is missing, takes it from the same stream, and
what each way for it to fail means to a person. It must not know SSH: a function opens the stream.

One exec request does everything. ``payload/start.sh`` answers with a marker on stdout: the agent's
preface (it was there and runs), ``need`` (``payload/loader.py`` waits for the bundle), or a word that
says what is missing. Nothing is decided by the text of an error message.
"""

from __future__ import annotations

import base64
import functools
import re
import shlex
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import HostError, HostNotReady, HostUnreachable
from orchestrator.protocol.frames import PREFACE
from orchestrator.remote.bundle import Bundle
from orchestrator.remote.session import AgentSession
from orchestrator.remote.transport import Tail, Transport

START_TIMEOUT = 30.0
"""Seconds for each answer while the agent starts."""
MAX_NOISE = 64 * 1024
"""Bytes a login shell may print before the first marker."""

_PAYLOAD = Path(__file__).resolve().parent / "payload"
_MARKER = re.compile(rb"\x00deploy:([a-z0-9-]{1,32})\n")
_AGENT = PREFACE.split(b":", 1)[1].strip().decode()
_SUDO_FAILURES = {1: "sudo would ask for a password or refuses the user", 127: "there is no sudo"}
"""By exit status, when not even the script behind sudo has said anything."""


@dataclass(frozen=True)
class Started:
    """An agent that has said hello."""

    session: AgentSession
    shipped: bool
    """Whether the bundle had to be sent."""


class _NoMarker(Exception):  # noqa: N818 - internal, caught in this module
    """The stream ended, or went on too long, without a marker."""

    def __init__(self, noise: bytes) -> None:
        super().__init__()
        self.noise = noise


def start_agent(
    host: str,
    run: Callable[[str], Transport],
    bundle: Bundle,
    *,
    become: bool = False,
    root: str = "",
    timeout: float = START_TIMEOUT,
    leave: Callable[[], None] | None = None,
) -> Started:
    """Start the agent on ``host``, sending it first when it is missing or not what it should be.

    Args:
        host: Name in the inventory, for errors.
        run: Runs a shell command there and returns its streams.
        bundle: The agent to run.
        become: Start it by ``sudo -n``.
        root: State directory; empty for the default of the user who runs it.
        timeout: Seconds for each answer.
        leave: Called, and waited for, before anything is installed there; ``None``: it may be at once.

    Raises:
        HostNotReady: Something is missing there; the message says what, the hint how to get it.
        HostUnreachable: The connection was lost or nothing came in time.
        ProtocolViolation: What runs there does not speak as an agent does.
    """
    transport = run(command(bundle, become=become, root=root, mode="use" if leave is None else "look"))
    started: Started | None
    try:
        started = _attempt(host, transport, bundle, timeout)
    except _NoMarker:
        transport.close()
        started = None
    if started is not None and started.session.hello.agent == bundle.sha256:
        return started
    # What has the right name is not the right agent, or does not even start: replace it.
    if started is not None:
        started.session.close()
    if leave is not None:
        leave()
    transport = run(command(bundle, become=become, root=root, mode="ship"))
    try:
        started = _attempt(host, transport, bundle, timeout)
    except _NoMarker as silence:
        raise _explain_silence(host, transport, silence.noise, become=become) from None
    if started.session.hello.agent != bundle.sha256:
        started.session.close()
        raise HostNotReady(host, "the agent that runs is not the one that was sent")
    return started


def command(bundle: Bundle, *, become: bool = False, root: str = "", mode: str = "use") -> str:
    """Return the shell command that starts the agent; every word of it is quoted.

    Mode ``look`` starts it where it is installed, ``use`` installs it where it is missing, ``ship`` in any
    case.
    """
    script, loader = _scripts()
    words = ["/bin/sh", "-c", script, "deploy", bundle.sha256, root, loader, mode]
    if become:
        words = ["sudo", "-n", "--", *words]
    return "exec " + shlex.join(words)


@functools.cache
def _scripts() -> tuple[str, str]:
    """Return the shell script and the loader, each on one line, which any login shell can pass on."""
    lines = (_PAYLOAD / "start.sh").read_text().splitlines()
    script = "; ".join(line.strip() for line in lines if not line.startswith("#"))
    script = script.replace("then;", "then")
    loader = base64.b64encode(zlib.compress((_PAYLOAD / "loader.py").read_bytes(), 9)).decode()
    return script, f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{loader}")))'


def _attempt(host: str, transport: Transport, bundle: Bundle, timeout: float) -> Started:
    """Bring up one agent on a stream of its own; the stream is closed when that fails.

    Raises:
        _NoMarker: There was no answer at all. The stream is still open: its exit status tells more.
    """
    sent = 0
    try:
        word, rest = _await_marker(transport, timeout)
        if word == "need":
            sent = _ship(transport, bundle)
            word, rest = _await_marker(transport, timeout, rest)
        if word == "absent":
            raise _NoMarker(rest)
        if word != _AGENT:
            raise _explain(host, word, transport)
    except TimeoutError:
        transport.close()
        raise HostUnreachable(
            host, f"the agent did not start within {timeout:g} seconds", context=transport.last_words()
        ) from None
    except OSError as error:
        transport.close()
        raise HostUnreachable(host, f"the connection was lost: {error}") from error
    except HostError:
        transport.close()
        raise
    session = AgentSession(host, transport, received=rest, sent=sent)
    try:
        session.hello  # noqa: B018 - waits for the greeting
    except HostError:
        session.close()
        raise
    return Started(session, shipped=bool(sent))


def _await_marker(transport: Transport, timeout: float, seen: bytes = b"") -> tuple[str, bytes]:
    """Return the next marker's word and what came after it; what came before is a shell's greeting."""
    deadline = time.monotonic() + timeout
    while True:
        if found := _MARKER.search(seen):
            return found[1].decode(), seen[found.end() :]
        if len(seen) > MAX_NOISE:
            raise _NoMarker(seen)
        data = transport.recv(MAX_NOISE, max(0.0, deadline - time.monotonic()))
        if not data:
            raise _NoMarker(seen)
        seen += data


def _ship(transport: Transport, bundle: Bundle) -> int:
    packed = zlib.compress(bundle.data, 9)
    message = len(packed).to_bytes(8, "big") + packed
    transport.send(message)
    return len(message)


_PYTHON_HINT = (
    "run `ansible-playbook -i inventory.yaml playbooks/bootstrap.yaml --limit {host}`, "
    "or install python3 (3.9 or later) by hand: `apt-get install python3`"
)
EXPLANATIONS = {
    "no-python": ("cannot start the agent: there is no python3", _PYTHON_HINT),
    "old-python": ("cannot start the agent: its python3 is older than 3.9", _PYTHON_HINT),
    "no-permission": (
        "cannot install the agent: the user may not write its directory",
        "connect as root, or set `ansible_become: true` for {host}",
    ),
    "no-space": ("cannot install the agent: the disk is full", "free some space on {host}"),
    "damaged": ("the agent was damaged on its way", "run the command again"),
}


def _explain(host: str, word: str, transport: Transport) -> HostNotReady:
    message, hint = EXPLANATIONS.get(word, (f"cannot start the agent: {word}", ""))
    return HostNotReady(host, message, hint=hint.format(host=host) or None, context=_words(transport))


def _explain_silence(host: str, transport: Transport, noise: bytes, *, become: bool) -> HostNotReady:
    status = transport.exit_status(1.0) if len(noise) <= MAX_NOISE else None
    transport.close()
    context = transport.last_words()
    if become and status in _SUDO_FAILURES and not noise:
        hint = f"allow the user to run `sudo -n` without a password on {host}, or connect as root"
        return HostNotReady(host, f"cannot become root: {_SUDO_FAILURES[status]}", hint=hint, context=context)
    seen = Tail()
    seen.feed(noise)
    ended = "the shell printed too much" if status is None else f"the command ended with status {status}"
    return HostNotReady(
        host,
        f"cannot start the agent: {ended}",
        hint=f"see that `ssh {host} true` prints nothing and works",
        context=(*seen.lines(), *context),
    )


def _words(transport: Transport) -> tuple[str, ...]:
    transport.exit_status(1.0)
    return transport.last_words()
