"""Layers that arrive on a host: proven, resumed, bounded."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.handler import Refusal
from orchestrator.agent.imaging import spool as module
from orchestrator.agent.imaging.spool import GZIP, TAR, Spool
from orchestrator.protocol.messages import Layer, WantedLayer

CONTENT = b"a layer's tar " * 500


def address(content: bytes) -> str:
    """Return the address of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


BLOB = gzip.compress(CONTENT, mtime=0)
LAYER = Layer(address(CONTENT), address(BLOB), len(BLOB), 0, GZIP, len(CONTENT))


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path)


def receive(spool: Spool, layer: Layer, data: bytes, *, cut: int = 1 << 20, finish: bool = True) -> bytes:
    """Receive ``data`` as the body of ``layer``; return what is handed on."""
    handed: list[bytes] = []
    with spool.receive(layer) as receiver:
        handed += receiver.kept()
        for at in range(0, len(data), cut):
            handed += receiver.take(data[at : at + cut])
        if finish:
            handed.append(receiver.finish())
    return b"".join(handed)


@given(st.integers(0, len(BLOB)), st.integers(1, 500))
def test_a_transfer_goes_on_from_any_byte(stop: int, cut: int) -> None:
    """What has arrived is kept, whatever pieces it came in; what is handed on is the whole layer."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        assert CONTENT.startswith(receive(spool, LAYER, BLOB[:stop], cut=cut, finish=False))
        assert spool.wanted(LAYER.diff_id) == WantedLayer(LAYER.diff_id, LAYER.digest, stop)
        rest = replace(LAYER, offset=stop)
        assert receive(spool, rest, BLOB[stop:], cut=cut) == CONTENT
        # Until the engine has it: it may have to be handed over again.
        assert spool.wanted(LAYER.diff_id) == WantedLayer(LAYER.diff_id, LAYER.digest, LAYER.size)
        assert receive(spool, replace(LAYER, offset=LAYER.size), b"") == CONTENT
        spool.discard(LAYER.diff_id)
        assert list(Path(folder).iterdir()) == []


@given(st.integers(1, 500), st.booleans())
def test_nobody_is_handed_a_whole_layer_before_it_is_proven(cut: int, zipped: bool) -> None:
    """Whatever reads it sees that it ended in the middle, when the last step refuses it."""
    layer = LAYER if zipped else Layer(LAYER.diff_id, LAYER.diff_id, len(CONTENT), 0, TAR)
    with tempfile.TemporaryDirectory() as folder:
        handed = receive(Spool(Path(folder)), layer, BLOB if zipped else CONTENT, cut=cut, finish=False)
        assert len(handed) < len(CONTENT)


def test_an_uncompressed_layer_is_taken_too(spool: Spool) -> None:
    """The digest is the diff id then."""
    assert receive(spool, Layer(LAYER.diff_id, LAYER.diff_id, len(CONTENT), 0, TAR), CONTENT) == CONTENT


@pytest.mark.parametrize(
    "data",
    [BLOB[:-1] + b"\1", BLOB[:-9], BLOB + b"more", gzip.compress(b"other"), b"no gzip at all", b""],
    ids=["last byte", "cut", "longer", "other", "text", "empty"],
)
def test_damaged_content_is_refused_and_not_kept(spool: Spool, tmp_path: Path, data: bytes) -> None:
    """Neither for the engine nor for the next try."""
    with pytest.raises(Refusal) as caught:
        receive(spool, LAYER, data)
    assert caught.value.failure.code == "digest-mismatch"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("plain", [0, len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_layer_of_another_length_is_refused(spool: Spool, tmp_path: Path, plain: int) -> None:
    """The archive says how long it is before it comes."""
    with pytest.raises(Refusal, match="damaged"):
        receive(spool, replace(LAYER, plain=plain), BLOB)
    assert list(tmp_path.iterdir()) == []


def test_another_blob_of_the_layer_starts_anew(spool: Spool, tmp_path: Path) -> None:
    """The controller's cache was emptied and its compression has changed meanwhile."""
    receive(spool, LAYER, BLOB[:50], finish=False)
    other = gzip.compress(CONTENT, 1, mtime=0)
    layer = replace(LAYER, digest=address(other), size=len(other))
    assert receive(spool, layer, other) == CONTENT
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "layer",
    [
        Layer(LAYER.diff_id, LAYER.digest, LAYER.size, 7, GZIP),
        Layer(LAYER.diff_id, LAYER.digest, LAYER.size, 0, "text/plain"),
        Layer("sha256:../../../etc/passwd", LAYER.digest, LAYER.size, 0, GZIP),
        Layer(LAYER.diff_id, "x", LAYER.size, 0, GZIP),
    ],
)
def test_strange_announcements_are_refused(spool: Spool, tmp_path: Path, layer: Layer) -> None:
    """A wrong offset, an unknown form, names that are no addresses."""
    with pytest.raises(Refusal) as caught:
        spool.receive(layer)
    assert caught.value.failure.code == "bad-request"
    assert list(tmp_path.iterdir()) == []


def test_too_large_a_layer_is_refused_before_it_comes(spool: Spool) -> None:
    """It says what is needed and what is there."""
    with pytest.raises(Refusal, match=r"needed, .* free") as caught:
        spool.receive(Layer(LAYER.diff_id, LAYER.digest, 1 << 60, 0, GZIP))
    assert caught.value.failure.code == "no-space"


def test_a_disk_that_fills_up_meanwhile_is_said_so(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what has arrived stays for the next try."""
    receive(spool, LAYER, BLOB[:20], finish=False)
    with (
        spool.receive(replace(LAYER, offset=20)) as receiver,
        Path("/dev/full").open("ab", buffering=0) as full,
        monkeypatch.context() as patch,
    ):
        patch.setattr(receiver, "_file", full)
        with pytest.raises(Refusal) as caught:
            list(receiver.take(BLOB[20:30]))
    assert caught.value.failure.code == "no-space"
    assert spool.wanted(LAYER.diff_id).offset == 20


def test_a_bomb_is_inflated_in_small_pieces(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes never become a huge string."""
    content = bytes(20_000_000)
    blob = gzip.compress(content, 9, mtime=0)
    largest = 0
    real = module.bounded

    def measured(inflater: object, data: bytes) -> object:
        nonlocal largest
        for piece in real(inflater, data):
            largest = max(largest, len(piece))
            yield piece

    monkeypatch.setattr(module, "bounded", measured)
    receive(spool, Layer(address(content), address(blob), len(blob), 0, GZIP, len(content)), blob)
    assert 0 < largest <= 1 << 18


def test_old_leftovers_are_swept_and_young_ones_kept(spool: Spool, tmp_path: Path) -> None:
    """A week is long enough to come back."""
    receive(spool, LAYER, BLOB[:50], finish=False)
    old = tmp_path / "old.tar"
    old.write_bytes(b"x")
    folder = tmp_path / ".export-killed"
    folder.mkdir()
    (folder / "layer").write_bytes(b"x")
    before = time.time() - 8 * 24 * 3600
    os.utime(old, (before, before))
    os.utime(folder, (before, before))
    spool.sweep()
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]
