"""The client of the engine's API, against answers that a healthy engine never gives."""

import contextlib
import socket
import struct
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_engine import FakeEngine

from orchestrator.agent import discover
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.hijack import demultiplex


@contextlib.contextmanager
def scripted(*answers: bytes):
    """A server on a unix socket that answers each connection's requests with ``answers``, then hangs up."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        path = str(Path(folder) / "s")
        server.bind(path)
        server.listen()
        received: list[bytes] = []

        def serve() -> None:
            client, _ = server.accept()
            with client:
                for answer in answers:
                    received.append(client.recv(65536))
                    client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        engine = Engine(path, timeout=5)
        engine._version = {"ApiVersion": "1.41"}
        try:
            yield engine, received
        finally:
            engine.close()
            thread.join(5)


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    """Return an HTTP answer."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


def test_one_connection_serves_many_requests():
    """Keep-alive: an observe of a host with fifty containers opens few connections."""
    with scripted(answer(b"1"), answer(b"2"), answer(b"3")) as (engine, received):
        assert [engine.get("/a"), engine.get("/b"), engine.get("/c")] == [1, 2, 3]
        assert len(received) == 3


@pytest.mark.parametrize(
    ("engine_api", "least", "ours"),
    [("1.41", "1.12", "1.41"), ("1.99", "1.24", "1.44"), ("1.52", "1.47", "1.47"), ("1.41", None, "1.41")],
)
def test_the_version_is_negotiated(engine_api, least, ours):
    """As new as both sides know, and never older than the engine takes."""
    engine = Engine("/nowhere")
    engine._version = {"ApiVersion": engine_api, "MinAPIVersion": least}
    assert engine.api == ours
    assert engine.url("/a b/json", {"all": True, "f": {"x": ["y=z"]}, "no": None}) == (
        f"/v{ours}/a%20b/json?all=1&f=%7B%22x%22%3A+%5B%22y%3Dz%22%5D%7D"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "No such container: x"}', "No such container: x"),
        (b'{"cause": "podman says so"}', "podman says so"),
        (b"plain words", "plain words"),
        (b"", "status 404"),
        (b"[]", "[]"),
    ],
)
def test_refusals_carry_the_engines_words(body, message):
    """Whatever their form."""
    with scripted(answer(body, "404 Not Found")) as (engine, _), pytest.raises(EngineError) as refused:
        engine.get("/containers/x/json")
    assert refused.value.status == 404
    assert refused.value.not_found
    assert refused.value.message == message


@pytest.mark.parametrize("nonsense", [b"", b"\x00\x01", b"HTTP/1.1 banana\r\n\r\n", answer(b"{not json")])
def test_nonsense_is_an_error_of_the_engine(nonsense):
    """No other exception comes out, whatever the engine sends."""
    with scripted(nonsense) as (engine, _), pytest.raises(EngineError):
        engine.get("/info")


def test_a_missing_socket_is_an_error_with_status_0(tmp_path):
    """Nobody answered at all."""
    with pytest.raises(EngineError) as refused:
        Engine(str(tmp_path / "nothing")).get("/info")
    assert refused.value.status == 0


def test_a_refusal_in_the_middle_of_a_body_is_read():
    """A builder that has seen enough answers and hangs up while we still send."""

    def pieces():
        while True:
            yield b"x" * 65536

    with scripted(answer(b'{"message": "bad Dockerfile"}', "400 Bad Request", "Connection: close\r\n")) as (
        engine,
        _,
    ):
        with pytest.raises(EngineError) as refused, engine.stream("POST", "/build", body=pieces()):
            pass
        assert refused.value.message == "bad Dockerfile"


def test_a_silent_engine_times_out():
    """Nobody waits for ever for a short answer."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        engine = Engine(f"{folder}/s")
        engine._version = {"ApiVersion": "1.41"}
        with pytest.raises(EngineError, match="in time"):
            engine.get("/info", timeout=0.05)


def test_documents_and_lines_come_as_they_arrive():
    """One JSON document a line, in whatever pieces."""
    chunks = [b'{"a": 1}\n{"b"', b": 2}\n", b"\n", b'{"c": 3}']
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with scripted(head + body) as (engine, _), engine.stream("POST", "/build") as response:
        assert list(response.documents()) == [{"a": 1}, {"b": 2}, {"c": 3}]
        assert response.finished


def test_an_abort_ends_a_read_in_another_thread():
    """How a following request is cancelled."""
    with FakeEngine() as fake:
        engine = Engine(fake.socket_path)
        image = fake.host.add_image(command=("/bin/busybox", "sleep", "1000"))
        fake.host.networks["n"] = {"Name": "n"}
        container = fake.host.create("c", {"Image": image, "HostConfig": {"NetworkMode": "n"}})
        container.start()
        ended = threading.Event()
        with engine.stream(
            "GET", f"/containers/{container.id}/logs", {"follow": True}, timeout=0
        ) as response:

            def read() -> None:
                with contextlib.suppress(EngineError):
                    response.read()
                ended.set()

            thread = threading.Thread(target=read)
            thread.start()
            response.abort()
            assert ended.wait(5)
            thread.join()
        engine.close()


@given(st.lists(st.binary(max_size=300)), st.integers(1, 50))
def test_the_engines_framing_is_undone_in_any_pieces(payloads, size):
    """Both outputs, in order, however the bytes arrive."""
    stream = b"".join(struct.pack(">BxxxL", 1 + i % 2, len(data)) + data for i, data in enumerate(payloads))
    position = 0

    def read(limit: int) -> bytes:
        nonlocal position
        piece = stream[position : position + min(limit, size)]
        position += len(piece)
        return piece

    assert b"".join(demultiplex(read)) == b"".join(payloads)


@given(st.binary(max_size=200))
def test_a_broken_framing_ends_in_an_error_or_an_end(data):
    """Never a hang, never another exception."""
    position = 0

    def read(limit: int) -> bytes:
        nonlocal position
        piece = data[position : position + limit]
        position += len(piece)
        return piece

    with contextlib.suppress(EngineError):
        list(demultiplex(read))


def test_where_an_engine_is_looked_for():
    """DOCKER_HOST alone when it names a unix socket; the user's own engine only for users."""
    assert discover.candidates({"DOCKER_HOST": "unix:///x/y.sock"}, 0) == ("/x/y.sock",)
    assert discover.candidates({"DOCKER_HOST": "tcp://elsewhere:2375"}, 0) == discover.SYSTEM_SOCKETS
    own = discover.candidates({"XDG_RUNTIME_DIR": "/run/user/7"}, 7)
    assert own[-2:] == ("/run/user/7/docker.sock", "/run/user/7/podman/podman.sock")


def test_why_there_is_no_engine(tmp_path):
    """Absent, and there but not listening, are told apart, and so is what to do."""
    with pytest.raises(discover.NoEngineError, match="cannot find") as absent:
        discover.find((str(tmp_path / "none"),))
    assert absent.value.hint == discover.INSTALL
    dead = tmp_path / "dead"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(dead))
    with pytest.raises(discover.NoEngineError, match="not running") as silent:
        discover.find((str(dead),))
    assert silent.value.hint == discover.START


@pytest.mark.parametrize(
    ("version", "system", "name", "store"),
    [
        ({"Components": [{"Name": "Podman Engine"}]}, {}, "podman", "podman"),
        (
            {"Components": [{"Name": "Engine"}]},
            {"DriverStatus": [["Backing Filesystem", "extfs"]]},
            "docker",
            "classic",
        ),
        ({}, {"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]]}, "docker", "containerd"),
        ({}, {"DriverStatus": None}, "docker", "classic"),
    ],
)
def test_what_kind_of_engine_it_is(version, system, name, store):
    """Which decides how layers travel."""
    engine = Engine("/nowhere")
    engine._version, engine._system = {"ApiVersion": "1.41", **version}, system
    info = discover.info(engine)
    assert (info.name, info.image_store) == (name, store)
