"""A transport with an agent behind it that answers from a script, in the caller's own thread."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import Any

from orchestrator.protocol.codec import encode
from orchestrator.protocol.connection import Connection, Event, HelloEvent, Role
from orchestrator.protocol.messages import PROTOCOL_VERSION, Hello

HELLO = Hello(
    protocol=PROTOCOL_VERSION,
    agent="0" * 64,
    hostname="web-1",
    boot_id="b",
    pid=1,
    uid=0,
    python="3.11",
    clock=0.0,
    root="/var/lib/deploy",
)

Script = Callable[[Event], Iterable[Event | bytes]]


def silent(_event: Event) -> Iterable[Event | bytes]:
    """Answer nothing."""
    return ()


class ScriptedHost:
    """Implements the transport of a session; ``script`` says what the agent does about each event."""

    def __init__(self, script: Script = silent, *, greet: bool = True) -> None:
        self.agent = Connection(Role.AGENT)
        self.seen: list[Event] = []
        self.closed = False
        self._script = script
        self._incoming: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        if greet:
            self.say(HelloEvent(encode(HELLO)))

    def say(self, *events: Event | bytes) -> None:
        """Let the agent send ``events``; bytes go out as they are."""
        for event in events:
            self._incoming.put(event if isinstance(event, bytes) else self.agent.send(event))

    def fail(self, error: BaseException) -> None:
        """Let the next read raise ``error``."""
        self._incoming.put(error)

    def send(self, data: bytes) -> None:
        """Take bytes of the controller and let the script answer."""
        if self.closed:
            raise BrokenPipeError("closed")
        for event in self.agent.receive_data(data):
            self.seen.append(event)
            for answer in self._script(event):
                self.say(answer)

    def recv(self, _limit: int, _timeout: float) -> bytes:
        """Return what the agent sent next."""
        item = self._incoming.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._incoming.put(b"")

    def exit_status(self, _timeout: float) -> int | None:
        """Return nothing: there is no command."""
        return None

    def last_words(self) -> tuple[str, ...]:
        """Return a fixed line of stderr."""
        return ("Killed",)

    def received(self, kind: type) -> list[Any]:
        """Return the events of one class that the agent has seen."""
        return [event for event in self.seen if isinstance(event, kind)]
