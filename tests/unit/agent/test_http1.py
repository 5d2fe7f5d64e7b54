"""The client's HTTP, held against the standard library's and against answers that make no sense."""

from __future__ import annotations

import contextlib
import http.client
import io
import itertools
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.http1 import Answer, HttpError, send

BODIES = st.binary(max_size=300)


class _Socket:
    """As much of a socket as ``http.client`` reads answers from."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what was received."""
        return io.BufferedReader(io.BytesIO(self._data))


def _chunked(body: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    chunks = [body[start:end] for start, end in itertools.pairwise(edges)]
    told = b"".join(b"%X;x=y\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return b"Transfer-Encoding: chunked\r\n\r\n" + told + b"0\r\nTrailer: x\r\n\r\n"


def _framed(body: bytes, framing: str, cuts: list[int]) -> bytes:
    if framing == "chunks":
        return _chunked(body, cuts)
    return (b"Content-Length: %d\r\n" % len(body) if framing == "length" else b"") + b"\r\n" + body


@given(
    BODIES,
    st.sampled_from(["chunks", "length", "close"]),
    st.lists(st.integers(0, 300), max_size=5),
    st.sampled_from(["200 OK", "404 Not Found", "299", "100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK"]),
    st.integers(1, 400),
)
def test_answers_read_as_the_standard_library_reads_them(
    body: bytes, framing: str, cuts: list[int], status: str, size: int
) -> None:
    """Status, words, headers and body, in whatever pieces."""
    data = f"HTTP/1.1 {status}\r\nX-One:  1 \r\n".encode() + _framed(body, framing, cuts)
    theirs = http.client.HTTPResponse(_Socket(data))  # type: ignore[arg-type]
    theirs.begin()
    ours = Answer(io.BufferedReader(io.BytesIO(data)))
    assert (ours.status, ours.reason) == (theirs.status, theirs.reason)
    assert {name.lower(): value.strip() for name, value in theirs.getheaders()} == ours.headers
    pieces = list(iter(lambda: ours.read1(size), b""))
    assert all(len(piece) <= size for piece in pieces)
    assert b"".join(pieces) == theirs.read() == body
    assert ours.finished
    assert ours.closes == (framing == "close")


@given(BODIES, st.integers(0, 400))
def test_a_body_is_read_by_size(body: bytes, size: int) -> None:
    """Exactly as much as asked for, the rest afterwards."""
    answer = Answer(io.BufferedReader(io.BytesIO(b"HTTP/1.1 200 OK\r\n" + _chunked(body, [3, 7]))))
    assert answer.read(size) == body[:size]
    assert answer.read() == body[size:]


@given(st.integers(0, 200), st.sampled_from(["chunks", "length"]))
def test_an_answer_that_is_cut_off_is_no_answer(cut: int, framing: str) -> None:
    """Never half a body that looks like a whole one."""
    whole = b"HTTP/1.1 200 OK\r\n" + _framed(b"x" * 100, framing, [40])
    data = whole[: min(cut, len(whole) - 1)]
    with pytest.raises(HttpError):
        Answer(io.BufferedReader(io.BytesIO(data))).read()


@given(st.binary(max_size=200), st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]))
def test_nonsense_is_an_error_or_a_body(data: bytes, head: bytes) -> None:
    """No other exception, no hang."""
    with contextlib.suppress(HttpError):
        Answer(io.BufferedReader(io.BytesIO(head + data))).read()


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 1x\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n",
        b"A: b\r\n" * 101,
        b"A: " + b"b" * 70_000,
    ],
)
def test_what_breaks_the_rules_is_refused(head: bytes) -> None:
    """Lengths and chunks that are none, and heads without end."""
    with pytest.raises(HttpError):
        Answer(io.BufferedReader(io.BytesIO(b"HTTP/1.1 200 OK\r\n" + head))).read()


@pytest.mark.parametrize("status", [b"101 Switching Protocols", b"204 No Content", b"304 Not Modified"])
def test_some_answers_have_no_body(status: bytes) -> None:
    """Whatever follows belongs to somebody else."""
    answer = Answer(io.BufferedReader(io.BytesIO(b"HTTP/1.1 " + status + b"\r\n\r\nraw")))
    assert answer.read() == b""
    assert answer.stream.read() == b"raw"


def _sent(*arguments: object) -> bytes:
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            send(ours, *arguments)  # type: ignore[arg-type]
        return b"".join(iter(lambda: theirs.recv(65536), b""))


def test_requests_say_how_long_they_are() -> None:
    """By a length, or piece by piece."""
    assert _sent("GET", "/a?b=c", {"Host": "h"}) == (
        b"GET /a?b=c HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: h\r\n\r\n"
    )
    assert _sent("POST", "/", {}).endswith(b"\r\nContent-Length: 0\r\n\r\n")
    assert _sent("POST", "/", {}, b"xyz").endswith(b"\r\nContent-Length: 3\r\n\r\nxyz")
    assert _sent("POST", "/", {}, iter([b"xyz", b"", b"0" * 16])).endswith(
        b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nxyz\r\n10\r\n" + b"0" * 16 + b"\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize("target", ["", "/a b", "/a\r\nX: y", "/\u00e4"])
def test_a_target_cannot_smuggle_anything_in(target: str) -> None:
    """A health check's path comes from a spec."""
    with pytest.raises(ValueError, match="over HTTP"):
        _sent("GET", target, {})


def test_a_server_that_has_seen_enough_is_heard() -> None:
    """It answers and hangs up while the request is still being sent."""
    ours, theirs = socket.socketpair()
    with ours, ours.makefile("rb") as stream:

        def answer() -> None:
            with theirs:
                theirs.recv(100)
                theirs.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
                theirs.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=answer)
        thread.start()
        send(ours, "POST", "/", {}, iter(lambda: b"x" * 65536, b""))
        assert Answer(stream).status == 413
        thread.join()
