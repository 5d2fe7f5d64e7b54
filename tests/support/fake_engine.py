"""A fake container engine that speaks the real HTTP API on a real unix socket.

State is in memory (:mod:`support.fake_host`), containers run tiny programs in threads
(:mod:`support.fake_programs`), faults are injected by :class:`~support.fake_host.Fault`. Unknown
requests are answered with 501, so that a test cannot pass by asking for something nobody implements.
"""

from __future__ import annotations

import http.server
import json
import re
import secrets
import socketserver
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from support.fake_host import FakeContainer, FakeHost, Fault, Refused
from support.fake_programs import run_command

API = "1.43"


class FakeEngine:
    """A running engine: use it in a ``with`` block."""

    def __init__(self, socket_path: str | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="fake-engine-")
        self.socket_path = socket_path or str(Path(self._folder.name) / "engine.sock")
        self.host = FakeHost()
        host = self.host

        class Handler(_Handler):
            pass

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


class _Handler(http.server.BaseHTTPRequestHandler):
    host: FakeHost
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def _handle(self) -> None:
        try:
            self._route()
        except Refused as refused:
            self._drain()
            self.answer({"message": str(refused)} if refused.status != 304 else None, refused.status)

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(re.sub(r"^/v[0-9.]+", "", parts.path))
        self.query = dict(parse_qsl(parts.query))
        self.taken = False
        self.host.requests.append((self.command, path))
        fault = self.host.take_fault(lambda f: f.method == self.command and bool(re.fullmatch(f.path, path)))
        if fault is not None:
            raise Refused(fault.status, fault.message)
        for method, pattern, function in _ROUTES:
            found = re.fullmatch(pattern, path)
            if method == self.command and found:
                function(self, *found.groups())
                return
        raise Refused(501, f"the fake engine does not know {self.command} {path}")

    def answer(self, value: Any, status: int = 200) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(204 if value is None and status == 200 else status)
        if body or status not in (204, 304):
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def body(self) -> bytes:
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
        return dict(json.loads(self.body() or b"{}"))

    def _drain(self) -> None:
        """Read a body that nobody asked for, so that the connection can go on."""
        if not self.taken:
            self.body()

    def flag(self, name: str) -> bool:
        return self.query.get(name, "0") in ("1", "true")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def begin_chunks(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def matches(self, labels: dict[str, str]) -> bool:
        wanted = json.loads(self.query.get("filters", "{}")).get("label", [])
        have = {f"{key}={value}" for key, value in labels.items()} | set(labels)
        return set(wanted) <= have


def _version(h: _Handler) -> None:
    h.answer(
        {
            "Version": "24.0.0-fake",
            "ApiVersion": API,
            "MinAPIVersion": "1.12",
            "Os": "linux",
            "Arch": "amd64",
            "Components": [{"Name": "Engine"}],
        }
    )


def _info(h: _Handler) -> None:
    h.answer(h.host.info)


# --- containers ---


def _list(h: _Handler) -> None:
    found = [c for c in h.host.containers.values() if h.matches(c.labels) and (h.flag("all") or c.running)]
    h.answer([container.listed() for container in found])


def _create(h: _Handler) -> None:
    container = h.host.create(h.query["name"], h.json())
    h.answer({"Id": container.id, "Warnings": []}, 201)


def _inspect(h: _Handler, name: str) -> None:
    h.answer(h.host.container(name).inspect())


def _start(h: _Handler, name: str) -> None:
    h.host.container(name).start()
    h.answer(None)


def _stop(h: _Handler, name: str) -> None:
    h.host.container(name).stop(float(h.query.get("t", 10)))
    h.answer(None)


def _kill(h: _Handler, name: str) -> None:
    h.host.container(name).kill()
    h.answer(None)


def _rename(h: _Handler, name: str) -> None:
    h.host.container(name).name = h.query["name"]
    h.answer(None)


def _delete(h: _Handler, name: str) -> None:
    h.host.remove(h.host.container(name))
    h.answer(None)


def _wait(h: _Handler, name: str) -> None:
    container = h.host.container(name)
    h.begin_chunks("application/json")
    with container.lock:
        container.changed.wait_for(lambda: container.status != "running")
        status = container.exit_code
    h.chunk(json.dumps({"StatusCode": status}).encode())
    h.wfile.write(b"0\r\n\r\n")


def _logs(h: _Handler, name: str) -> None:
    container = h.host.container(name)
    h.begin_chunks("application/vnd.docker.raw-stream")
    tail = h.query.get("tail", "all")
    sent = 0 if tail == "all" else max(0, len(container.lines) - int(tail))
    while True:
        for line in container.lines[sent:]:
            text = f"{line}\n".encode()
            h.chunk(struct.pack(">BxxxL", 1, len(text)) + text)
            sent += 1
        with container.lock:
            if not h.flag("follow") or (container.status not in ("running", "restarting")):
                break
            container.changed.wait(0.02)
    h.wfile.write(b"0\r\n\r\n")


def _exec_create(h: _Handler, name: str) -> None:
    container = h.host.container(name)
    if container.status != "running":
        raise Refused(409, f"Container {container.id} is not running")
    exec_id = secrets.token_hex(32)
    h.host.execs[exec_id] = {"ID": exec_id, "body": h.json(), "container": container, "ExitCode": None}
    h.answer({"Id": exec_id}, 201)


def _exec_start(h: _Handler, exec_id: str) -> None:
    run = h.host.execs[exec_id]
    body, container = run["body"], run["container"]
    assert isinstance(container, FakeContainer)
    h.json()
    h.close_connection = True
    h.send_response(101, "UPGRADED")
    h.send_header("Connection", "Upgrade")
    h.send_header("Upgrade", "tcp")
    h.end_headers()
    given = h.rfile.read() if body.get("AttachStdin") and not body.get("Tty") else b""
    output, status = run_command(body["Cmd"], given, container.files)
    run["ExitCode"] = status
    if output:
        h.wfile.write(output if body.get("Tty") else struct.pack(">BxxxL", 1, len(output)) + output)


def _exec_inspect(h: _Handler, exec_id: str) -> None:
    h.answer({"ID": exec_id, "ExitCode": h.host.execs[exec_id]["ExitCode"]})


def _exec_resize(h: _Handler, exec_id: str) -> None:
    h.host.execs[exec_id]["size"] = (h.query["h"], h.query["w"])
    h.answer(None)


# --- images, networks, volumes ---


def _images(h: _Handler) -> None:
    found = [image for image in h.host.images.values() if h.matches(image.labels)]
    h.answer([{"Id": i.id, "RepoTags": i.tags, "Labels": i.labels, "Size": i.size} for i in found])


def _image(h: _Handler, name: str) -> None:
    image = h.host.image(name)
    config = json.loads(image.config)
    h.answer(
        {
            "Id": image.id,
            "RepoTags": image.tags,
            "Config": config.get("config"),
            "Architecture": config.get("architecture"),
            "Os": config.get("os"),
            "Size": image.size,
            "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        }
    )


def _image_delete(h: _Handler, name: str) -> None:
    image = h.host.image(name)
    users = [c for c in h.host.containers.values() if c.image is image]
    if any(c.running for c in users) or (users and not h.flag("force")):
        raise Refused(409, "conflict: image is being used")
    del h.host.images[image.id]
    h.answer([{"Deleted": image.id}])


def _image_tag(h: _Handler, name: str) -> None:
    image = h.host.image(name)
    image.tags.append(f"{h.query['repo']}:{h.query.get('tag', 'latest')}")
    h.host.put_image(image)
    h.answer(None, 201)


def _get_from(kind: str) -> Callable[[_Handler, str], None]:
    def get(h: _Handler, name: str) -> None:
        found = getattr(h.host, kind).get(name)
        if found is None:
            raise Refused(404, f"no such {kind[:-1]}: {name}")
        h.answer(found)

    return get


def _create_in(kind: str, *, unique: bool) -> Callable[[_Handler], None]:
    def create(h: _Handler) -> None:
        body, there = h.json(), getattr(h.host, kind)
        if unique and body["Name"] in there:
            raise Refused(409, f"{kind[:-1]} with name {body['Name']} already exists")
        there.setdefault(body["Name"], body)
        h.answer(body, 201)

    return create


def _network_delete(h: _Handler, name: str) -> None:
    if any(name == c.body["HostConfig"].get("NetworkMode") and c.running for c in h.host.containers.values()):
        raise Refused(403, f"error while removing network: network {name} has active endpoints")
    h.host.networks.pop(name, None)
    h.answer(None)


def _volumes(h: _Handler) -> None:
    h.answer({"Volumes": [v for v in h.host.volumes.values() if h.matches(v.get("Labels") or {})] or None})


def _volume_delete(h: _Handler, name: str) -> None:
    if name not in h.host.volumes:
        raise Refused(404, f"no such volume: {name}")
    for container in h.host.containers.values():
        for mount in container.body["HostConfig"].get("Mounts") or []:
            if mount["Type"] == "volume" and mount["Source"] == name:
                raise Refused(409, f"volume is in use - [{container.id}]")
    del h.host.volumes[name]
    h.answer(None)


_ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", "/version", _version),
    ("GET", "/info", _info),
    ("GET", "/containers/json", _list),
    ("POST", "/containers/create", _create),
    ("GET", "/containers/([^/]+)/json", _inspect),
    ("POST", "/containers/([^/]+)/start", _start),
    ("POST", "/containers/([^/]+)/stop", _stop),
    ("POST", "/containers/([^/]+)/kill", _kill),
    ("POST", "/containers/([^/]+)/rename", _rename),
    ("POST", "/containers/([^/]+)/wait", _wait),
    ("GET", "/containers/([^/]+)/logs", _logs),
    ("DELETE", "/containers/([^/]+)", _delete),
    ("POST", "/containers/([^/]+)/exec", _exec_create),
    ("POST", "/exec/([^/]+)/start", _exec_start),
    ("GET", "/exec/([^/]+)/json", _exec_inspect),
    ("POST", "/exec/([^/]+)/resize", _exec_resize),
    ("GET", "/images/json", _images),
    ("GET", "/images/(.+)/json", _image),
    ("POST", "/images/(.+)/tag", _image_tag),
    ("DELETE", "/images/(.+)", _image_delete),
    ("GET", "/networks/([^/]+)", _get_from("networks")),
    ("DELETE", "/networks/([^/]+)", _network_delete),
    ("POST", "/networks/create", _create_in("networks", unique=True)),
    ("GET", "/volumes", _volumes),
    ("POST", "/volumes/create", _create_in("volumes", unique=False)),
    ("GET", "/volumes/([^/]+)", _get_from("volumes")),
    ("DELETE", "/volumes/([^/]+)", _volume_delete),
]
