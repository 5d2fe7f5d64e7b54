"""SSH connections: reached, verified, authenticated, ready to run commands.

Owns the handshake and its retries, jump hosts, paramiko's settings, and the limit of handshakes under way
at one address (sshd drops connections beyond its MaxStartups). It must not know agents or what is run.
This module pays for the import of paramiko.
"""

from __future__ import annotations

import random
import threading
import time
from collections import defaultdict
from typing import Any

from orchestrator.errors import AuthenticationFailed, HostUnreachable
from orchestrator.remote import trust
from orchestrator.remote.credentials import Credential, KeyRing
from orchestrator.remote.known_hosts import KnownKey
from orchestrator.remote.paramiko_import import load
from orchestrator.remote.ssh_config import Target
from orchestrator.remote.stream import Dropped, Stream, open_stream, reason
from orchestrator.remote.transport import Tail

paramiko = load()

HANDSHAKES = 8
"""At once to one address: sshd's default MaxStartups begins to drop connections at 10."""
HANDSHAKE_TIMEOUT = 20.0
"""Seconds from the connection to a session key, and again to the end of authentication."""
ATTEMPTS = 6
"""Tries when the host drops the connection before it has said anything."""
_BACKOFF = 0.1
"""Seconds before the second try, doubled for each further one."""
WINDOW = 32 * 1024 * 1024
"""Bytes a host may send before we have read any: enough for 330 MB/s at 100 ms, and a bound."""
_PACKET = 128 * 1024
_STDERR = 64 * 1024
_CIPHERS = (
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
)
"""Authenticated encryption first: paramiko, which lists it last, uploads 1.7 times faster with it."""
_SEND_TIMEOUT = 20.0


class _OtherKeys(Exception):  # noqa: N818 - internal, caught in this module
    """The host has no key of the types on record: it is worth a look at what it has."""


class ChannelTransport:
    """Implements :class:`~.transport.Transport` over one SSH channel."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._tail = Tail()

    def send(self, data: bytes) -> None:
        """See :meth:`.transport.Transport.send`."""
        self._channel.settimeout(_SEND_TIMEOUT)
        size = self._channel.out_max_packet_size
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            while piece:
                sent = self._channel.send(piece)
                if not sent:
                    raise BrokenPipeError("the channel is closed")
                piece = piece[sent:]

    def recv(self, limit: int, timeout: float) -> bytes:
        """See :meth:`.transport.Transport.recv`."""
        self._channel.settimeout(timeout)
        data: bytes = self._channel.recv(limit)
        self._drain()
        return data

    def close(self) -> None:
        """See :meth:`.transport.Transport.close`."""
        self._channel.close()

    def exit_status(self, timeout: float) -> int | None:
        """See :meth:`.transport.Transport.exit_status`."""
        self._channel.status_event.wait(timeout)
        status: int = self._channel.exit_status
        return status if status >= 0 else None

    def last_words(self) -> tuple[str, ...]:
        """See :meth:`.transport.Transport.last_words`."""
        self._drain()
        return self._tail.lines()

    def _drain(self) -> None:
        while self._channel.recv_stderr_ready():
            data = self._channel.recv_stderr(_STDERR)
            if not data:
                return
            self._tail.feed(data)


class SshConnection:
    """One authenticated connection to one host."""

    def __init__(self, target: Target, stream: Stream | None, transport: Any) -> None:
        self._target = target
        self._stream = stream
        self._transport = transport

    def run(self, command: str) -> ChannelTransport:
        """Run a command in the user's login shell on the host.

        Raises:
            HostUnreachable: The connection is gone, or the host opens no further session.
        """
        try:
            channel = self._transport.open_session(WINDOW, _PACKET, timeout=HANDSHAKE_TIMEOUT)
            channel.exec_command(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise HostUnreachable(
                self._target.name, f"cannot run a command: {reason(error)}", hint=_restricted_hint(error)
            ) from error
        return ChannelTransport(channel)

    def forward(self, target: Target) -> Any:
        """Return a channel to ``target`` as this host reaches it: how a jump host is used.

        Raises:
            HostUnreachable: This host cannot reach it either, or forwards nothing.
        """
        where = (target.address, target.port)
        try:
            return self._transport.open_channel(
                "direct-tcpip", where, ("127.0.0.1", 0), timeout=target.timeout
            )
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise HostUnreachable(
                target.name,
                f"cannot connect to {where[0]} port {where[1]} through {self._target.name}: {reason(error)}",
            ) from error

    def close(self) -> None:
        """End the connection and all that runs over it."""
        self._transport.close()
        if self._stream is not None:
            self._stream.close()


class Connector:
    """Opens connections; jump hosts and keys are shared among them."""

    def __init__(self) -> None:
        self._keys = KeyRing()
        self._limits: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(HANDSHAKES))
        self._lock = threading.Lock()
        self._jumps: dict[Target, SshConnection] = {}
        self._jump_locks: dict[Target, threading.Lock] = defaultdict(threading.Lock)

    def connect(self, target: Target) -> SshConnection:
        """Return a connection to ``target``, through its jump hosts.

        Raises:
            HostUnreachable: It does not answer, or not as an SSH server does.
            HostKeyError: It is not, or not certainly, who it claims to be.
            AuthenticationFailed: It refuses the user and all keys.
        """
        with self._lock:
            limit = self._limits[_limit_key(target)]
        any_key = False
        why = ""
        for attempt in range(ATTEMPTS):
            # Spread, or all that were dropped together would come back together.
            time.sleep(attempt and _BACKOFF * 2**attempt * random.uniform(0.25, 0.75))  # noqa: S311 - no secret
            try:
                jump = self._jump(target.jump) if target.jump else None
                # Not held while waiting for the next try: others may use the place.
                with limit:
                    return self._attempt(target, jump, any_key=any_key)
            except _OtherKeys:
                any_key = True
            except Dropped as drop:
                why = str(drop)
        raise HostUnreachable(
            target.name,
            f"the host dropped the connection {ATTEMPTS} times: {why}",
            hint="sshd may be busy (see MaxStartups in sshd_config), or something else listens on that port",
        )

    def close(self) -> None:
        """End the connections to jump hosts and ssh-agents."""
        self._keys.close()
        with self._lock:
            jumps, self._jumps = list(self._jumps.values()), {}
        for jump in jumps:
            jump.close()

    def _jump(self, target: Target) -> SshConnection:
        with self._lock:
            lock = self._jump_locks[target]
        with lock:
            with self._lock:
                found = self._jumps.get(target)
            if found is None:
                found = self.connect(target)
                with self._lock:
                    self._jumps[target] = found
            return found

    def _attempt(self, target: Target, jump: SshConnection | None, *, any_key: bool) -> SshConnection:
        keys = trust.known_keys(target)
        stream = open_stream(target) if jump is None else None
        channel = jump.forward(target) if jump is not None else None
        transport = paramiko.Transport(stream.socket if stream else channel, WINDOW, _PACKET)
        connection = SshConnection(target, stream, transport)
        try:
            self._shake_hands(target, transport, keys, any_key=any_key)
            self._authenticate(target, transport)
        except Dropped as drop:
            words = stream.last_words() if stream else ()
            connection.close()
            raise Dropped(words[-1] if words else str(drop)) from drop
        except BaseException:
            connection.close()
            raise
        return connection

    def _shake_hands(
        self, target: Target, transport: Any, keys: tuple[KnownKey, ...], *, any_key: bool
    ) -> None:
        options = transport.get_security_options()
        options.ciphers = _CIPHERS
        wanted = [name for name in trust.algorithms(keys) if name in options.key_types]
        if wanted and not any_key:
            options.key_types = wanted
        try:
            transport.start_client(timeout=HANDSHAKE_TIMEOUT)
        except paramiko.IncompatiblePeer as error:
            if wanted and not any_key:
                raise _OtherKeys from error
            raise HostUnreachable(target.name, f"no common ground with its SSH server: {error}") from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            if not transport.remote_version:
                raise Dropped(reason(error)) from error
            raise HostUnreachable(target.name, f"the SSH handshake failed: {reason(error)}") from error
        key = transport.get_remote_server_key()
        trust.verify(target, keys, key.get_name(), key.asbytes())

    def _authenticate(self, target: Target, transport: Any) -> None:
        keys = self._keys.keys(target)
        tried: list[str] = []
        for credential in keys.usable:
            if _accepts(target, transport, credential, tried):
                return
        hint = (
            "load the key into the ssh-agent"
            if keys.problems
            else f"see that `ssh -p {target.port} {target.user}@{target.address}` works without a password"
        )
        raise AuthenticationFailed(
            target.name,
            f"the host refused the user {target.user!r}"
            if tried
            else f"there is no key to log in with as {target.user!r}",
            hint=hint,
            context=[*(f"refused: {name}" for name in tried), *keys.problems],
        )


def _accepts(target: Target, transport: Any, credential: Credential, tried: list[str]) -> bool:
    """Try one key; adds it to ``tried`` when it is refused."""
    try:
        return not transport.auth_publickey(target.user, credential.key)
    except paramiko.BadAuthenticationType as error:
        raise AuthenticationFailed(
            target.name,
            f"the host takes no keys from {target.user!r}, only {', '.join(error.allowed_types)}",
            hint="enable PubkeyAuthentication in its sshd_config",
        ) from error
    except paramiko.AuthenticationException:
        tried.append(credential.name)
        if transport.is_active():
            return False
        raise AuthenticationFailed(
            target.name,
            f"the host refused the user {target.user!r} and too many keys",
            hint="name the key by ansible_ssh_private_key_file, or set IdentitiesOnly for the host",
            context=[f"refused: {name}" for name in tried],
        ) from None
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise HostUnreachable(
            target.name, f"the connection was lost while logging in: {reason(error)}"
        ) from error


def _limit_key(target: Target) -> str:
    return target.proxy_command or target.address


def _restricted_hint(error: BaseException) -> str | None:
    if isinstance(error, paramiko.ChannelException):
        return "sshd may limit sessions (MaxSessions) or forbid commands for this key"
    return None
