"""What a handler of a request is given, and how it refuses.

Owns :class:`Context` (engine, paths, the request's streams, cancellation), the handler's type and
:class:`Refusal`. It must not know frames or threads: those are :mod:`.serve`'s, behind
:class:`Channel`.

A handler is a function ``(params, context) -> result``: it returns an instance of its method's result
class or raises. ``serve`` has checked the lease (for methods that need it) before it calls, ends
both bodies when the handler returns, and turns :class:`Refusal`, :class:`~.engine.EngineError`,
:class:`~.paths.BadNameError` and ``OSError`` into failures with stable codes.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import Any, Callable, Iterator, Optional, Protocol, Sequence

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.paths import BadNameError, Paths
from orchestrator.protocol.codec import WireError
from orchestrator.protocol.messages import LeaseInfo, RemoteFailure

_SLICE = 0.2
"""Seconds within which a thread that watches for a cancel notices that it is no longer needed."""


class Refusal(Exception):  # noqa: N818 - an answer, not a defect
    """The request cannot be done; ``failure`` is the answer."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        context: Sequence[str] = (),
        lease: Optional[LeaseInfo] = None,
    ) -> None:
        super().__init__(message)
        self.failure = RemoteFailure(code, message, hint, tuple(context), lease)


class Channel(Protocol):
    """The streams of one request. All calls block while the other side's window is full."""

    def progress(self, payload: Any) -> None:
        """Send an instance of the method's progress class."""
        ...

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the request's body until its end."""
        ...

    def send_body(self, data: bytes) -> None:
        """Send a piece of the answer's body."""
        ...

    def end_body(self) -> None:
        """Say that the answer's body is complete; further calls do nothing."""
        ...


class Context:
    """Everything a handler may use."""

    def __init__(
        self,
        *,
        paths: Paths,
        channel: Channel,
        engine: Optional[Engine] = None,
        engine_error: str = "",
        engine_hint: str = "",
        cancelled: Optional[threading.Event] = None,
    ) -> None:
        self.paths = paths
        self.cancelled = cancelled or threading.Event()
        self._channel = channel
        self._engine = engine
        self._engine_error = engine_error
        self._engine_hint = engine_hint

    @property
    def engine(self) -> Engine:
        """The host's engine.

        Raises:
            Refusal: ``no-engine``: there is none, or we may not use it.
        """
        if self._engine is None:
            message = self._engine_error or "cannot find a container engine on this host"
            raise Refusal("no-engine", message, hint=self._engine_hint)
        return self._engine

    def progress(self, payload: Any) -> None:
        """Send an instance of the method's progress class."""
        self._channel.progress(payload)

    def body(self) -> Iterator[bytes]:
        """Yield the pieces of the request's body until its end, or raise ``Refusal`` when cancelled."""
        for piece in self._channel.body():
            self.check_cancelled()
            yield piece
        self.check_cancelled()

    def send_body(self, data: bytes) -> None:
        """Send a piece of the answer's body; blocks while the controller's window is full."""
        self._channel.send_body(data)

    def end_body(self) -> None:
        """Say that the answer's body is complete; further calls do nothing."""
        self._channel.end_body()

    @contextlib.contextmanager
    def aborting(self, abort: Callable[[], None]) -> Iterator[None]:
        """Call ``abort``, from another thread, if the request is cancelled while the block runs.

        For what blocks on a silent engine: the abort of a response or of a hijacked connection.
        """
        over = threading.Event()

        def watch() -> None:
            while not over.is_set():
                if self.cancelled.wait(_SLICE):
                    abort()
                    return

        threading.Thread(target=watch, name="cancel-watch", daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def check_cancelled(self) -> None:
        """Return when the request goes on.

        Raises:
            Refusal: ``cancelled``: the controller has asked to stop.
        """
        if self.cancelled.is_set():
            raise Refusal("cancelled", "stopped on request")


Handler = Callable[[Any, Context], Any]
"""``(params, context) -> result``."""


def failure_of(error: BaseException) -> RemoteFailure:
    """Return the answer for ``error``: a stable code, and words for people."""
    if isinstance(error, Refusal):
        return error.failure
    if isinstance(error, EngineError):
        return RemoteFailure(_engine_code(error), error.message)
    if isinstance(error, (BadNameError, WireError)):
        return RemoteFailure("bad-request", str(error))
    if isinstance(error, OSError):
        code = "no-space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "internal"
        return RemoteFailure(code, str(error))
    return RemoteFailure("internal", f"{type(error).__name__}: {error}")


def _engine_code(error: EngineError) -> str:
    if error.no_space:
        return "no-space"
    if error.not_found:
        return "not-found"
    return "engine" if error.status else "no-engine"
