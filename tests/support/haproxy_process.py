"""A router without a container: the real ``haproxy`` as a local process, and tiny services for it."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from orchestrator.agent.paths import ProjectPaths
from orchestrator.agent.router import pages, render
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.moves import Located
from orchestrator.agent.router.runtime import RouterSilent, Runtime
from orchestrator.agent.router.steering import Steering, write_maps
from orchestrator.agent.router.table import Table
from orchestrator.agent.router.words import Site
from orchestrator.protocol.routing import RouterConfig

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
IMAGE = "sha256:" + "0" * 64


def available() -> bool:
    """The machine has HAProxy."""
    return Path(HAPROXY).exists()


def free_port() -> int:
    """Return a port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """HAProxy in master-worker mode with a folder of its own; use it in a ``with`` block."""

    def __init__(self, config: RouterConfig, *, sources: tuple[str, ...] = ("127.0.0.0/8",)) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="router-", dir="/tmp"))
        self.home = Home(ProjectPaths(self.folder))
        self.home.inside = str(self.home.base)
        self.site = Site(self.home.inside, sources)
        self.config = config
        self.runtime = Runtime(self.home.run / self.site.socket)
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.home.make()
        self.home.put_picture(self.config)
        self.home.page.write_bytes(pages.MAINTENANCE)
        self.write()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    @property
    def steering(self) -> Steering:
        """The way to move its traffic."""
        return Steering(self.home, self.runtime, self.config, self.site)

    @property
    def table(self) -> Table:
        """The record."""
        return self.home.table()

    def write(self) -> None:
        """Write the configuration from picture and record."""
        write_maps(self.home, self.config, self.table)
        self.home.config.write_text(render.render(self.config, self.table, self.site))

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(
            [HAPROXY, "-W", "-f", str(self.home.config)], stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.wait_for(render.structure(self.config, self.table, self.site))

    def reload(self) -> None:
        """Have it serve the picture of now, as the agent does."""
        assert self.process is not None
        (self.home.run / "state").write_text(self.runtime.state_dump())
        self.write()
        self.wait_for(render.structure(self.config, self.table, self.site), signal.SIGUSR2)

    def wait_for(self, description: str, nudge: signal.Signals | None = None) -> None:
        """Wait until what answers has been started from that configuration.

        A master that is still busy with a reload loses the signal for the next one: it is sent again.
        """
        give_up, again = time.monotonic() + 10, 0.0
        while True:
            if nudge is not None and self.process is not None and time.monotonic() >= again:
                os.kill(self.process.pid, nudge)
                again = time.monotonic() + 0.5
            with contextlib.suppress(RouterSilent):
                if self.runtime.info().get("description") == description:
                    return
            assert time.monotonic() < give_up, (self.folder / "log").read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """End master and worker on the spot."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    name = ""
    healthy = True
    broken = False
    delay = 0.0

    def handle_error(self, *_: object) -> None:
        """A client that hangs up (a health check, a killed router) is no error."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.headers.get("Upgrade"):
            self._tunnel()
            return
        if self.path.startswith("/slow"):
            time.sleep(float(self.path.rpartition("=")[2]))
        sick = self.path == "/health" and not self.server.healthy
        broken = self.server.broken and self.path != "/health"
        time.sleep(self.server.delay)
        status = 500 if sick or broken or self.path == "/500" else 200
        body = "\n".join(f"{k.lower()}: {v}" for k, v in self.headers.items())
        body = f"{self.server.name}\n{body}" if self.path == "/headers" else self.server.name
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def do_POST(self) -> None:
        self.do_GET()

    def _tunnel(self) -> None:
        """Answer as a WebSocket server does, then echo."""
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.flush()
        while data := self.connection.recv(4096):
            self.connection.sendall(self.server.name.encode() + b":" + data)
        self.close_connection = True


class Service:
    """A tiny HTTP service, as a container would be: at an address of its own."""

    def __init__(self, name: str, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self._server = _Server((address, port), _Handler)
        self._server.name = name
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def located(self) -> Located:
        """As the agent finds it."""
        return Located(f"id-{self.name}", self.address)

    def sicken(self) -> None:
        """Fail health checks from now on."""
        self._server.healthy = False

    def break_down(self) -> None:
        """Answer everything but health checks with an error from now on."""
        self._server.broken = True

    def slow_down(self, seconds: float) -> None:
        """Take so long for every answer from now on."""
        self._server.delay = seconds

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextlib.contextmanager
def services(port: int, *names: str) -> Iterator[list[Service]]:
    """Run tiny services on 127.0.0.2, 127.0.0.3, ..., all on the same port."""
    made = [Service(name, f"127.0.0.{number}", port) for number, name in enumerate(names, 2)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


class Load(threading.Thread):
    """A client that never retries and counts what went wrong, until it is stopped."""

    def __init__(self, port: int, *, keep_alive: bool, path: str = "/") -> None:
        super().__init__(daemon=True)
        self._port = port
        self._keep = keep_alive
        self._path = path
        self._stop_now = threading.Event()
        self.done = 0
        self.failures: list[str] = []
        self.answers: dict[str, int] = {}
        self.start()

    def run(self) -> None:
        """Ask, one request after the other."""
        connection: Any = None
        while not self._stop_now.is_set():
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                connection.request("GET", self._path)
                response = connection.getresponse()
                body = response.read().decode()
                self.done += 1
                self.answers[body] = self.answers.get(body, 0) + 1
                if response.status != 200:
                    self.failures.append(f"status {response.status}")
                if not self._keep or response.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def stop(self) -> None:
        """End it and wait for the last answer."""
        self._stop_now.set()
        self.join()
