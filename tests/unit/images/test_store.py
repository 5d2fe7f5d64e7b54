"""The store on this machine heals itself and gives back what went in."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.images import compress
from orchestrator.images.store import DigestMismatchError, Store, default_root

CONTENT = b"layer " * 1000


def address(content: bytes) -> str:
    """Return the address of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


@given(st.binary(max_size=5000), st.integers(1, 3), st.integers(1, 700))
def test_compression_is_deterministic_and_reversible(content: bytes, threads: int, cut: int) -> None:
    """Neither threads nor how the content arrives matter."""
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]
    packed = b"".join(compress.gzip(pieces, len(content), threads))
    assert gzip.decompress(packed) == content
    assert packed == b"".join(compress.gzip([content], len(content), 1))


def test_many_blocks_make_one_gzip_member() -> None:
    """Blocks primed with what came before them join without a seam."""
    content = os.urandom(20_000) * 150
    packed = b"".join(compress.gzip([content], len(content), 2))
    assert gzip.decompress(packed) == content
    assert len(packed) < len(content) / 20


def test_layers_come_back(store: Store) -> None:
    """Under their diff id, as the blob that travels."""
    layer = store.add_layer(address(CONTENT), [CONTENT], len(CONTENT))
    assert store.layer(address(CONTENT)) == layer
    with store.open(layer) as file:
        assert gzip.decompress(file.read()) == CONTENT


@pytest.mark.parametrize(
    ("content", "size"), [(CONTENT + b"x", len(CONTENT)), (CONTENT[:-1], len(CONTENT)), (b"y", 1)]
)
def test_wrong_content_is_refused_and_leaves_nothing(store: Store, content: bytes, size: int) -> None:
    """Too long, too short, or something else."""
    with pytest.raises(DigestMismatchError):
        store.add_layer(address(CONTENT), [content], size)
    assert store.layer(address(CONTENT)) is None
    assert list((store.root / "blobs").iterdir()) == []


@pytest.mark.parametrize("damage", ["layers", "blobs"])
def test_damaged_layers_are_dropped(store: Store, damage: str) -> None:
    """A truncated file is not a layer."""
    store.add_layer(address(CONTENT), [CONTENT], len(CONTENT))
    (file,) = (store.root / damage).iterdir()
    file.write_bytes(b"{")
    assert store.layer(address(CONTENT)) is None
    assert store.add_layer(address(CONTENT), [CONTENT], len(CONTENT)) == store.layer(address(CONTENT))


def test_records_come_back_and_damaged_ones_go(store: Store) -> None:
    """A record is believed only under its own name."""
    image = address(b"image")
    store.record("key", image)
    store.record("redis:7", image)
    assert store.known() == {"key": image, "redis:7": image}
    (store.root / "records" / hashlib.sha256(b"key").hexdigest()).write_text('{"key": "other", "image": "x"}')
    assert store.image("key") == ""
    assert store.known() == {"redis:7": image}
    store.forget("redis:7")
    assert store.image("redis:7") == ""


def test_configurations_are_verified(store: Store) -> None:
    """Going in and coming out."""
    image = address(b"{}")
    with pytest.raises(DigestMismatchError):
        store.add_config(image, "{ }")
    store.add_config(image, "{}")
    assert store.config(image) == "{}"
    (store.root / "configs" / image.removeprefix("sha256:")).write_text("[]")
    assert store.config(image) is None


@pytest.mark.parametrize("bad", ["", "sha256:../../etc/passwd", "../x", "sha256:" + "A" * 64])
def test_strange_addresses_never_become_paths(store: Store, bad: str) -> None:
    """Addresses come from hosts."""
    with pytest.raises(DigestMismatchError):
        store.layer(bad)
    with pytest.raises(DigestMismatchError):
        store.config(bad)


def test_the_oldest_blobs_are_pruned_first(store: Store) -> None:
    """And leftovers of killed processes with them."""
    layers = []
    for at in range(3):
        content = os.urandom(1000)
        layer = store.add_layer(address(content), [content], len(content))
        os.utime(store.root / "blobs" / layer.digest.removeprefix("sha256:"), (at, at))
        layers.append(layer)
    leftover = store.root / "blobs" / ".tmp-killed"
    leftover.write_bytes(b"x" * 10)
    os.utime(leftover, (1, 1))
    assert store.prune(layers[2].size) == layers[0].size + layers[1].size + 10
    assert [store.layer(layer.diff_id) for layer in layers] == [None, None, layers[2]]


def test_writers_side_by_side_agree(store: Store) -> None:
    """Two that write the same layer leave one blob."""
    threads = [
        threading.Thread(target=store.add_layer, args=(address(CONTENT), [CONTENT], len(CONTENT)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((store.root / "blobs").iterdir())) == 1
    assert store.layer(address(CONTENT)) is not None


def test_the_default_folder_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path there is ignored, as its specification says."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_root() == Path("/somewhere/deploy")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_root() == Path.home() / ".cache" / "deploy"
