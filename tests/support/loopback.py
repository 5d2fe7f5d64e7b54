"""A session without a wire: requests go straight to the agent's handlers, in threads.

What is between the two ends (frames, windows, processes) has its own tests; here bodies are bounded
queues, and an end that fails wakes the other.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from orchestrator.agent.engine import Engine
from orchestrator.agent.handler import Context, Handler, failure_of
from orchestrator.agent.paths import Paths
from orchestrator.ports import RequestFailed
from orchestrator.protocol.codec import decode, encode
from orchestrator.protocol.messages import METHODS

_END = None
_PIECES = 8


class LoopbackCall:
    """One request, and the channel its handler sees."""

    def __init__(self, session: LoopbackSession, on_progress: Callable[[Any], None] | None) -> None:
        self.cancelled = threading.Event()
        self.over = threading.Event()
        self.sent = 0
        self.failure: BaseException | None = None
        self.answer: Any = None
        self._session = session
        self._on_progress = on_progress
        self._request: queue.Queue[bytes | None] = queue.Queue(_PIECES)
        self._response: queue.Queue[bytes | None] = queue.Queue(_PIECES)

    # --- the controller's end --------------------------------------------------------------------

    def result(self, timeout: float | None = 60) -> Any:
        """Wait for the answer."""
        if not self.over.wait(timeout):
            raise TimeoutError
        if self.failure is not None:
            raise RequestFailed(self._session.host, failure_of(self.failure))
        return self.answer

    def send_body(self, data: bytes) -> None:
        """Send a piece, unless the handler has ended."""
        self.sent += len(data)
        self._put(self._request, data)

    def end_body(self) -> None:
        """End the request's body."""
        self._put(self._request, _END)

    def body(self) -> Iterator[bytes]:
        """Yield the answer's body."""
        while (piece := self._response.get()) is not _END:
            yield piece

    def cancel(self) -> None:
        """Ask the handler to stop."""
        self.cancelled.set()
        self._put(self._request, _END)

    def _put(self, where: queue.Queue[bytes | None], piece: bytes | None) -> None:
        while not self.over.is_set():
            try:
                where.put(piece, timeout=0.05)
            except queue.Full:
                if self.cancelled.is_set():
                    return
                continue
            return

    # --- the handler's end -----------------------------------------------------------------------

    def progress(self, payload: Any) -> None:
        """Pass progress on, through the codec."""
        if self._on_progress is not None:
            self._on_progress(decode(type(payload), encode(payload)))

    def request_body(self) -> Iterator[bytes]:
        """Yield the request's body."""
        while (piece := self._request.get()) is not _END:
            yield piece

    def send_response(self, data: bytes | None) -> None:
        """Send a piece of the answer's body; nobody may be reading it any more."""
        while not self.cancelled.is_set():
            try:
                self._response.put(data, timeout=0.05)
            except queue.Full:
                continue
            return
        if data is _END:
            while True:
                try:
                    self._response.put_nowait(_END)
                except queue.Full:
                    self._response.get_nowait()
                    continue
                return


class _Channel:
    """The handler's view of a call."""

    def __init__(self, call: LoopbackCall) -> None:
        self._call = call
        self.progress = call.progress
        self.body = call.request_body
        self.send_body = call.send_response

    def end_body(self) -> None:
        """The body ends when the handler returns."""


class LoopbackSession:
    """A host whose agent runs in this process."""

    def __init__(
        self, host: str, handlers: Mapping[str, Handler], paths: Paths, engine: Engine | None = None
    ) -> None:
        self.host = host
        self.round_trips = 0
        self.bytes_sent = 0
        self.requests: list[Any] = []
        self._handlers = handlers
        self._paths = paths
        self._engine = engine

    def request(
        self,
        params: Any,
        *,
        on_progress: Callable[[Any], None] | None = None,
        on_done: Callable[[Any], None] | None = None,
    ) -> LoopbackCall:
        """Run the handler of ``params`` in a thread."""
        name = next(name for name, method in METHODS.items() if method.params is type(params))
        call = LoopbackCall(self, on_progress)
        context = Context(
            paths=self._paths, channel=_Channel(call), engine=self._engine, cancelled=call.cancelled
        )
        self.requests.append(params)

        def run() -> None:
            try:
                wire = decode(type(params), encode(params))
                call.answer = decode(METHODS[name].result, encode(self._handlers[name](wire, context)))
            except BaseException as error:  # noqa: BLE001 - it is raised again by result()
                call.failure = error
            call.over.set()
            call.send_response(_END)
            if on_done is not None:
                on_done(call)

        threading.Thread(target=run, name=f"handler {name}", daemon=True).start()
        return call

    def close(self) -> None:
        """Close the engine's idle connections."""
        if self._engine is not None:
            self._engine.close()
