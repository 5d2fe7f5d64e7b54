"""The hosts of one run: each connected once, when it is first needed, many at a time.

Owns which sessions exist and tells the listener how connecting goes. It must not know what is asked of
them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from orchestrator.errors import DeployError, HostError, HostNotReady, HostUnreachable
from orchestrator.events import HostConnected, HostConnecting, HostFailed, Listener
from orchestrator.ports import Session
from orchestrator.remote.bootstrap import Started, start_agent
from orchestrator.remote.bundle import Bundle, load
from orchestrator.remote.local import connect_local
from orchestrator.remote.session import AgentSession
from orchestrator.remote.ssh_config import SshConfig
from orchestrator.spec.inventory_types import Host

if TYPE_CHECKING:
    from orchestrator.remote.ssh import Connector, SshConnection

WORKERS = 64
"""Hosts being connected at once."""
ROOT_VARIABLE = "deploy_root"
"""Variable of the inventory that names the agent's state directory on a host."""


class SshFleet:
    """Implements :class:`orchestrator.ports.Fleet` over SSH, and over pipes for local hosts.

    Args:
        find: Returns the host of a name, or ``None``; such as ``Inventory.get``.
        on_event: Told of every connection.
        bundle: Returns the agent; called once, on first use.
        config: OpenSSH's configuration; this user's when ``None``.
        looking: Install nothing on a host that lacks the agent before :meth:`allow`.
    """

    def __init__(
        self,
        find: Callable[[str], Host | None],
        on_event: Listener,
        *,
        bundle: Callable[[], Bundle] = load,
        config: SshConfig | None = None,
        looking: bool = False,
    ) -> None:
        self._find = find
        self._on_event = on_event
        self._make_bundle = bundle
        self._config = config if config is not None else SshConfig()
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._sessions: dict[str, Future[AgentSession]] = {}
        self._earlier: dict[str, AgentSession] = {}
        """Lost sessions, whose hosts have been tried again."""
        self._fresh: list[AgentSession] = []
        self._connections: list[SshConnection] = []
        self._bundle: Bundle | None = None
        self._connector: Connector | None = None
        self._closed = False
        self._allowed = threading.Event()
        if not looking:
            self._allowed.set()

    def allow(self) -> None:
        """Let the agent be installed where it is missing."""
        self._allowed.set()

    def session(self, host: str) -> AgentSession:
        """Return the session of ``host``, connecting first when needed.

        A host that failed once fails again at once, with the same error. One whose session was lost is
        connected anew: what was left half-done there can then be looked at and healed.

        Raises:
            HostError: It cannot be reached or used.
        """
        return self._begin(host).result()

    def fresh(self, host: str) -> AgentSession:
        """Return another session with ``host``, over a connection of its own; see the port.

        Raises:
            HostError: It cannot be reached or used.
        """
        with self._lock:
            closed = self._closed
        if closed:
            raise HostUnreachable(host, "the run is over")
        session = self._start(host).session
        with self._lock:
            self._fresh.append(session)
            late = self._closed
        if late:
            self.close()  # the connection came after the others were closed
            raise HostUnreachable(host, "the run is over")
        return session

    def connect(self, hosts: Iterable[str]) -> None:
        """Begin to connect to ``hosts`` and return at once."""
        for host in hosts:
            self._begin(host)

    def connect_all(self, hosts: Iterable[str]) -> dict[str, Session | HostError]:
        """Connect to ``hosts`` in parallel; return each one's session, or why there is none."""
        futures = {host: self._begin(host) for host in hosts}
        found: dict[str, Session | HostError] = {}
        for host, future in futures.items():
            try:
                found[host] = future.result()
            except HostError as error:
                found[host] = error
        return found

    @property
    def sessions(self) -> dict[str, AgentSession]:
        """The sessions that came up, by host; those that were lost since included."""
        with self._lock:
            found = {host: _outcome(future) for host, future in self._sessions.items()}
            return {**self._earlier, **{host: session for host, session in found.items() if session}}

    def close(self) -> None:
        """End all sessions and connections; agents give up their leases. May be called twice."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        self._allowed.set()  # whoever waits sees that the run is over
        if pool is not None:
            # Not waited for: a host that does not answer must not hold up the end of a run.
            pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            fresh = tuple(self._fresh)
        for session in (*self.sessions.values(), *fresh):
            session.close()
        with self._lock:
            connections, self._connections = self._connections, []
            connector, self._connector = self._connector, None
        for connection in connections:
            connection.close()
        if connector is not None:
            connector.close()

    def _begin(self, name: str) -> Future[AgentSession]:
        with self._lock:
            known = self._sessions.get(name)
            earlier = _outcome(known) if known is not None else None
            if known is not None and (earlier is None or self._closed or not earlier.lost):
                return known
            if self._closed:
                raise HostUnreachable(name, "the run is over")
            if earlier is not None:
                self._earlier[name] = earlier
            if self._pool is None:
                self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="connect")
            future = self._sessions[name] = self._pool.submit(self._connect, name, earlier)
            return future

    def _connect(self, name: str, earlier: AgentSession | None) -> AgentSession:
        begun = time.monotonic()
        self._on_event(HostConnecting(name))
        try:
            started = self._start(name)
        except DeployError as error:
            if not self._closed:  # else the run has said its last word
                self._on_event(HostFailed(name, error.message, error.hint or "", error.context))
            if isinstance(error, HostError):
                raise
            # A host that cannot be resolved is that host's failure: the others go on.
            raise HostUnreachable(name, error.message, hint=error.hint, context=error.context) from error
        with self._lock:
            late = self._closed
        if late:
            started.session.close()
            self.close()  # the connection came after the others were closed
            raise HostUnreachable(name, "the run is over")
        if earlier is not None:
            started.session.carry_over(earlier)
        self._on_event(HostConnected(name, time.monotonic() - begun, started.shipped))
        return started.session

    def _start(self, name: str) -> Started:
        host = self._find(name)
        if host is None:
            raise HostUnreachable(name, "the inventory has no such host")
        root = str(host.vars.get(ROOT_VARIABLE, ""))
        if root and not root.startswith("/"):
            raise HostNotReady(name, f"{ROOT_VARIABLE} must be an absolute path, not {root!r}")
        leave = None if self._allowed.is_set() else lambda: self._await_leave(name)
        if host.connection == "local":
            return connect_local(name, self._get_bundle(), become=host.become, root=root, leave=leave)
        target = self._config.target(host)
        connection = self._get_connector().connect(target)
        with self._lock:
            self._connections.append(connection)
        become = host.become and target.user != "root"
        bundle = self._get_bundle()
        return start_agent(name, connection.run, bundle, become=become, root=root, leave=leave)

    def _await_leave(self, name: str) -> None:
        self._allowed.wait()
        if self._closed:
            raise HostUnreachable(name, "the run is over")

    def _get_bundle(self) -> Bundle:
        with self._lock:
            if self._bundle is None:
                self._bundle = self._make_bundle()
            return self._bundle

    def _get_connector(self) -> Connector:
        with self._lock:
            if self._connector is None:
                from orchestrator.remote.ssh import Connector  # noqa: PLC0415 - imports paramiko

                self._connector = Connector()
            return self._connector


def _over(future: Future[AgentSession]) -> bool:
    """Return whether a session came up and has ended since."""
    return future.done() and not future.cancelled() and future.exception() is None and future.result().over


def _outcome(future: Future[AgentSession]) -> AgentSession | None:
    """Return the session that ``future`` ended with, or ``None``: it has not ended, or not so."""
    if not future.done() or future.cancelled() or future.exception() is not None:
        return None
    return future.result()
