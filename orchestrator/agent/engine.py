"""A client of the Docker Engine HTTP API over the engine's unix socket (Podman serves the same API).

Owns the paths' version prefix and query, JSON bodies and the reuse of connections. It must not know
what is done with containers or images: paths and bodies are the caller's. Safe to use from many threads.
"""

from __future__ import annotations

import contextlib
import json
import threading
from typing import Any, Dict, Iterator, List, Mapping, Optional
from urllib.parse import quote, urlencode

from orchestrator.agent.http1 import Body
from orchestrator.agent.unix_http import (
    EngineError,
    Response,
    UnixConnection,
    exchange,
    loads,
    refusal,
)

__all__ = ["Engine", "EngineError", "Response"]

NEWEST_API = (1, 44)
"""The newest version of the API this client was written for; an engine may make us take less or more."""

DEFAULT_TIMEOUT = 120.0
"""Seconds without a byte from the engine before a request counts as failed."""

_IDLE_CONNECTIONS = 16

Query = Optional[Mapping[str, Any]]


class Engine:
    """The engine behind one socket."""

    def __init__(self, socket_path: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        self.socket_path = socket_path
        self.timeout = timeout
        self._idle: List[UnixConnection] = []
        self._lock = threading.Lock()
        self._version: Optional[Dict[str, Any]] = None
        self._system: Optional[Dict[str, Any]] = None

    def get(self, path: str, query: Query = None, *, timeout: Optional[float] = None) -> Any:
        """GET ``path`` and return the decoded JSON, or ``None`` for an empty answer.

        Raises:
            EngineError: The engine refused, or could not be asked.
        """
        return self._call("GET", path, query, None, timeout)

    def post(
        self, path: str, query: Query = None, body: Any = None, *, timeout: Optional[float] = None
    ) -> Any:
        """POST ``body`` (JSON values) to ``path``; see :meth:`get`."""
        return self._call("POST", path, query, body, timeout)

    def delete(self, path: str, query: Query = None, *, timeout: Optional[float] = None) -> Any:
        """DELETE ``path``; see :meth:`get`."""
        return self._call("DELETE", path, query, None, timeout)

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        query: Query = None,
        body: Body = None,
        headers: Optional[Mapping[str, str]] = None,
        *,
        timeout: Optional[float] = None,
    ) -> Iterator[Response]:
        """Make a request whose body, or whose answer, is too long to hold.

        Args:
            method: HTTP method.
            path: Without the version prefix, as ``/images/load``.
            query: Parameters; lists and mappings are sent as JSON, booleans as ``1`` and ``0``.
            body: Bytes, or pieces that are sent as they come.
            headers: Further headers.
            timeout: Seconds without a byte before the request fails; 0 waits for ever.

        Yields:
            The answer; leaving the block early closes the connection, which is how a following
            request (logs, events) is ended.

        Raises:
            EngineError: The engine refused, or could not be asked.
        """
        url = self.url(path, query)
        connection = self._take(timeout)
        reusable = False
        try:
            response = exchange(connection, method, url, body, dict(headers or {}))
            if response.status >= 400:
                raise EngineError(response.status, refusal(response))
            yield response
            reusable = response.finished
        finally:
            if reusable:
                self._give(connection)
            else:
                connection.close()

    def url(self, path: str, query: Query = None) -> str:
        """Return the request target for ``path``: version prefix, quoting and query."""
        target = f"/v{self.api}{quote(path, safe='/:@')}"
        return f"{target}?{_encode_query(query)}" if query else target

    @property
    def api(self) -> str:
        """The API version in use, such as ``1.41``."""
        described = self.describe()
        theirs = _version(described.get("ApiVersion", "1.41"))
        least = _version(described.get("MinAPIVersion") or "1.24")
        return ".".join(str(part) for part in max(min(theirs, NEWEST_API), least))

    def describe(self) -> Dict[str, Any]:
        """Return the engine's answer to ``/version``, asked once.

        Raises:
            EngineError: The engine could not be asked.
        """
        if self._version is None:
            connection = self._take(None)
            try:
                response = exchange(connection, "GET", "/version", None, {})
                answer = loads(response.read())
            except BaseException:
                connection.close()
                raise
            self._give(connection)
            if not isinstance(answer, dict):
                raise EngineError(response.status, "the engine does not say its version")
            self._version = answer
        return self._version

    def system(self) -> Dict[str, Any]:
        """Return the engine's answer to ``/info``, asked once: it is slow, and what we use of it is stable.

        Raises:
            EngineError: The engine could not be asked.
        """
        if self._system is None:
            answer = self.get("/info")
            if not isinstance(answer, dict):
                raise EngineError(0, "the engine does not describe itself")
            self._system = answer
        return self._system

    def close(self) -> None:
        """Close idle connections; the engine can be used again afterwards."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _call(self, method: str, path: str, query: Query, body: Any, timeout: Optional[float]) -> Any:
        payload = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        with self.stream(method, path, query, payload, headers, timeout=timeout) as response:
            text = response.read()
        return loads(text) if text.strip() else None

    def _take(self, timeout: Optional[float]) -> UnixConnection:
        seconds = (self.timeout if timeout is None else timeout) or None
        while True:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return UnixConnection(self.socket_path, seconds)
            if connection.stale:
                connection.close()
                continue
            connection.set_timeout(seconds)
            return connection

    def _give(self, connection: UnixConnection) -> None:
        with self._lock:
            if len(self._idle) < _IDLE_CONNECTIONS and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError as error:
        raise EngineError(0, f"cannot understand the engine's API version {text!r}") from error


def _encode_query(query: Mapping[str, Any]) -> str:
    return urlencode({key: _query_value(value) for key, value in query.items() if value is not None})


def _query_value(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value)
    return str(value)
