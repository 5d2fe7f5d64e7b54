"""Which event may follow which on a stream, from either end, and how many bytes are under way.

Owns the table of transitions and the state of one stream; h11's idea. It must not know bytes.

States of the two halves of a stream::

    controller   IDLE --Request--> OPEN --EndOfData--> ENDED
                 OPEN, ENDED --Cancel--> CANCELLED
    agent        IDLE --(Request received)--> OPEN --EndOfData--> ENDED
                 OPEN, ENDED --Response | Failed--> CLOSED, of both halves

What a controller had under way when the answer came is dropped on arrival; an agent sends nothing
after its answer, so anything else on a closed stream is a violation.
"""

from __future__ import annotations

import enum
from typing import Dict, Tuple, Type

from orchestrator.protocol.conversation import (
    Cancel,
    Data,
    EndOfData,
    Failed,
    Progress,
    Request,
    Response,
    StreamEvent,
    Window,
)
from orchestrator.protocol.frames import WINDOW, ProtocolError


class Role(enum.Enum):
    """Which end a connection is."""

    CONTROLLER = "controller"
    AGENT = "agent"

    @property
    def other(self) -> Role:
        """The other end."""
        return Role.AGENT if self is Role.CONTROLLER else Role.CONTROLLER


class State(enum.Enum):
    """State of one half of a stream."""

    IDLE = "idle"
    OPEN = "open"
    ENDED = "ended"
    CANCELLED = "cancelled"
    CLOSED = "closed"


TRANSITIONS: Dict[Tuple[Role, State], Dict[Type[StreamEvent], State]] = {
    (Role.CONTROLLER, State.IDLE): {Request: State.OPEN},
    (Role.CONTROLLER, State.OPEN): {
        Data: State.OPEN,
        EndOfData: State.ENDED,
        Cancel: State.CANCELLED,
        Window: State.OPEN,
    },
    (Role.CONTROLLER, State.ENDED): {Cancel: State.CANCELLED, Window: State.ENDED},
    (Role.CONTROLLER, State.CANCELLED): {Window: State.CANCELLED},
    (Role.AGENT, State.OPEN): {
        Progress: State.OPEN,
        Data: State.OPEN,
        EndOfData: State.ENDED,
        Window: State.OPEN,
        Response: State.CLOSED,
        Failed: State.CLOSED,
    },
    (Role.AGENT, State.ENDED): {
        Progress: State.ENDED,
        Window: State.ENDED,
        Response: State.CLOSED,
        Failed: State.CLOSED,
    },
}
"""What each end may do to a stream, and what state of its own half follows. Whatever is not here is
forbidden."""


class Stream:
    """Both halves of one open stream, and the credit of both directions."""

    __slots__ = ("credit", "state")

    def __init__(self) -> None:
        self.state = {Role.CONTROLLER: State.IDLE, Role.AGENT: State.IDLE}
        self.credit = {Role.CONTROLLER: WINDOW, Role.AGENT: WINDOW}
        """Bytes each end may still send."""

    def apply(self, sender: Role, event: StreamEvent, blame: Type[ProtocolError]) -> None:
        """Move to the state that follows ``event`` of ``sender``, or raise ``blame``."""
        state = self.state[sender]
        following = TRANSITIONS.get((sender, state), {}).get(type(event))
        if following is None:
            what = type(event).__name__
            raise blame(f"stream {event.stream}: {what} from the {sender.value}, whose half is {state.value}")
        if isinstance(event, Data):
            self._spend(sender, len(event.data), event.stream, blame)
        elif isinstance(event, Window):
            self._give_back(sender.other, event, blame)
        self.state[sender] = following
        if isinstance(event, Request):
            self.state[Role.AGENT] = State.OPEN

    @property
    def closed(self) -> bool:
        """Whether the answer has been given."""
        return self.state[Role.AGENT] is State.CLOSED

    def _spend(self, sender: Role, count: int, stream: int, blame: Type[ProtocolError]) -> None:
        if not count:
            # An empty piece would cost its reader memory and its sender no credit.
            raise blame(f"stream {stream}: an empty piece of data")
        if count > self.credit[sender]:
            raise blame(f"stream {stream}: {count} bytes of data, {self.credit[sender]} are allowed")
        self.credit[sender] -= count

    def _give_back(self, sender: Role, event: Window, blame: Type[ProtocolError]) -> None:
        if not 0 < event.credit <= WINDOW - self.credit[sender]:
            raise blame(f"stream {event.stream}: {event.credit} bytes of credit for data that was never sent")
        self.credit[sender] += event.credit
