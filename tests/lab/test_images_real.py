"""Building, saving and loading images with real engines: one that builds, one that only receives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import engines
from support.loopback import LoopbackSession

from orchestrator.agent.engine import Engine
from orchestrator.agent.handlers import FUNCTIONS, on_demand
from orchestrator.agent.imaging import buildkit
from orchestrator.agent.imaging.spool import TAR
from orchestrator.agent.imaging.store import ImageStore, chain_ids
from orchestrator.agent.paths import Paths
from orchestrator.errors import BuildFailed
from orchestrator.events import BuildFinished, BuildOutput
from orchestrator.images.builder import Builder
from orchestrator.images.dag import recipes
from orchestrator.images.shipping import ship
from orchestrator.images.source import LayerSource, diff_ids
from orchestrator.images.store import Store
from orchestrator.ports import RequestFailed
from orchestrator.protocol.layers import LayerBegins, LayerReader, header
from orchestrator.protocol.messages import FindImage, Layer, LayersWanted, Pull, WantedLayer
from orchestrator.spec.model import Image

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(bool(engines.missing()), reason=engines.missing() or "engines can be started"),
]

BUSYBOX = Path("/bin/busybox")
BIG = 3_000_000
HANDLERS = {method: on_demand(function) for method, function in FUNCTIONS.items()}


@pytest.fixture(scope="module")
def builder_engine() -> Iterator[Path]:
    """Socket of the engine that builds."""
    with engines.engine() as socket:
        yield socket


@pytest.fixture(scope="module")
def target_engine() -> Iterator[Path]:
    """Socket of the engine that only receives images."""
    with engines.engine() as socket:
        yield socket


class World:
    """A project, a builder, a host and the store between them."""

    def __init__(self, folder: Path, builder: Path, target: Path) -> None:
        self.folder = folder
        self.builder = LoopbackSession("builder", HANDLERS, Paths(folder / "builder"), Engine(str(builder)))
        self.target = LoopbackSession("target", HANDLERS, Paths(folder / "target"), Engine(str(target)))
        self.store = Store(folder / "cache")
        self.source = LayerSource(self.store, lambda _image: [self.builder])
        self.events: list[Any] = []
        self.images = {
            "base": Image.model_validate({"build": "base"}),
            "app": Image.model_validate({"build": {"context": "app", "from": "base"}}),
        }
        self.write("base/Dockerfile", "FROM scratch\nCOPY big /big\n")
        self.write("base/big", os.urandom(BIG))
        self.write("app/Dockerfile", 'FROM base\nCOPY --chown=5:6 page /page\nCMD ["/page"]\n')
        self.write("app/page", os.urandom(10_000))

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the project."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def build(self, project: str = "shop") -> dict[str, str]:
        """Build what is not known and return image ids by name."""
        found = recipes(self.images, self.folder, self.store.contexts)
        builder = Builder(lambda: self.builder, self.store, project=project, listener=self.events.append)
        ids = builder.build(found, self.store.known())
        return {recipe.name: ids[recipe.key] for recipe in found}

    def ship(self, image: str, **options: Any) -> int:
        """Ship an image to the target."""
        return ship(self.target, self.source, image, "shop", 1, **options)

    def inspect(self, session: LoopbackSession, image: str) -> dict[str, Any]:
        """Return the engine's inspect."""
        assert session._engine is not None
        return dict(session._engine.get(f"/images/{image}/json"))

    def loaded(self, image: str) -> list[str]:
        """Return what the target's engine has of an image: its id, the chain ids of its layers."""
        engine = self.target._engine
        assert engine is not None
        config = self.store.config(image)
        assert config is not None
        known = [found["Id"] for found in engine.get("/images/json", {"all": True})]
        store = ImageStore.of(engine)
        chains = [chain for chain in chain_ids(diff_ids(config)) if store.has_layer(chain)]
        return [found for found in known if found == image] + chains


@pytest.fixture
def world(tmp_path: Path, builder_engine: Path, target_engine: Path) -> Iterator[World]:
    """A project of two images, the second on the first."""
    made = World(tmp_path, builder_engine, target_engine)
    yield made
    _settled(tmp_path)
    made.builder.close()
    made.target.close()


def test_a_chain_is_built_once_and_only_a_changed_part_again(world: World) -> None:
    """Content addresses on this machine and on the builder."""
    first = world.build()
    assert diff_ids(str(world.store.config(first["app"])))[:1] == diff_ids(
        str(world.store.config(first["base"]))
    )
    requests = len(world.builder.requests)
    assert world.build() == first
    assert len(world.builder.requests) == requests
    world.store = Store(world.folder / "another cache")
    assert world.build() == first
    assert all(isinstance(request, FindImage) for request in world.builder.requests[requests:])
    world.write("app/page", "changed")
    second = world.build()
    assert second["base"] == first["base"]
    assert second["app"] != first["app"]
    assert world.events[-1].cached is False


def test_only_missing_layers_travel(world: World) -> None:
    """A small change on a large base is a small transfer, and the image that arrives has the same id."""
    images = world.build()
    assert world.ship(images["app"]) > BIG
    tags = world.inspect(world.target, images["app"])["RepoTags"]
    assert tags == world.inspect(world.builder, images["app"])["RepoTags"]
    assert world.ship(images["app"]) == 0
    world.write("app/page", os.urandom(10_000))
    changed = world.build()["app"]
    assert 10_000 < world.ship(changed) < 12_500
    assert world.inspect(world.target, changed)["Id"] == changed
    assert not list((world.folder / "target" / "layers").glob("*.tar"))


def test_an_interrupted_transfer_goes_on(world: World) -> None:
    """What has arrived is kept; nothing is half-loaded."""
    images = world.build()
    sent: list[int] = []

    def interrupt(phase: str, done: int, _total: int) -> None:
        sent.append(done)
        if phase == "sending" and done > BIG // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.ship(images["app"], on_progress=interrupt)
    parts = _settled(world.folder / "target" / "layers")
    assert parts > BIG // 10
    with pytest.raises(Exception, match=r"[Nn]o such image"):
        world.inspect(world.target, images["app"])
    assert world.ship(images["app"]) < BIG + 20_000 - parts + 5_000
    assert world.inspect(world.target, images["app"])["Id"] == images["app"]


@pytest.mark.parametrize("cut", [0, 1, 600, 100_000])
def test_a_damaged_layer_never_reaches_the_engine(world: World, cut: int) -> None:
    """The archive breaks off inside of it, however near its end; the next try starts anew."""
    images = world.build()
    real = LayerSource.blobs

    @contextlib.contextmanager
    def damaged(source: LayerSource, image: str, wanted: LayersWanted) -> Iterator[Iterator[bytes]]:
        with real(source, image, wanted) as pieces:
            data = bytearray(b"".join(pieces))
            data[-1 - cut] ^= 1
            yield iter((bytes(data),))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayerSource, "blobs", damaged)
        with pytest.raises(RequestFailed) as caught:
            world.ship(images["app"])
    assert caught.value.failure.code == "digest-mismatch"
    assert not world.loaded(images["app"])
    assert world.ship(images["app"])
    assert len(world.loaded(images["app"])) == 3


def test_a_layer_of_other_content_is_refused_by_the_engine(world: World) -> None:
    """Its blob is whole, its diff id is another: nothing of it stays, on either side."""
    images = world.build()
    real = LayerSource.blobs

    @contextlib.contextmanager
    def exchanged(source: LayerSource, image: str, wanted: LayersWanted) -> Iterator[Iterator[bytes]]:
        with real(source, image, wanted) as pieces:
            first = next(iter(LayerReader().receive(b"".join(pieces))))
        assert isinstance(first, LayerBegins)
        content = bytes(10_240)
        other = Layer(
            first.layer.diff_id, f"sha256:{hashlib.sha256(content).hexdigest()}", len(content), 0, TAR
        )
        begun = [header(other), content]
        for want in wanted.wanted[1:]:
            begun += [header(replace(other, diff_id=want.diff_id)), content]
        yield iter(begun)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayerSource, "blobs", exchanged)
        with pytest.raises(RequestFailed, match="invalid diffID"):
            world.ship(images["app"])
    assert not world.loaded(images["app"])
    assert not list((world.folder / "target" / "layers").glob("*.part"))


def _settled(folder: Path) -> int:
    """Return the bytes that were kept, once the interrupted handler has ended."""
    for thread in threading.enumerate():
        if thread.name.startswith("handler"):
            thread.join(10)
    return sum(file.stat().st_size for file in folder.glob("*.part"))


def test_many_hosts_cost_one_read_and_one_compression(world: World) -> None:
    """Eight that ask at the same time wait for the same blob."""
    images = world.build()
    offer = world.source.offer(images["app"])
    wanted = LayersWanted(tuple(WantedLayer(diff_id) for diff_id in diff_ids(offer.config)))
    before = len(world.builder.requests)
    results: list[bytes] = []

    def read() -> None:
        with world.source.blobs(images["app"], wanted) as pieces:
            results.append(b"".join(pieces))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 8
    assert len(set(results)) == 1
    assert len(world.builder.requests) == before + 1


def test_the_engines_export_gives_the_same_layers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its files cannot be read."""
    images = world.build()
    with monkeypatch.context() as patch:
        patch.setattr(ImageStore, "config", lambda *_: None)
        patch.setattr(ImageStore, "readable", False)
        patch.setattr("orchestrator.agent.imaging.store._OVERLAY", ())
        world.ship(images["app"])
    assert world.inspect(world.target, images["app"])["Id"] == images["app"]


def test_a_host_whose_files_cannot_be_read_still_takes_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine is asked for its images instead: an agent without root, say."""
    world.ship(world.build()["app"])
    world.write("app/page", os.urandom(10_000))
    changed = world.build()["app"]
    monkeypatch.setattr(ImageStore, "readable", False)
    assert world.ship(changed) < 12_500
    assert world.inspect(world.target, changed)["Id"] == changed


@pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox-static is not installed")
def test_an_interrupt_ends_a_step_that_says_nothing(world: World) -> None:
    """The engine stops it too: nothing goes on behind the user's back."""
    shutil.copy(BUSYBOX, world.folder / "base" / "sleep")
    world.write("base/Dockerfile", 'FROM scratch\nCOPY sleep /sleep\nRUN ["/sleep", "600"]\n')

    def listen(event: Any) -> None:
        if isinstance(event, BuildOutput) and "Running in" in event.line:
            os.kill(os.getpid(), signal.SIGINT)

    found = recipes(world.images, world.folder)
    builder = Builder(lambda: world.builder, world.store, project="shop", listener=listen)
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        builder.build(found, {})
    assert time.monotonic() - begun < 30
    assert world.builder._engine is not None
    assert not any(item["State"] == "running" for item in world.builder._engine.get("/containers/json"))


def test_a_failed_build_shows_the_builders_words_and_the_line(world: World) -> None:
    """And names the image."""
    world.write("app/Dockerfile", "FROM base\n\n# a comment\nCOPY missing /page\n")
    with pytest.raises(BuildFailed, match=r"image app did not build at .*Dockerfile:4: .*missing") as caught:
        world.build()
    assert any("COPY missing" in line for line in caught.value.context)


def test_a_pull_that_fails_is_explained(world: World) -> None:
    """No registry is reachable here."""
    world.images = {"cache": Image.model_validate("127.0.0.1:1/none:1")}
    with pytest.raises(BuildFailed, match=r"cannot pull 127\.0\.0\.1:1/none:1 for image cache"):
        world.build()


def test_a_pull_by_digest_of_something_unknown_fails_in_the_engines_words(world: World) -> None:
    """The failure has a stable code."""
    reference = "127.0.0.1:1/none@sha256:" + "0" * 64
    with pytest.raises(RequestFailed) as caught:
        world.builder.request(Pull(reference)).result()
    assert caught.value.failure.code == "engine"


@pytest.mark.skipif(not BUSYBOX.exists(), reason="busybox-static is not installed")
def test_buildkit_builds_what_only_it_understands(world: World) -> None:
    """A mount in `RUN`, on an image of the spec, with the host's own network."""
    engine = world.builder._engine
    assert engine is not None
    if (
        buildkit.find_command({"PATH": os.environ["PATH"], "DOCKER_HOST": f"unix://{engine.socket_path}"})
        is None
    ):
        pytest.skip("no docker command here has BuildKit")
    shutil.copy(BUSYBOX, world.folder / "base" / "busybox")
    world.write("base/Dockerfile", "FROM scratch\nCOPY busybox /bin/sh\nCOPY big /big\n")
    world.write(
        "app/Dockerfile",
        "FROM base\nCOPY page /page\nRUN --mount=type=tmpfs,target=/scratch echo built > /made\n",
    )
    images = world.build()
    assert any("echo built" in event.line for event in world.events if isinstance(event, BuildOutput))
    world.ship(images["app"])
    assert world.inspect(world.target, images["app"])["Id"] == images["app"]


def test_a_parent_that_another_project_has_built_is_used(world: World) -> None:
    """The same inputs are the same image; its children find it by the name of their own project."""
    images = world.build()
    world.events.clear()
    world.store = Store(world.folder / "another cache")
    world.write("app/page", "of another project")
    assert world.build("blog")["base"] == images["base"]
    assert {event.image for event in world.events if isinstance(event, BuildOutput)} == {"app"}


def test_a_parent_that_lost_its_name_is_built_again(world: World) -> None:
    """Somebody removed the tag on the builder; the builder's own cache makes it cheap."""
    images = world.build()
    engine = world.builder._engine
    assert engine is not None
    (tag,) = world.inspect(world.builder, images["base"])["RepoTags"]
    engine.post(f"/images/{images['base']}/tag", {"repo": "kept", "tag": "1"})
    engine.delete(f"/images/{tag}")
    world.write("app/page", "changed again")
    assert world.build()["base"] == images["base"]
    assert tag in world.inspect(world.builder, images["base"])["RepoTags"]


def test_what_a_failed_build_leaves_is_not_mistaken_for_its_parent(world: World) -> None:
    """A half-built child carries the label of the image it stands on."""
    images = world.build()
    world.write("app/Dockerfile", "FROM base\nCOPY page /page\nENV A=b\nCOPY missing /missing\n")
    with pytest.raises(BuildFailed):
        world.build()
    world.store = Store(world.folder / "another cache")
    world.write("app/Dockerfile", "FROM base\nCOPY page /other\n")
    assert world.build()["base"] == images["base"]


def test_a_wrong_configuration_is_refused(world: World) -> None:
    """The id is the hash of the configuration."""
    images = world.build()
    offer = replace(world.source.offer(images["app"]), config="{}")
    with pytest.raises(RequestFailed) as caught:
        world.target.request(offer).result()
    assert caught.value.failure.code == "digest-mismatch"


def test_a_full_disk_says_how_much_is_needed(world: World, tmp_path: Path) -> None:
    """And leaves the engine as it was."""
    images = world.build()
    layers = tmp_path / "target" / "layers"
    layers.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(layers)], check=True)
    try:
        with pytest.raises(RequestFailed, match=r"needed, \d+\.\d MB free") as caught:
            world.ship(images["app"])
        _settled(layers)
    finally:
        subprocess.run(["umount", str(layers)], check=True)
    assert caught.value.failure.code == "no-space"


def test_finished_events_carry_ids(world: World) -> None:
    """What the report shows is what was made."""
    images = world.build()
    finished = {event.image: event.id for event in world.events if isinstance(event, BuildFinished)}
    assert finished == images
