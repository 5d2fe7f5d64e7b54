"""A live agent: many requests at once over one duplex stream of bytes.

Owns the threads of a session (one that reads, one that keeps it alive), the decoding of what the
agent says into dataclasses, and the verdict when it says something it must not, or nothing at all.
It must not know SSH or processes: a :class:`~.transport.Transport` moves the bytes.

Memory is bounded whatever the agent sends: one unfinished frame, and per request one window of body.

Two locks, always taken in this order: ``_writing`` keeps frames in the order in which the connection
made them, ``_lock`` guards the connection and the calls. The reader takes only the second and never
writes, so two ends that are both busy sending cannot wait for each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.errors import HostError, HostUnreachable, ProtocolViolation
from orchestrator.ports import Call, RequestFailed
from orchestrator.protocol.codec import WireError, decode, encode
from orchestrator.protocol.connection import (
    Connection,
    Data,
    EndOfData,
    Event,
    Failed,
    HelloEvent,
    LocalProtocolError,
    Ping,
    Pong,
    Progress,
    RemoteProtocolError,
    Request,
    Response,
    Role,
)
from orchestrator.protocol.conversation import StreamEvent
from orchestrator.protocol.messages import METHODS, PROTOCOL_VERSION, Hello, RemoteFailure
from orchestrator.remote.call import AgentCall
from orchestrator.remote.transport import Transport

PING_INTERVAL = 5.0
"""Seconds between signs of life."""
SILENCE_LIMIT = 20.0
"""Seconds without a single byte after which a host counts as lost."""
_READ = 256 * 1024
_UNCOUNTED = frozenset({"load"})
"""Methods that move layer data, which round trips do not count."""

_NAMES = {method.params: name for name, method in METHODS.items()}


class AgentSession:
    """Implements :class:`orchestrator.ports.Session`.

    Args:
        host: Name in the inventory.
        transport: Stands right after the agent's preface. The session owns it from here on.
        received: What was read beyond the preface.
        sent: Bytes that starting the agent has cost already.
        ping_interval: Seconds.
        silence_limit: Seconds.
    """

    def __init__(
        self,
        host: str,
        transport: Transport,
        *,
        received: bytes = b"",
        sent: int = 0,
        ping_interval: float = PING_INTERVAL,
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        self._host = host
        self._transport = transport
        self._silence_limit = silence_limit
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._connection = Connection(Role.CONTROLLER)
        self._calls: dict[int, AgentCall] = {}
        self._round_trips = 0
        self._bytes_sent = sent
        self._hello: Hello | None = None
        self._error: HostError | None = None
        self._greeted = threading.Event()
        self._ended = threading.Event()
        self._pong_owed = threading.Event()
        """Set by the reader, which must not write."""
        for target, args in ((self._read, (received,)), (self._keep_alive, (ping_interval,))):
            name = f"{target.__name__.strip('_')}-{host}"
            threading.Thread(target=target, args=args, name=name, daemon=True).start()

    # --- the port ---

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        return self._host

    @property
    def over(self) -> bool:
        """Whether the session has ended, for whatever reason."""
        return self._ended.is_set()

    @property
    def round_trips(self) -> int:
        """Requests made so far, ``load`` (layer data) not counted."""
        return self._round_trips

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the connection so far."""
        return self._bytes_sent

    @property
    def lost(self) -> bool:
        """Whether the session is over."""
        return self._error is not None

    def carry_over(self, earlier: AgentSession) -> None:
        """Add what an earlier session with the same host has cost to the counts of this one."""
        with self._writing:
            self._round_trips += earlier.round_trips
            self._bytes_sent += earlier.bytes_sent

    @property
    def hello(self) -> Hello:
        """What the agent said of itself and its host; waits for it.

        Raises:
            HostError: The session ended before, or the agent speaks another protocol.
        """
        if not self._greeted.wait(self._silence_limit):
            self._end(HostUnreachable(self._host, f"no greeting from the agent in {self._silence_limit:g} s"))
        if self._hello is None:
            raise self._lost()
        return self._hello

    def request(
        self,
        params: Any,
        *,
        on_progress: Callable[[Any], None] | None = None,
        on_done: Callable[[Call], None] | None = None,
    ) -> AgentCall:
        """Send a request without waiting for the answer.

        Raises:
            HostError: The session is gone.
            RequestFailed: ``bad-request``: the message is larger than any agent takes.
        """
        name = _NAMES[type(params)]
        payload = encode(params)
        with self._writing:
            with self._lock:
                if self._error is not None:
                    raise self._error
                stream = self._connection.next_stream()
                try:
                    data = self._connection.send(Request(stream, name, payload))
                except LocalProtocolError as error:
                    raise RequestFailed(self._host, RemoteFailure("bad-request", str(error))) from error
                call = AgentCall(
                    stream, METHODS[name], self, self._lock, on_progress=on_progress, on_done=on_done
                )
                self._calls[stream] = call
                self._round_trips += name not in _UNCOUNTED
            self._write(data)
        return call

    def close(self) -> None:
        """End the session; the agent gives up its lease and exits. May be called twice."""
        self._end(HostUnreachable(self._host, "the session was closed"))

    # --- for calls ---

    def credit(self, stream: int) -> int:
        """Return how many bytes of data may be sent on ``stream``; the caller holds the lock."""
        return self._connection.credit(stream)

    def transmit(self, event: StreamEvent) -> None:
        """Send what belongs to a call; does nothing once its stream has been answered.

        Raises:
            HostError: The session is gone.
        """
        with self._writing:
            with self._lock:
                if self._error is not None:
                    raise self._error
                call = self._calls.get(event.stream)
                if call is None or call.drops(event) or not self._connection.is_open(event.stream):
                    return
                data = self._connection.send(event)
            self._write(data)

    # --- threads ---

    def _write(self, data: bytes) -> None:
        """Hand bytes to the transport; the caller holds ``_writing``."""
        try:
            self._transport.send(data)
        except TimeoutError:
            self._end(HostUnreachable(self._host, "the host takes no more data"))
            raise self._lost() from None
        except OSError as error:
            self._end(self._connection_lost(error))
            raise self._lost() from error
        self._bytes_sent += len(data)

    def _keep_alive(self, interval: float) -> None:
        while not self._ended.is_set():
            event: Event = Pong() if self._pong_owed.wait(interval) else Ping()
            self._pong_owed.clear()
            if self._ended.is_set():
                return
            with self._writing:
                with self._lock:
                    if self._error is not None:
                        return
                    data = self._connection.send(event)
                try:
                    self._write(data)
                except HostError:
                    # Every call has been told already.
                    return

    def _read(self, received: bytes) -> None:
        data = received
        try:
            while True:
                if data:
                    with self._lock:
                        events = self._connection.receive_data(data)
                    for event in events:
                        self._dispatch(event)
                data = self._transport.recv(_READ, self._silence_limit)
                if not data:
                    self._end(self._connection_lost(None))
                    return
        except TimeoutError:
            self._end(
                HostUnreachable(
                    self._host,
                    f"no sign of life for {self._silence_limit:g} seconds",
                    hint="check the network between here and the host, then run the command again",
                )
            )
        except OSError as error:
            self._end(self._connection_lost(error))
        except (RemoteProtocolError, WireError) as error:
            self._end(ProtocolViolation(self._host, f"the agent's answer is not valid: {error}"))
        finally:
            # Without effect unless a callback raised, which is a defect: nobody may wait for ever then.
            self._end(HostUnreachable(self._host, "the session ended by an internal error"))
            self._settle()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, HelloEvent):
            self._greet(decode(Hello, event.payload))
        elif isinstance(event, Ping):
            self._pong_owed.set()
        elif not isinstance(event, Pong):
            self._dispatch_to_call(event)

    def _dispatch_to_call(self, event: StreamEvent) -> None:
        call = self._calls[event.stream]
        if isinstance(event, Data):
            call.add_piece(event.data)
        elif isinstance(event, EndOfData):
            call.end_pieces()
        elif isinstance(event, Progress):
            if call.method.progress is None:
                raise WireError(f"progress of a {_NAMES[call.method.params]} request, which has none")
            progress: Any = decode(call.method.progress, event.payload)
            if call.on_progress is not None:
                call.on_progress(progress)
        elif isinstance(event, (Response, Failed)):
            self._answer(call, event)
        else:
            call.wake()

    def _answer(self, call: AgentCall, event: Response | Failed) -> None:
        result: Any = None
        refusal: RequestFailed | None = None
        if isinstance(event, Response):
            result = decode(call.method.result, event.result)
        else:
            refusal = RequestFailed(self._host, decode(RemoteFailure, event.failure))
        with self._lock:
            del self._calls[event.stream]
        call.settle(result, refusal, refused=refusal is not None)
        call.announce()

    def _greet(self, hello: Hello) -> None:
        if hello.protocol != PROTOCOL_VERSION:
            raise WireError(f"protocol {hello.protocol}, {PROTOCOL_VERSION} is spoken here")
        self._hello = hello
        self._greeted.set()

    def _end(self, error: HostError) -> None:
        """End the session because of ``error``, unless it has ended; the reader then settles its calls."""
        with self._lock:
            if self._error is not None:
                return
            self._error = error
        self._ended.set()
        self._greeted.set()
        self._pong_owed.set()
        self._transport.close()

    def _settle(self) -> None:
        """Give every open call the error the session ended with."""
        with self._lock:
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            call.settle(error=self._lost())
        for call in calls:
            call.announce()

    def _lost(self) -> HostError:
        return self._error or HostUnreachable(self._host, "the session is gone")

    def _connection_lost(self, error: OSError | None) -> HostError:
        reason = f"the connection was lost: {error}" if error else "the agent ended the connection"
        return HostUnreachable(self._host, reason, context=self._transport.last_words())
