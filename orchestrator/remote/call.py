"""One request under way: its bodies, its answer, and who waits for them.

Owns the state of a call between the session's reader and the threads that use it. It must not know
how bytes travel: it asks its session to transmit events.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from orchestrator.ports import Call
from orchestrator.protocol.connection import Cancel, Data, EndOfData, Window
from orchestrator.protocol.conversation import StreamEvent
from orchestrator.protocol.frames import MAX_DATA, WINDOW
from orchestrator.protocol.messages import Method

_GIVE_BACK = WINDOW // 16
"""Credit is given back in steps of so many bytes: often enough that a sender with data never waits
for it, seldom enough to cost nothing."""


class Sender(Protocol):
    """What a call needs of its session."""

    def transmit(self, event: StreamEvent) -> None:
        """Send ``event`` unless its stream has been answered; raises ``HostError``."""
        ...

    def credit(self, stream: int) -> int:
        """Return how many bytes of data may be sent now; the caller holds the session's lock."""
        ...


class AgentCall:
    """Implements :class:`orchestrator.ports.Call`. One thread at a time may send, one read a body.

    Args:
        stream: Number of its stream.
        method: What the answer must look like.
        sender: The session.
        lock: The session's lock, which guards the state of all its calls.
        on_progress: Called with each decoded progress, on the session's thread.
        on_done: Called once there is an outcome, on the session's thread.
    """

    def __init__(
        self,
        stream: int,
        method: Method,
        sender: Sender,
        lock: threading.Lock,
        *,
        on_progress: Callable[[Any], None] | None = None,
        on_done: Callable[[Call], None] | None = None,
    ) -> None:
        self.stream = stream
        self.method = method
        self.on_progress = on_progress
        self.on_done = on_done
        self._sender = sender
        self._changed = threading.Condition(lock)
        self._pieces: deque[bytearray] = deque()
        self._body_ended = False
        self._send_ended = False
        self._cancelled = False
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._owed = 0

    # --- used by whoever made the request ---

    def result(self, timeout: float | None = None) -> Any:
        """See :meth:`orchestrator.ports.Call.result`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._done, timeout):
                raise TimeoutError(f"no answer within {timeout} seconds")
            if self._error is not None:
                raise self._error
            return self._result

    def send_body(self, data: bytes) -> None:
        """See :meth:`orchestrator.ports.Call.send_body`. Does nothing once there is an answer."""
        view = memoryview(data)
        while view and (count := self._await_credit()):
            size = min(count, MAX_DATA, len(view))
            self._sender.transmit(Data(self.stream, bytes(view[:size])))
            view = view[size:]

    def end_body(self) -> None:
        """See :meth:`orchestrator.ports.Call.end_body`. May be called twice."""
        with self._changed:
            ended, self._send_ended = self._send_ended or self._done or self._cancelled, True
        if not ended:
            self._sender.transmit(EndOfData(self.stream))

    def body(self) -> Iterator[bytes]:
        """See :meth:`orchestrator.ports.Call.body`. A refusal ends it; ``result`` then says why."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._body_ended or self._done)
                if not self._pieces:
                    break
                piece = self._pieces.popleft()
                self._owed += len(piece)
                # Once nothing more can come, credit would be of no use to anybody.
                due = 0 if self._body_ended or self._done or self._owed < _GIVE_BACK else self._owed
                self._owed -= due
            if due:
                self._sender.transmit(Window(self.stream, due))
            yield bytes(piece)
        if self._error is not None and not self.refused:
            raise self._error

    def cancel(self) -> None:
        """See :meth:`orchestrator.ports.Call.cancel`. What arrives of the body from now on is dropped."""
        with self._changed:
            cancelled, self._cancelled = self._cancelled or self._done, True
            self._pieces.clear()
            self._changed.notify_all()
        if not cancelled:
            self._sender.transmit(Cancel(self.stream))

    # --- used by the session ---

    refused = False
    """Whether the outcome is the agent's own refusal rather than the loss of the session."""

    def add_piece(self, data: bytes) -> None:
        """Take a piece of the answer's body; small ones are joined, lest a piece cost more than it holds."""
        with self._changed:
            if self._cancelled:
                return
            if self._pieces and len(self._pieces[-1]) + len(data) <= MAX_DATA:
                self._pieces[-1] += data
            else:
                self._pieces.append(bytearray(data))
            self._changed.notify_all()

    def end_pieces(self) -> None:
        """Say that the answer's body is complete."""
        with self._changed:
            self._body_ended = True
            self._changed.notify_all()

    def drops(self, event: StreamEvent) -> bool:
        """Whether ``event`` has no point since the request was cancelled; the caller holds the lock."""
        return self._cancelled and isinstance(event, (Data, EndOfData))

    def wake(self) -> None:
        """Say that there is new credit."""
        with self._changed:
            self._changed.notify_all()

    def settle(
        self, result: Any = None, error: BaseException | None = None, *, refused: bool = False
    ) -> None:
        """Set the outcome and wake whoever waits for it."""
        with self._changed:
            self._done, self._result, self._error, self.refused = True, result, error, refused
            self._changed.notify_all()

    def announce(self) -> None:
        """Run ``on_done``."""
        if self.on_done is not None:
            self.on_done(self)

    def _await_credit(self) -> int:
        """Return how many bytes may be sent, at least one, or 0 when there is no point any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._done or self._cancelled or self._sender.credit(self.stream))
            if self._error is not None and not self.refused:
                raise self._error
            return 0 if self._done or self._cancelled else self._sender.credit(self.stream)
