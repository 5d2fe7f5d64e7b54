"""A client of the Docker Engine HTTP API over the engine's unix socket (Podman serves the same API).

Owns connections, the negotiated API version, JSON, streamed bodies and errors. It must not know what
is done with containers or images: paths and bodies are the caller's. Safe to use from many threads.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Union
from urllib.parse import quote, urlencode

NEWEST_API = (1, 44)
"""The newest version of the API this client was written for; an engine may make us take less or more."""

DEFAULT_TIMEOUT = 120.0
"""Seconds without a byte from the engine before a request counts as failed."""

_IDLE_CONNECTIONS = 16

Query = Optional[Mapping[str, Any]]
Body = Union[bytes, Iterable[bytes], None]


class EngineError(Exception):
    """The engine refused a request or could not be asked.

    Attributes:
        status: HTTP status; 0 when there was no answer at all.
        message: The engine's own words, or what went wrong with the connection.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    @property
    def not_found(self) -> bool:
        """The engine has no such object."""
        return self.status == 404

    @property
    def no_space(self) -> bool:
        """The engine's disk is full; it says so in words only."""
        return "no space left on device" in self.message.lower()


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, socket_path: str, timeout: Optional[float]) -> None:
        super().__init__("localhost")
        self._socket_path = socket_path
        self._seconds = timeout

    def connect(self) -> None:
        """Connect to the socket.

        Raises:
            OSError: Nobody listens there, or we may not.
        """
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self._seconds)
            sock.connect(self._socket_path)
        except OSError:
            sock.close()
            raise
        self.sock = sock

    def set_timeout(self, seconds: Optional[float]) -> None:
        """Fail any further send or receive that makes no progress for ``seconds``."""
        self._seconds = seconds
        if self.sock is not None:
            self.sock.settimeout(seconds)

    @property
    def stale(self) -> bool:
        """The other side has hung up (or spoken out of turn) while the connection was idle."""
        if self.sock is None:
            return True
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLHUP | select.POLLERR)
        return bool(poll.poll(0))


class Response:
    """An answer that is read piece by piece."""

    def __init__(self, raw: http.client.HTTPResponse, sock: socket.socket) -> None:
        self._raw = raw
        self._socket = sock
        self.status = raw.status
        self.headers = raw.headers

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes (all that is left when negative); empty at the end.

        Raises:
            EngineError: The connection broke, or was silent for too long.
        """
        with _connection_errors():
            return self._raw.read() if size < 0 else self._raw.read(size)

    def read_some(self, size: int = 65536) -> bytes:
        """Return what has arrived, at most ``size`` bytes; blocks for the first; empty at the end."""
        with _connection_errors():
            return self._raw.read1(size)

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """Yield the body in pieces of at most ``size`` bytes, as they arrive."""
        while True:
            piece = self.read_some(size)
            if not piece:
                return
            yield piece

    def lines(self) -> Iterator[bytes]:
        """Yield the body's lines without their line feed, as they arrive."""
        pending = b""
        for piece in self.chunks():
            *complete, pending = (pending + piece).split(b"\n")
            yield from complete
        if pending:
            yield pending

    def documents(self) -> Iterator[Any]:
        """Yield the JSON documents of a body that has one a line (build, pull, load, events)."""
        for line in self.lines():
            if line.strip():
                yield _loads(line)

    @property
    def finished(self) -> bool:
        """The body has been read to its end."""
        return self._raw.isclosed()

    def abort(self) -> None:
        """End the answer now, from any thread: whoever reads it sees its end or an error."""
        with contextlib.suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)


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
            response = _exchange(connection, method, url, body, dict(headers or {}))
            if response.status >= 400:
                raise EngineError(response.status, _refusal(response))
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
                response = _exchange(connection, "GET", "/version", None, {})
                answer = _loads(response.read())
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
        return _loads(text) if text.strip() else None

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


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except socket.timeout as error:
        raise EngineError(0, "the engine did not answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(0, f"cannot talk to the engine: {error or type(error).__name__}") from error


def _exchange(
    connection: UnixConnection, method: str, url: str, body: Body, headers: Dict[str, str]
) -> Response:
    """Send a request and return its answer, also when the engine answers before it has read everything."""
    with _connection_errors():
        if connection.sock is None:
            connection.connect()
        chunked = body is not None and not isinstance(body, bytes)
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            # A refusal may come, and the engine hang up, while we still send: the answer says why.
            connection.request(method, url, body=body, headers=headers, encode_chunked=chunked)
        sock = connection.sock
        return Response(connection.getresponse(), sock)


def _refusal(response: Response) -> str:
    text = response.read(65536).decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
    except ValueError:
        return text or f"status {response.status}"
    message = document.get("message") or document.get("cause") if isinstance(document, dict) else ""
    return str(message or text)


def _loads(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise EngineError(0, "the engine answered something that is not JSON") from error


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
