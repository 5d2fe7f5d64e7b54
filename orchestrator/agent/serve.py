"""One session: greet the controller, carry out its requests, vanish with it.

Owns the life of the process and the way from a request to its answer. What a method does is in the
table of :mod:`.handlers`. When the controller is gone the process ends on the spot, and with it every
lease: what was under way is what the next run finds and heals, and no file is half-written, because the
journal never has such a moment.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, Optional

from orchestrator.agent import discover, handlers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import Context, Handler, Refusal, failure_of
from orchestrator.agent.lease import Leases
from orchestrator.agent.paths import Paths, private_directory
from orchestrator.agent.say import say
from orchestrator.agent.wire import ControllerGone, RequestChannel, Wire
from orchestrator.protocol.codec import decode, encode
from orchestrator.protocol.connection import (
    Event,
    Failed,
    HelloEvent,
    LocalProtocolError,
    RemoteProtocolError,
    Response,
)
from orchestrator.protocol.frames import PREFACE
from orchestrator.protocol.messages import METHODS, PROTOCOL_VERSION, EngineInfo, Hello, RemoteFailure

EXIT_GONE = 0
EXIT_VIOLATION = 76
"""``EX_PROTOCOL`` of sysexits.h."""


def serve(root: Path, engine_socket: str = "") -> int:
    """Speak with the controller over stdin and stdout until it is gone; return the exit status.

    Args:
        root: State directory; made when missing.
        engine_socket: The engine's socket; empty: look for one.
    """
    incoming, outgoing = _claim_streams()
    private_directory(root)
    os.write(outgoing, PREFACE)
    session = Session(Wire(incoming, outgoing), Paths(root), engine_socket)
    try:
        session.run()
    except ControllerGone as gone:
        say(str(gone))
        return EXIT_GONE
    except (RemoteProtocolError, OSError) as error:
        say(f"the session broke: {error}")
    return EXIT_VIOLATION


def _claim_streams() -> "tuple[int, int]":
    """Keep stdin and stdout for frames alone: whatever else prints goes to stderr."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


class Session:
    """The requests of one controller."""

    def __init__(self, wire: Wire, paths: Paths, engine_socket: str) -> None:
        self._wire = wire
        self._paths = paths
        self._leases = Leases(paths)
        self._handlers: Dict[str, Handler] = handlers.table(self._leases)
        self._engine: Optional[Engine] = None
        self._engine_error = ""
        self._engine_hint = ""
        self._engine_info = self._find_engine(engine_socket)

    def run(self) -> None:
        """Greet, then answer requests until the controller is gone.

        Raises:
            ControllerGone: The normal end.
            RemoteProtocolError: The controller said what it must not.
            OSError: The stream broke.
        """
        self._wire.send(HelloEvent(encode(self._hello())))
        for channel in self._wire.requests():
            threading.Thread(target=self._answer, args=(channel,), name="request", daemon=True).start()

    def _answer(self, channel: RequestChannel) -> None:
        try:
            answer = self._outcome(channel)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told, and only that request ends
            failure = failure_of(error)
            if failure.code == "internal":
                say(f"{channel.method} failed\n{_traceback()}")
            answer = Failed(channel.stream, encode(failure))
        try:
            self._wire.answer(channel, answer)
        except LocalProtocolError as error:
            failure = RemoteFailure("internal", f"cannot send the answer: {error}")
            self._wire.answer(channel, Failed(channel.stream, encode(failure)))
        except OSError as error:
            say(f"cannot send an answer: {error}")

    def _outcome(self, channel: RequestChannel) -> Event:
        method = METHODS.get(channel.method)
        handler = self._handlers.get(channel.method)
        if method is None or handler is None:
            raise Refusal("bad-request", f"this agent does not know {channel.method[:40]!r}")
        params: Any = decode(method.params, channel.params)
        context = Context(
            paths=self._paths,
            channel=channel,
            engine=self._engine,
            engine_error=self._engine_error,
            engine_hint=self._engine_hint,
            cancelled=channel.cancelled,
        )
        result = handler(params, context)
        if not isinstance(result, method.result):
            raise TypeError(f"a handler of {channel.method} answered a {type(result).__name__}")
        return Response(channel.stream, encode(result))

    def _find_engine(self, engine_socket: str) -> Optional[EngineInfo]:
        sockets = (engine_socket,) if engine_socket else discover.candidates(os.environ, os.getuid())
        try:
            engine = discover.find(sockets)
            info = discover.info(engine)
        except discover.NoEngineError as error:
            self._engine_error, self._engine_hint = str(error), error.hint
            return None
        except EngineError as error:
            self._engine_error = str(error)
            return None
        self._engine = engine
        return info

    def _hello(self) -> Hello:
        return Hello(
            protocol=PROTOCOL_VERSION,
            agent=_own_digest(),
            hostname=socket.gethostname(),
            boot_id=_boot_id(),
            pid=os.getpid(),
            uid=os.getuid(),
            python=sys.version.split()[0],
            clock=time.time(),
            root=str(self._paths.root),
            engine=self._engine_info,
            engine_error=self._engine_error,
        )


def _traceback() -> str:
    import traceback  # noqa: PLC0415 - for defects alone

    return traceback.format_exc().rstrip()


def _own_digest() -> str:
    """Return the SHA-256 of the bundle this process was started from; empty when there is none."""
    try:
        return hashlib.sha256(Path(sys.argv[0]).read_bytes()).hexdigest()
    except OSError:
        return ""


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""
