"""A fake container engine that speaks the real HTTP API on a real unix socket.

State is in memory (:mod:`support.fake_host`), containers run tiny programs in threads
(:mod:`support.fake_programs`), faults are injected by :class:`~support.fake_host.Fault`. Unknown
requests are answered with 501, so that a test cannot pass by asking for something nobody implements.
"""

from __future__ import annotations

import socketserver
import tempfile
import threading
from pathlib import Path
from typing import Self

from support.fake_host import FakeHost, Fault
from support.fake_http import EngineRequest
from support.fake_routes import ROUTES


class FakeEngine:
    """A running engine: use it in a ``with`` block."""

    def __init__(self, socket_path: str | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fake-engine-")
        self.socket_path = socket_path or str(Path(self._folder.name) / "engine.sock")
        self.host = FakeHost()
        host = self.host

        class Handler(EngineRequest):
            routes = ROUTES

        Handler.host = host
        self._server = _Server(self.socket_path, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def fail(
        self, method: str, path: str, *, status: int = 500, message: str = "a fault", times: int = 1
    ) -> None:
        """Answer the next ``times`` requests for ``path`` (a regular expression) with a refusal."""
        self.host.faults.append(Fault(method, path, status, message, times))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.host.close()
        self._folder.cleanup()


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that hangs up in the middle is no error of the engine."""
