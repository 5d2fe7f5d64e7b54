"""A real agent process, spoken to over its pipes by the controller's half of the protocol."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from orchestrator.protocol.codec import decode, encode
from orchestrator.protocol.connection import (
    Cancel,
    Connection,
    Data,
    EndOfData,
    Event,
    Failed,
    HelloEvent,
    Progress,
    Request,
    Response,
    Role,
)
from orchestrator.protocol.frames import PREFACE
from orchestrator.protocol.messages import METHODS, Hello, RemoteFailure

REPOSITORY = Path(__file__).parents[2]
NAMES = {method.params: name for name, method in METHODS.items()}


class AgentProcess:
    """Use it in a ``with`` block; leaving it ends the agent.

    Args:
        arguments: Of the agent's command line.
        python: Interpreter.
        silence_limit: Seconds; patched into the agent.
    """

    def __init__(self, *arguments: str, python: str = sys.executable, silence_limit: float = 20.0) -> None:
        start = (
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); sys.dont_write_bytecode = True; "
            f"from orchestrator.agent import wire, __main__; "
            f"wire.Wire.__init__.__defaults__ = ({silence_limit},); __main__.main(sys.argv[1:])"
        )
        self.process = subprocess.Popen(
            [python, "-I", "-c", start, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._connection = Connection(Role.CONTROLLER)
        self._events: list[Event] = []
        self._preface = b""
        self.hello: Hello | None = None

    def __enter__(self) -> Self:
        try:
            event = self.next()
        except BaseException:
            self.__exit__()
            raise
        assert isinstance(event, HelloEvent), event
        self.hello = decode(Hello, event.payload)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def send(self, event: Event) -> None:
        """Say ``event``."""
        assert self.process.stdin is not None
        view = memoryview(self._connection.send(event))
        while view:
            view = view[os.write(self.process.stdin.fileno(), view) :]

    def send_raw(self, data: bytes) -> None:
        """Say what no controller would."""
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), data)

    def request(self, params: Any, method: str = "") -> int:
        """Open a request and return its stream."""
        stream = self._connection.next_stream()
        self.send(Request(stream, method or NAMES[type(params)], encode(params)))
        return stream

    def next(self, seconds: float = 10.0) -> Event:
        """Return the next event of the agent."""
        give_up = time.monotonic() + seconds
        assert self.process.stdout is not None
        while not self._events:
            left = give_up - time.monotonic()
            ready = select.select([self.process.stdout], [], [], max(0.0, left))[0]
            assert ready, "the agent says nothing"
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise EOFError(self.errors())
            if len(self._preface) < len(PREFACE):
                taken = len(PREFACE) - len(self._preface)
                self._preface, data = self._preface + data[:taken], data[taken:]
                assert PREFACE.startswith(self._preface)
            self._events += self._connection.receive_data(data)
        return self._events.pop(0)

    def errors(self) -> str:
        """Return what the agent wrote to stderr; waits for its end."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def answer(self, stream: int, progress: list[Any] | None = None, body: list[bytes] | None = None) -> Any:
        """Wait for the answer of ``stream``: a result, or a ``RemoteFailure``."""
        while True:
            event = self.next()
            if isinstance(event, Response) and event.stream == stream:
                return event.result
            if isinstance(event, Failed) and event.stream == stream:
                return decode(RemoteFailure, event.failure)
            if isinstance(event, Progress) and progress is not None:
                progress.append(event.payload)
            if isinstance(event, Data) and body is not None:
                body.append(event.data)

    def ask(self, params: Any) -> Any:
        """Make a request without a body and return its answer, decoded."""
        stream = self.request(params)
        answer = self.answer(stream)
        return (
            answer
            if isinstance(answer, RemoteFailure)
            else decode(METHODS[NAMES[type(params)]].result, answer)
        )


__all__ = ["AgentProcess", "Cancel", "Data", "EndOfData"]
