"""Readiness of an engine, and the choice of a client that works."""

from __future__ import annotations

import socket
import stat
import threading
from pathlib import Path

import pytest

from orchestrator.errors import ToolMissing
from orchestrator.lab import engine
from orchestrator.lab.processes import LabError


@pytest.fixture
def listener(tmp_path):
    """A socket that gives each caller the answer set on it."""
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer(text: bytes) -> Path:
            def once() -> None:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(text)

            threading.Thread(target=once, daemon=True).start()
            return path

        yield answer


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nOK", True),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", False),
        (b"", False),
        (b"200\r\n", False),
    ],
)
def test_only_an_engine_that_says_so_is_ready(listener, answer, ready):
    """Accepting connections is not enough."""
    assert engine.answers(listener(answer)) is ready


def test_a_missing_socket_is_not_ready(tmp_path):
    """Nor is one nobody listens on; waiting ends with the log's last lines."""
    log = tmp_path / "log"
    log.write_text("first\nfailed to start\n")
    assert engine.answers(tmp_path / "none") is False
    with pytest.raises(LabError, match="cannot start the engine of web-1") as failure:
        engine.wait_until_ready(tmp_path / "none", "web-1", log, seconds=0)
    assert failure.value.context == ("first", "failed to start")


def _client(folder: Path, status: int) -> Path:
    folder.mkdir()
    client = folder / "docker"
    client.write_text(f"#!/bin/sh\nexit {status}\n")
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    return client


def test_a_client_that_works_is_chosen(tmp_path, monkeypatch):
    """The first that can build, wherever it is; none is an error that says what to install."""
    broken, working = _client(tmp_path / "a", 1), _client(tmp_path / "b", 0)
    monkeypatch.setattr(engine, "_DEBIAN_CLIENT", str(tmp_path / "absent"))
    monkeypatch.setenv("PATH", f"{broken.parent}:{working.parent}")
    engine.docker_client.cache_clear()
    try:
        assert engine.docker_client() == str(working)
        engine.docker_client.cache_clear()
        monkeypatch.setenv("PATH", str(broken.parent))
        with pytest.raises(ToolMissing) as failure:
            engine.docker_client()
        assert failure.value.hint == "install it with: apt install docker.io"
    finally:
        engine.docker_client.cache_clear()
