"""A forge's API for comments, GitHub's and GitLab's, on a socket of this machine."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"(?P<list>.*/(?:comments|notes))(?:/(?P<id>\d+))?")


class Forge:
    """The comments, and who wrote what."""

    def __init__(self) -> None:
        self.url = ""
        self.comments: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        """(method, path), in order."""
        self.tokens: set[str] = set()
        """Everything that was sent to say who asks."""

    def add(self, body: str, kind: str = "User") -> None:
        """Add a comment of somebody."""
        number = len(self.comments) + 1
        self.comments.append({"id": number, "body": body, "user": {"type": kind}})

    def answer(self, method: str, target: str, body: Any) -> Any:
        """Do what a request asks for and return what it gets."""
        parts = urlsplit(target)
        self.requests.append((method, parts.path))
        found = _PATH.fullmatch(parts.path)
        assert found, target
        if method == "GET":
            query = parse_qs(parts.query)
            size, page = int(query["per_page"][0]), int(query["page"][0])
            return self.comments[(page - 1) * size : page * size]
        if method == "POST":
            self.add(body["body"], "Bot")
            return self.comments[-1]
        comment = self.comments[int(found["id"]) - 1]
        comment["body"] = body["body"]
        return comment


@contextmanager
def forge() -> Iterator[Forge]:
    """Run a forge until the block ends."""
    made = Forge()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            made.tokens.update(
                self.headers[name] for name in ("Authorization", "PRIVATE-TOKEN") if self.headers[name]
            )
            data = json.dumps(made.answer(self.command, self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815 - the base class asks for these names

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
