"""The ports through which a run touches the world: sessions with hosts, and where layers come from.

``remote/`` and ``images/`` implement them, ``execution/`` uses them, and they never import each other.

Owns the interfaces only. A simulated fleet can stand behind the same ports, so nothing here may
mention SSH, Docker or threads of a particular implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

from orchestrator.protocol.messages import LayersWanted, LoadImage, RemoteFailure


class RequestFailed(Exception):  # noqa: N818 - a refusal, not a defect
    """The agent refused or failed a request; ``failure`` says why, by a stable code."""

    def __init__(self, host: str, failure: RemoteFailure) -> None:
        super().__init__(f"{host}: {failure.message}")
        self.host = host
        self.failure = failure


class Call(Protocol):
    """One request under way."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer (seconds) and return it, an instance of the method's result class.

        Raises:
            RequestFailed: The agent refused or failed.
            orchestrator.errors.HostError: The session is gone or the host misbehaved.
            TimeoutError: No answer within ``timeout``.
        """
        ...

    def send_body(self, data: bytes) -> None:
        """Send a piece of the request's body; blocks while the host's window is full."""
        ...

    def end_body(self) -> None:
        """Say that the body is complete."""
        ...

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the answer's body as they arrive."""
        ...

    def cancel(self) -> None:
        """Ask the agent to stop; the result is then a ``cancelled`` failure or the finished answer."""
        ...


class Session(Protocol):
    """A live agent on one host."""

    @property
    def host(self) -> str:
        """The host's name in the inventory."""
        ...

    @property
    def round_trips(self) -> int:
        """Requests made so far, ``load`` (layer data) not counted."""
        ...

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to the connection so far."""
        ...

    def request(
        self,
        params: Any,
        *,
        on_progress: Callable[[Any], None] | None = None,
        on_done: Callable[[Call], None] | None = None,
    ) -> Call:
        """Send a request, an instance of a parameter class of the protocol, without waiting for the answer.

        Both callbacks run on the session's own thread and must not block.
        """
        ...

    def close(self) -> None:
        """End the session; the agent gives up its lease and exits."""
        ...


class Fleet(Protocol):
    """The hosts one run may talk to, each connected once unless it is asked for more."""

    def session(self, host: str) -> Session:
        """Return the session of ``host``, connecting first when needed.

        Raises:
            orchestrator.errors.HostError: It cannot be reached or used.
        """
        ...

    def fresh(self, host: str) -> Session:
        """Return another session with ``host``, over a connection of its own; the caller closes it.

        It proves that the host can still be reached, which no session opened earlier does.

        Raises:
            orchestrator.errors.HostError: It cannot be reached or used.
        """
        ...


class ImageSource(Protocol):
    """Where the layers of an image come from."""

    def offer(self, image: str) -> LoadImage:
        """Describe the image (project and epoch left empty) so that a host can say what it lacks."""
        ...

    def blobs(self, image: str, wanted: LayersWanted) -> AbstractContextManager[Iterator[bytes]]:
        """Open the bytes a host asked for, streamed in pieces of bounded size."""
        ...
