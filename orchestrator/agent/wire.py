"""The agent's end of the conversation: one duplex stream, many requests, each with its own channel.

Owns the two file descriptors, the order of what is written, the windows, and the verdict that the
controller is gone. It must not know what a request means: the loop of :meth:`Wire.events` gives them to
:mod:`.serve`.

The thread that reads never writes, so it always notices when the controller falls silent, even while
others are stuck in a write that nobody will ever read.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Any, Deque, Dict, Iterator, Optional

from orchestrator.agent.handler import Refusal
from orchestrator.protocol.codec import encode
from orchestrator.protocol.connection import (
    MAX_DATA,
    Cancel,
    Connection,
    Data,
    EndOfData,
    Event,
    LocalProtocolError,
    Ping,
    Pong,
    Progress,
    Request,
    Role,
    Window,
)

SILENCE_LIMIT = 20.0
"""Seconds without a byte after which the controller counts as gone; it pings every five."""
_READ = 256 * 1024
_CREDIT_STEP = 1024 * 1024
"""Bytes taken from a body before the controller is told: a window holds sixteen times as much."""


class ControllerGone(Exception):  # noqa: N818 - a fact, not a defect
    """The controller ended the session or fell silent; the message says which."""


class Wire:
    """The stream to the controller.

    Args:
        incoming: File descriptor to read from.
        outgoing: File descriptor to write to.
        silence_limit: Seconds.
    """

    def __init__(self, incoming: int, outgoing: int, silence_limit: float = SILENCE_LIMIT) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._silence_limit = silence_limit
        self._writing = threading.Lock()
        self._lock = threading.Lock()
        self._connection = Connection(Role.AGENT)
        self._channels: Dict[int, RequestChannel] = {}
        self._pong_owed = threading.Event()
        threading.Thread(target=self._answer_pings, name="pong", daemon=True).start()

    def send(self, event: Event) -> None:
        """Tell the controller of ``event``.

        Raises:
            LocalProtocolError: It cannot be said, or not now; nothing was sent.
            OSError: The stream is broken.
        """
        with self._writing:
            with self._lock:
                data = self._connection.send(event)
            self._write(data)

    def send_data(self, stream: int, data: memoryview) -> int:
        """Send as much of ``data`` as the window allows, and return how many bytes that is."""
        with self._writing:
            with self._lock:
                count = min(len(data), MAX_DATA, self._connection.credit(stream))
                if not count:
                    return 0
                frame = self._connection.send(Data(stream, bytes(data[:count])))
            self._write(frame)
        return count

    def credit(self, stream: int) -> int:
        """Return how many bytes of a body may be sent now."""
        with self._lock:
            return self._connection.credit(stream)

    def answer(self, channel: "RequestChannel", event: Event) -> None:
        """Send the answer that ends a request."""
        channel.close()
        with self._lock:
            self._channels.pop(channel.stream, None)
        self.send(event)

    def requests(self) -> Iterator["RequestChannel"]:
        """Yield requests as they come, for as long as the controller is there.

        Raises:
            ControllerGone: It is not.
            RemoteProtocolError: It said what it must not.
        """
        poll = select.poll()
        poll.register(self._incoming, select.POLLIN)
        while True:
            if not poll.poll(self._silence_limit * 1000):
                raise ControllerGone(f"no sign of life from the controller for {self._silence_limit:g} s")
            data = os.read(self._incoming, _READ)
            if not data:
                raise ControllerGone("the controller ended the session")
            with self._lock:
                events = self._connection.receive_data(data)
            for event in events:
                request = self._dispatch(event)
                if request is not None:
                    yield request

    def _dispatch(self, event: Event) -> Optional["RequestChannel"]:
        if isinstance(event, Ping):
            self._pong_owed.set()
        elif isinstance(event, Request):
            channel = RequestChannel(self, event)
            with self._lock:
                self._channels[event.stream] = channel
            return channel
        elif isinstance(event, (Data, EndOfData, Cancel, Window)):
            with self._lock:
                found = self._channels.get(event.stream)
            if found is not None:
                found.receive(event)
        return None

    def _answer_pings(self) -> None:
        while True:
            self._pong_owed.wait()
            self._pong_owed.clear()
            try:
                self.send(Pong())
            except (OSError, LocalProtocolError):
                return  # the reader is told the same, and ends everything

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._outgoing, view) :]


class RequestChannel:
    """One request and its streams; implements :class:`.handler.Channel`."""

    def __init__(self, wire: Wire, request: Request) -> None:
        self.stream = request.stream
        self.method = request.method
        self.params = request.params
        self.cancelled = threading.Event()
        self._wire = wire
        self._changed = threading.Condition()
        self._pieces: Deque[bytes] = deque()
        self._complete = False
        self._closed = False
        self._ended = False
        self._taken = 0

    # --- the reader's side ---

    def receive(self, event: Event) -> None:
        """Take what the controller sent on this stream."""
        with self._changed:
            if isinstance(event, Data):
                self._pieces.append(event.data)
            elif isinstance(event, EndOfData):
                self._complete = True
            elif isinstance(event, Cancel):
                self.cancelled.set()
            self._changed.notify_all()

    def close(self) -> None:
        """End both bodies: the answer is about to be sent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # --- the handler's side ---

    def progress(self, payload: Any) -> None:
        """Send an instance of the method's progress class."""
        self._wire.send(Progress(self.stream, encode(payload)))

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the request's body until it ends or nobody wants it any more."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._pieces or self._complete or self._closed or self.cancelled.is_set()
                )
                if not self._pieces or self._closed or self.cancelled.is_set():
                    return
                piece = self._pieces.popleft()
            self._give_credit(len(piece))
            yield piece

    def send_body(self, data: bytes) -> None:
        """Send a piece of the answer's body; blocks while the window is full.

        Raises:
            Refusal: ``cancelled``: the controller wants no more of it.
        """
        view = memoryview(data)
        while view:
            with self._changed:
                self._changed.wait_for(lambda: self._wire.credit(self.stream) or self.cancelled.is_set())
            if self.cancelled.is_set():
                raise Refusal("cancelled", "stopped on request")
            view = view[self._wire.send_data(self.stream, view) :]

    def end_body(self) -> None:
        """Say that the answer's body is complete; further calls do nothing."""
        if not self._ended:
            self._ended = True
            self._wire.send(EndOfData(self.stream))

    def _give_credit(self, count: int) -> None:
        self._taken += count
        if self._taken >= _CREDIT_STEP:
            credit, self._taken = self._taken, 0
            self._wire.send(Window(self.stream, credit))
