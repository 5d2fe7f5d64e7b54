"""The conversation of a controller and an agent, without any I/O: bytes in, events out.

Owns which event may follow which, on every stream and from either end, and the windows that bound what
is under way. One class serves both ends. Whoever has a socket, a pipe or a channel moves the bytes; it
must not know threads, clocks or what a method does. The idea, a table of transitions and blame by
exception type, is h11's.
"""

from __future__ import annotations

from typing import Callable, Dict, List, Tuple, Type, Union

from orchestrator.protocol.conversation import (
    Cancel,
    Data,
    EndOfData,
    Event,
    Failed,
    HelloEvent,
    Ping,
    Pong,
    Progress,
    Request,
    Response,
    StreamEvent,
    Window,
)
from orchestrator.protocol.frames import (
    MAX_DATA,
    MAX_STREAMS,
    WINDOW,
    Frame,
    FrameDecoder,
    Kind,
    LocalProtocolError,
    ProtocolError,
    RemoteProtocolError,
    pack,
    pack_credit,
    pack_json,
    unpack_credit,
    unpack_json,
)
from orchestrator.protocol.transitions import TRANSITIONS, Role, State, Stream

__all__ = [
    "MAX_DATA",
    "TRANSITIONS",
    "Cancel",
    "Connection",
    "Data",
    "EndOfData",
    "Event",
    "Failed",
    "HelloEvent",
    "LocalProtocolError",
    "Ping",
    "Pong",
    "Progress",
    "RemoteProtocolError",
    "Request",
    "Response",
    "Role",
    "State",
    "Window",
]


class Connection:
    """One end of the conversation.

    Args:
        role: Which end this is.
    """

    def __init__(self, role: Role) -> None:
        self.role = role
        self._decoder = FrameDecoder()
        self._streams: Dict[int, Stream] = {}
        self._last_stream = 0
        self._greeted = False
        self._broken: Union[RemoteProtocolError, None] = None

    @property
    def greeted(self) -> bool:
        """Whether the agent's greeting has passed."""
        return self._greeted

    @property
    def open_streams(self) -> Tuple[int, ...]:
        """The streams that have no answer yet."""
        return tuple(self._streams)

    @property
    def buffered(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return self._decoder.buffered

    def is_open(self, stream: int) -> bool:
        """Whether ``stream`` has been requested and not yet been answered."""
        return stream in self._streams

    def next_stream(self) -> int:
        """Return the number that the next request must have."""
        return self._last_stream + 1

    def credit(self, stream: int) -> int:
        """Return how many bytes of data this end may send on ``stream`` now; 0 when it is closed."""
        found = self._streams.get(stream)
        return found.credit[self.role] if found is not None else 0

    def send(self, event: Event) -> bytes:
        """Return the bytes that tell the other end of ``event``.

        Credit for a stream that has been answered is pointless and gives no bytes.

        Raises:
            LocalProtocolError: This end may not say that now. Nothing has changed then.
        """
        if self._broken is not None:
            raise LocalProtocolError("the connection is broken")
        kind = _KINDS[type(event)]
        if isinstance(event, (HelloEvent, Ping, Pong)):
            self._apply_connection_event(self.role, event, LocalProtocolError)
            return pack(kind, 0, pack_json(event.payload) if isinstance(event, HelloEvent) else b"")
        if self.role is Role.AGENT and not self._greeted:
            raise LocalProtocolError("the greeting comes first")
        if isinstance(event, Window) and self._is_closed(event.stream):
            return b""
        # The payload first: what cannot be packed must not move the state.
        data = pack(kind, event.stream, _payload(event))
        self._apply_stream_event(self.role, event, LocalProtocolError)
        return data

    def receive_data(self, data: bytes) -> List[Event]:
        """Return the events that ``data`` completes.

        Raises:
            RemoteProtocolError: The other end broke the protocol; so does every later call.
        """
        if self._broken is not None:
            raise self._broken
        try:
            return [event for frame in self._decoder.feed(data) for event in self._receive_frame(frame)]
        except RemoteProtocolError as error:
            self._broken = error
            self._decoder = FrameDecoder()
            raise

    def _receive_frame(self, frame: Frame) -> Tuple[Event, ...]:
        kind, stream, payload = frame
        sender = self.role.other
        if kind in _CONNECTION_KINDS:
            if stream:
                raise RemoteProtocolError(f"a {Kind(kind).name} on stream {stream}")
            greeting = _CONNECTION_KINDS[kind](payload)
            self._apply_connection_event(sender, greeting, RemoteProtocolError)
            return (greeting,)
        if sender is Role.AGENT and not self._greeted:
            raise RemoteProtocolError(f"a {Kind(kind).name} before the greeting")
        event = _PARSERS[kind](stream, payload)
        if self._is_late(sender, event):
            return ()
        self._apply_stream_event(sender, event, RemoteProtocolError)
        return (event,)

    def _is_late(self, sender: Role, event: StreamEvent) -> bool:
        """Whether ``event`` was under way when its stream was answered."""
        if sender is Role.AGENT or not self._is_closed(event.stream):
            return False
        return isinstance(event, (Data, EndOfData, Cancel, Window))

    def _is_closed(self, stream: int) -> bool:
        return 0 < stream <= self._last_stream and stream not in self._streams

    def _apply_connection_event(
        self, sender: Role, event: Union[HelloEvent, Ping, Pong], blame: Type[ProtocolError]
    ) -> None:
        if isinstance(event, HelloEvent):
            if sender is not Role.AGENT or self._greeted:
                raise blame("a second greeting" if self._greeted else "only the agent greets")
            self._greeted = True
        elif sender is Role.AGENT and not self._greeted:
            raise blame("the greeting comes first")

    def _apply_stream_event(self, sender: Role, event: StreamEvent, blame: Type[ProtocolError]) -> None:
        stream = self._streams.get(event.stream)
        if stream is None:
            if not isinstance(event, Request) or sender is not Role.CONTROLLER:
                raise blame(f"stream {event.stream}: {type(event).__name__} on a stream that is not open")
            if event.stream != self._last_stream + 1:
                raise blame(f"stream {event.stream} follows stream {self._last_stream}")
            if len(self._streams) >= MAX_STREAMS:
                raise blame(f"more than {MAX_STREAMS} requests at once")
            stream = Stream()
            stream.apply(sender, event, blame)
            self._streams[event.stream] = stream
            self._last_stream = event.stream
            return
        stream.apply(sender, event, blame)
        if stream.closed:
            del self._streams[event.stream]


def _payload(event: StreamEvent) -> bytes:
    if isinstance(event, Data):
        return event.data
    if isinstance(event, Request):
        return pack_json({"method": event.method, "params": event.params})
    if isinstance(event, Progress):
        return pack_json(event.payload)
    if isinstance(event, Response):
        return pack_json(event.result)
    if isinstance(event, Failed):
        return pack_json(event.failure)
    if isinstance(event, Window):
        if not 0 < event.credit <= WINDOW:
            raise LocalProtocolError(f"credit of {event.credit} bytes")
        return pack_credit(event.credit)
    return b""


def _parse_request(stream: int, payload: bytes) -> Request:
    value = unpack_json(payload)
    if not isinstance(value, dict) or set(value) != {"method", "params"}:
        raise RemoteProtocolError("a request without exactly a method and its parameters")
    if not isinstance(value["method"], str):
        raise RemoteProtocolError("a request whose method is not a name")
    return Request(stream, value["method"], value["params"])


_KINDS: Dict[type, Kind] = {
    HelloEvent: Kind.HELLO,
    Request: Kind.REQUEST,
    Progress: Kind.PROGRESS,
    Data: Kind.DATA,
    EndOfData: Kind.END,
    Response: Kind.RESPONSE,
    Failed: Kind.FAILED,
    Cancel: Kind.CANCEL,
    Window: Kind.WINDOW,
    Ping: Kind.PING,
    Pong: Kind.PONG,
}

_CONNECTION_KINDS: Dict[int, Callable[[bytes], Union[HelloEvent, Ping, Pong]]] = {
    Kind.HELLO: lambda payload: HelloEvent(unpack_json(payload)),
    Kind.PING: lambda _: Ping(),
    Kind.PONG: lambda _: Pong(),
}

_PARSERS: Dict[int, Callable[[int, bytes], StreamEvent]] = {
    Kind.REQUEST: _parse_request,
    Kind.PROGRESS: lambda stream, payload: Progress(stream, unpack_json(payload)),
    Kind.DATA: Data,
    Kind.END: lambda stream, _: EndOfData(stream),
    Kind.RESPONSE: lambda stream, payload: Response(stream, unpack_json(payload)),
    Kind.FAILED: lambda stream, payload: Failed(stream, unpack_json(payload)),
    Kind.CANCEL: lambda stream, _: Cancel(stream),
    Kind.WINDOW: lambda stream, payload: Window(stream, unpack_credit(payload)),
}
