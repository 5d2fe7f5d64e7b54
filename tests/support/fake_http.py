"""The fake engine's side of HTTP: requests, JSON, chunks, faults. What is answered is in the routes."""

from __future__ import annotations

import http.server
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.fake_host import FakeHost, Refused

Routes = list[tuple[str, str, Callable[..., None]]]
"""(method, regular expression of the path, what answers)."""


class EngineRequest(http.server.BaseHTTPRequestHandler):
    """One connection of a client; a subclass sets the host and the routes."""

    host: FakeHost
    routes: Routes
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        """Return what stands for a client's address in a log."""
        return "unix"

    def log_message(self, *_: object) -> None:
        """Log nothing: :attr:`.FakeHost.requests` has it all."""

    def _handle(self) -> None:
        try:
            self._route()
        except Refused as refused:
            self._drain()
            self.answer({"message": str(refused)} if refused.status != 304 else None, refused.status)

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815 - the names http.server looks for

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(re.sub(r"^/v[0-9.]+", "", parts.path))
        self.query = dict(parse_qsl(parts.query))
        self.taken = False
        self.host.requests.append((self.command, path))
        fault = self.host.take_fault(lambda f: f.method == self.command and bool(re.fullmatch(f.path, path)))
        if fault is not None:
            raise Refused(fault.status, fault.message)
        for method, pattern, function in self.routes:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                function(self, *found.groups())
                return
        raise Refused(501, f"the fake engine does not know {self.command} {path}")

    def answer(self, value: Any, status: int = 200) -> None:
        """Answer with JSON, or with nothing."""
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(204 if value is None and status == 200 else status)
        if body or status not in (204, 304):
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
        """Return the request's body."""
        self.taken = True
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline().strip() or b"0", 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def json(self) -> dict[str, Any]:
        """Return the request's body, a JSON object."""
        return dict(json.loads(self.body() or b"{}"))

    def _drain(self) -> None:
        """Read a body that nobody asked for, so that the connection can go on."""
        if not self.taken:
            self.body()

    def flag(self, name: str) -> bool:
        """Return a boolean parameter."""
        return self.query.get(name, "0") in ("1", "true")

    def chunk(self, data: bytes) -> None:
        """Send a piece of a chunked answer."""
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def begin_chunks(self, kind: str) -> None:
        """Begin a chunked answer."""
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def matches(self, labels: dict[str, str]) -> bool:
        """Tell whether something with ``labels`` passes the request's filters."""
        wanted = json.loads(self.query.get("filters", "{}")).get("label", [])
        have = {f"{key}={value}" for key, value in labels.items()} | set(labels)
        return set(wanted) <= have
