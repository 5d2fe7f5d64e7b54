"""What a controller and an agent say, one frozen event each.

Owns the vocabulary of a connection. Which event may follow which is :mod:`.connection`'s, how it looks
as bytes :mod:`.frames`'.
"""

from __future__ import annotations

from typing import Any, Union

from orchestrator.protocol.records import dataclass


@dataclass(frozen=True)
class HelloEvent:
    """The agent introduces itself, once, before anything else it says."""

    payload: Any
    """JSON of a :class:`~orchestrator.protocol.messages.Hello`."""


@dataclass(frozen=True)
class Request:
    """The controller opens a stream."""

    stream: int
    """From :meth:`Connection.next_stream`."""
    method: str
    params: Any
    """JSON."""


@dataclass(frozen=True)
class Progress:
    """The agent says how a request goes on."""

    stream: int
    payload: Any
    """JSON."""


@dataclass(frozen=True)
class Data:
    """A piece of a body, from either end."""

    stream: int
    data: bytes
    """From 1 to :data:`MAX_DATA` bytes, and no more than :meth:`Connection.credit` allows."""


@dataclass(frozen=True)
class EndOfData:
    """The body of this end is complete. An answer implies it."""

    stream: int


@dataclass(frozen=True)
class Response:
    """The agent's answer; it ends the stream."""

    stream: int
    result: Any
    """JSON."""


@dataclass(frozen=True)
class Failed:
    """The agent's refusal; it ends the stream."""

    stream: int
    failure: Any
    """JSON of a :class:`~orchestrator.protocol.messages.RemoteFailure`."""


@dataclass(frozen=True)
class Cancel:
    """The controller wants no more of a request; the agent still answers."""

    stream: int


@dataclass(frozen=True)
class Window:
    """The consumer has taken bytes of a body: as many more may be sent."""

    stream: int
    credit: int
    """Bytes."""


@dataclass(frozen=True)
class Ping:
    """Are you there?"""


@dataclass(frozen=True)
class Pong:
    """Yes."""


StreamEvent = Union[Request, Progress, Data, EndOfData, Response, Failed, Cancel, Window]
Event = Union[HelloEvent, Ping, Pong, StreamEvent]
