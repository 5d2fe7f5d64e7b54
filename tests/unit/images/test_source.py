"""Layers on their way: fetched once, checked, resumed, given to nobody who must not have them."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from support.loopback import LoopbackSession

from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.paths import Paths
from orchestrator.errors import ApplyFailed, ProtocolViolation
from orchestrator.images.shipping import ship, tag_of
from orchestrator.images.source import LayerSource
from orchestrator.images.store import Store
from orchestrator.protocol.layers import LayerBegins, LayerData, LayerReader, header
from orchestrator.protocol.messages import Layer, LayersWanted, Loaded, Saved, WantedLayer

TAR = "application/vnd.oci.image.layer.v1.tar"
LAYERS = tuple(bytes([number]) * 5000 for number in range(3))


def address(content: bytes) -> str:
    """Return the address of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


DIFF_IDS = tuple(address(layer) for layer in LAYERS)
CONFIG = json.dumps({"rootfs": {"type": "layers", "diff_ids": DIFF_IDS}})
IMAGE = address(CONFIG.encode())


class Holder:
    """A host that has the image, and may lie."""

    def __init__(self, folder: Path, **lies: Any) -> None:
        self.lies = lies
        self.saved: list[tuple[str, ...]] = []
        self.session = LoopbackSession("holder", {"save": self.save}, Paths(folder))

    def save(self, params: Any, context: Context) -> Saved:
        """Send the layers asked for."""
        self.saved.append(params.layers)
        if "refuses" in self.lies:
            raise Refusal("not-found", "it is gone")
        for diff_id in params.layers:
            content = self.lies.get("content", LAYERS[DIFF_IDS.index(diff_id)])
            layer = Layer(diff_id, diff_id, self.lies.get("size", len(content)), 0, TAR)
            context.send_body(header(self.lies.get("layer", layer)))
            context.send_body(content)
        context.send_body(self.lies.get("more", b""))
        return Saved(self.lies.get("config", CONFIG))


class Host:
    """A host that takes what it lacks."""

    def __init__(self, folder: Path, wanted: LayersWanted, **lies: Any) -> None:
        self.wanted = wanted
        self.lies = lies
        self.got: dict[str, bytes] = {}
        self.session = LoopbackSession("host", {"load": self.load}, Paths(folder))

    def load(self, params: Any, context: Context) -> Loaded:
        """Take layers."""
        if "refuses" in self.lies:
            raise Refusal("no-space", "the disk is full")
        context.progress(self.wanted)
        reader = LayerReader()
        for piece in context.body():
            for event in reader.receive(piece):
                if isinstance(event, LayerBegins):
                    current = event.layer.diff_id
                    self.got[current] = b""
                elif isinstance(event, LayerData):
                    self.got[current] += event.data
                if "stops" in self.lies:
                    raise Refusal("no-space", "the disk is full")
        reader.close()
        return Loaded(self.lies.get("image", params.image), loaded=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "store")


def everything(*diff_ids: str) -> LayersWanted:
    """Return a wish for whole layers."""
    return LayersWanted(tuple(WantedLayer(diff_id) for diff_id in diff_ids or DIFF_IDS))


def test_a_host_gets_the_layers_it_lacks(store: Store, tmp_path: Path) -> None:
    """Compressed, in its order, and nothing else."""
    holder, host = Holder(tmp_path), Host(tmp_path, everything(*DIFF_IDS[1:]))
    phases: list[str] = []
    source = LayerSource(store, lambda _: [holder.session])
    sent = ship(host.session, source, IMAGE, "shop", 7, on_progress=lambda phase, *_: phases.append(phase))
    assert [gzip.decompress(blob) for blob in host.got.values()] == list(LAYERS[1:])
    assert sent > sum(len(blob) for blob in host.got.values())
    assert list(dict.fromkeys(phases)) == ["compressing", "sending", "loading"]
    (offer,) = host.session.requests
    assert (offer.project, offer.epoch, offer.image) == ("shop", 7, IMAGE)


def test_a_built_image_has_its_name_on_every_host() -> None:
    """Taken from its labels; a pulled one has none."""
    config = json.dumps({"config": {"Labels": {"deploy.image": "api", "deploy.build": "ab" * 32}}})
    assert tag_of(config, "shop") == "deploy.local/shop/api:" + "ab" * 10
    assert [tag_of(text, "shop") for text in ("{}", "", '{"config": {"Labels": null}}', "[]")] == [""] * 4


def test_a_present_image_costs_nothing(store: Store, tmp_path: Path) -> None:
    """No layer is fetched for it."""
    store.add_config(IMAGE, CONFIG)
    host = Host(tmp_path, LayersWanted(present=True))
    assert ship(host.session, LayerSource(store, lambda _: []), IMAGE, "shop", 1) == 0


def test_a_transfer_goes_on_where_it_stopped(store: Store, tmp_path: Path) -> None:
    """Only when the very same blob was under way."""
    source = LayerSource(store, lambda _: [Holder(tmp_path).session])
    whole = store.add_layer(DIFF_IDS[0], [LAYERS[0]], len(LAYERS[0]))
    for partial, offset, expected in [
        (whole.digest, 10, 10), (DIFF_IDS[1], 10, 0), (whole.digest, whole.size + 1, 0),
    ]:  # fmt: skip
        wanted = LayersWanted((WantedLayer(DIFF_IDS[0], partial, offset),))
        with source.blobs(IMAGE, wanted) as pieces:
            data = b"".join(pieces)
            assert pieces.total == len(data) > whole.size - expected
        events = list(LayerReader().receive(data))
        assert isinstance(events[0], LayerBegins)
        assert events[0].layer.offset == expected


def test_eight_hosts_cost_one_fetch(store: Store, tmp_path: Path) -> None:
    """The others wait for the first."""
    holder = Holder(tmp_path)
    source = LayerSource(store, lambda _: [holder.session])
    source.offer(IMAGE)
    hosts = [Host(tmp_path, everything()) for _ in range(8)]
    threads = [threading.Thread(target=ship, args=(host.session, source, IMAGE, "shop", 1)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert all([gzip.decompress(blob) for blob in host.got.values()] == list(LAYERS) for host in hosts)
    assert sorted(layer for saved in holder.saved for layer in saved) == sorted(DIFF_IDS)


def test_another_holder_is_asked_when_one_fails(store: Store, tmp_path: Path) -> None:
    """And the failure of the first is told only when nobody has it."""
    gone, holder = Holder(tmp_path, refuses=True), Holder(tmp_path)
    source = LayerSource(store, lambda _: [gone.session, holder.session])
    host = Host(tmp_path, everything())
    assert ship(host.session, source, IMAGE, "shop", 1) > 0
    alone = LayerSource(Store(tmp_path / "other"), lambda _: [gone.session])
    with pytest.raises(ApplyFailed, match="cannot find all of image") as caught:
        alone.offer(IMAGE)
    assert caught.value.context == ("holder: it is gone",)


@pytest.mark.parametrize(
    "lies",
    [
        {"content": b"something else"},
        {"size": 10},
        {"size": 1 << 40},
        {"more": b"\0\0\0\1x"},
        {"more": b"\xff\xff\xff\xff"},
        {"config": "{}"},
        {"layer": Layer(DIFF_IDS[0], DIFF_IDS[1], 5000, 0, TAR)},
        {"layer": Layer("sha256:../../x", "sha256:../../x", 5000, 0, TAR)},
    ],
)
def test_a_holder_that_lies_is_found_out(store: Store, tmp_path: Path, lies: dict[str, Any]) -> None:
    """Nothing of it is kept, and the message blames the host."""
    store.add_config(IMAGE, CONFIG)
    source = LayerSource(store, lambda _: [Holder(tmp_path, **lies).session])
    with source.blobs(IMAGE, everything(DIFF_IDS[0])) as pieces:
        if set(lies) & {"more", "config"}:
            b"".join(pieces)
        else:
            with pytest.raises(ApplyFailed, match="cannot find all of image") as caught:
                b"".join(pieces)
            assert "holder" in caught.value.context[0]
            assert not list((store.root / "blobs").iterdir())


def test_a_host_gets_no_layers_of_other_images(store: Store, tmp_path: Path) -> None:
    """It could read what was never meant for it."""
    store.add_config(IMAGE, CONFIG)
    host = Host(tmp_path, everything(address(b"secret layer")))
    with pytest.raises(ProtocolViolation, match="none of image"):
        ship(host.session, LayerSource(store, lambda _: []), IMAGE, "shop", 1)


@pytest.mark.parametrize("lie", ["refuses", "stops"])
def test_a_refusal_ends_the_transfer_with_its_reason(store: Store, tmp_path: Path, lie: str) -> None:
    """At once or in the middle."""
    host = Host(tmp_path, everything(), **{lie: True})
    source = LayerSource(store, lambda _: [Holder(tmp_path).session])
    with pytest.raises(Exception, match="the disk is full"):
        ship(host.session, source, IMAGE, "shop", 1)


def test_a_host_that_loads_something_else_is_not_trusted(store: Store, tmp_path: Path) -> None:
    """The id is what the plan named."""
    host = Host(tmp_path, everything(), image=address(b"other"))
    source = LayerSource(store, lambda _: [Holder(tmp_path).session])
    with pytest.raises(ProtocolViolation, match="something else"):
        ship(host.session, source, IMAGE, "shop", 1)


def test_an_image_nobody_has_is_forgotten(store: Store, tmp_path: Path) -> None:
    """So that the next run builds it again instead of failing again."""
    store.record("build digest", IMAGE)
    store.record("another", address(b"another"))
    with pytest.raises(ApplyFailed) as caught:
        LayerSource(store, lambda _: [Holder(tmp_path, refuses=True).session]).offer(IMAGE)
    assert "run it again" in (caught.value.hint or "")
    assert list(store.known()) == ["another"]


def test_a_damaged_blob_is_dropped(store: Store, tmp_path: Path) -> None:
    """The next run fetches it anew."""
    store.add_config(IMAGE, CONFIG)
    layer = store.add_layer(DIFF_IDS[0], [LAYERS[0]], len(LAYERS[0]))
    blob = store.root / "blobs" / layer.digest.removeprefix("sha256:")
    blob.write_bytes(b"x" * layer.size)
    source = LayerSource(store, lambda _: [])
    with pytest.raises(ApplyFailed, match="damaged"), source.blobs(IMAGE, everything(DIFF_IDS[0])) as pieces:
        b"".join(pieces)
    assert store.layer(DIFF_IDS[0]) is None
