"""Layers that arrive on a host: proven, resumed, bounded."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import tempfile
import time
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
LAYER = Layer(address(CONTENT), address(BLOB), len(BLOB), 0, GZIP)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    return Spool(tmp_path)


def receive(spool: Spool, layer: Layer, data: bytes, *, finish: bool = True) -> None:
    """Receive ``data`` as the body of ``layer``."""
    with spool.receive(layer) as receiver:
        receiver.write(data)
        if finish:
            receiver.finish()


@given(st.integers(0, len(BLOB)), st.integers(1, 500))
def test_a_transfer_goes_on_from_any_byte(stop: int, cut: int) -> None:
    """The first part is kept, whatever pieces it came in."""
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder))
        with spool.receive(LAYER) as receiver:
            for at in range(0, stop, cut):
                receiver.write(BLOB[at : min(at + cut, stop)])
        wanted = spool.wanted(LAYER.diff_id)
        assert wanted == WantedLayer(LAYER.diff_id, LAYER.digest, stop)
        receive(spool, Layer(LAYER.diff_id, LAYER.digest, LAYER.size, stop, GZIP), BLOB[stop:])
        assert spool.wanted(LAYER.diff_id) is None
        assert spool.tar(LAYER.diff_id).read_bytes() == CONTENT
        assert [file.suffix for file in Path(folder).iterdir()] == [".tar"]


def test_an_uncompressed_layer_is_taken_too(spool: Spool) -> None:
    """The digest is the diff id then."""
    receive(spool, Layer(LAYER.diff_id, LAYER.diff_id, len(CONTENT), 0, TAR), CONTENT)
    assert spool.wanted(LAYER.diff_id) is None


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


def test_a_blob_of_other_content_is_refused(spool: Spool, tmp_path: Path) -> None:
    """Its digest is right, what it unpacks to is not what was promised."""
    other = gzip.compress(b"other content", mtime=0)
    with pytest.raises(Refusal, match="damaged"):
        receive(spool, Layer(LAYER.diff_id, address(other), len(other), 0, GZIP), other)
    assert list(tmp_path.iterdir()) == []


def test_another_blob_of_the_layer_starts_anew(spool: Spool, tmp_path: Path) -> None:
    """The controller's cache was emptied and its compression has changed meanwhile."""
    receive(spool, LAYER, BLOB[:50], finish=False)
    other = gzip.compress(CONTENT, 1, mtime=0)
    receive(spool, Layer(LAYER.diff_id, address(other), len(other), 0, GZIP), other)
    assert [file.suffix for file in tmp_path.iterdir()] == [".tar"]


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
    with spool.receive(LAYER) as receiver:
        receiver.write(BLOB[:20])
        with monkeypatch.context() as patch:

            def full(_data: bytes) -> None:
                raise OSError(errno.ENOSPC, "full")

            patch.setattr(receiver, "_take", full)
            with pytest.raises(Refusal) as caught:
                receiver.write(BLOB[20:30])
    assert caught.value.failure.code == "no-space"
    wanted = spool.wanted(LAYER.diff_id)
    assert wanted is not None
    assert wanted.offset == 30


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
    receive(spool, Layer(address(content), address(blob), len(blob), 0, GZIP), blob)
    assert 0 < largest <= 1 << 18


def test_old_leftovers_are_swept_and_young_ones_kept(spool: Spool, tmp_path: Path) -> None:
    """A week is long enough to come back; what was half inflated by a killed agent is of no use at all."""
    receive(spool, LAYER, BLOB[:50], finish=False)
    (tmp_path / "killed.tmp").write_bytes(b"x")
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
