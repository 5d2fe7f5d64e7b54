"""The order of builds, what is asked of the builder, and how a failure looks."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from support.loopback import LoopbackSession

from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.paths import Paths
from orchestrator.errors import BuildFailed, HostNotReady, ProtocolViolation, RequestError
from orchestrator.events import BuildFinished, BuildOutput
from orchestrator.images.builder import Builder
from orchestrator.images.dag import recipes
from orchestrator.images.store import Store
from orchestrator.protocol.messages import Built, Found
from orchestrator.spec.model import Image


class Engine:
    """A builder that remembers what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.built: list[str] = []
        self.names: dict[str, str] = {}
        self.dockerfiles: dict[str, str] = {}
        self.has: dict[str, Built] = {}
        self.fails: dict[str, Refusal] = {}
        self.layers: dict[str, tuple[str, ...]] = {}
        self.together = threading.Barrier(1)
        handlers = {"find": self.find, "build": self.build, "pull": self.pull}
        self.session = LoopbackSession("builder", handlers, Paths(folder))

    def find(self, params: Any, _: Context) -> Found:
        """Look a build up."""
        self.names[params.build] = params.tag
        return Found(self.has.get(params.build))

    def build(self, params: Any, context: Context) -> Built:
        """Pretend to build."""
        with tarfile.open(fileobj=io.BytesIO(b"".join(context.body()))) as tar:
            file = tar.extractfile(params.dockerfile)
            assert file is not None
            self.dockerfiles[params.name] = file.read().decode()
        self.together.wait(10)
        context.send_body(b"Step 1/2 : FROM x\nStep 2/2 : CO")
        context.send_body(b"PY y /\n")
        if params.name in self.fails:
            raise self.fails[params.name]
        self.built.append(params.name)
        layers = self.layers.get(params.name, ())
        config = json.dumps({"build": params.build, "rootfs": {"diff_ids": layers}})
        self.has[params.build] = image(config)
        return self.has[params.build]

    def pull(self, params: Any, _: Context) -> Built:
        """Pretend to pull."""
        if params.reference in self.fails:
            raise self.fails[params.reference]
        return image(params.reference)


def image(seed: str) -> Built:
    """Return an image whose id is that of its configuration."""
    return Built(f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}", seed)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """A builder."""
    return Engine(tmp_path / "agent")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One image on two others."""
    for name, text in {
        "a": "FROM scratch\n",
        "b": "FROM scratch\n",
        "c": "FROM a\n\nCOPY --from=b /x /x\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(text)
        (tmp_path / name / "file").write_text(name)
    return tmp_path


SPEC = {name: Image.model_validate({"build": name}) for name in "cba"}


def build(project: Path, engine: Engine, images: dict[str, Image] = SPEC, **options: Any) -> dict[str, str]:
    """Build and return ids by name."""
    store = Store(project / "store")
    found = recipes(images, project)
    ids = Builder(lambda: engine.session, store, project="shop", **options).build(found, store.known())
    return {recipe.name: ids[recipe.key] for recipe in found}


def test_independent_images_are_built_at_the_same_time_and_children_after(
    project: Path, engine: Engine
) -> None:
    """Parents have their exact names in the Dockerfile that travels."""
    engine.together = threading.Barrier(2)
    only = {name: SPEC[name] for name in "ab"}
    build(project, engine, only)
    engine.together = threading.Barrier(1)
    build(project, engine)
    assert sorted(engine.built[:2]) == ["a", "b"]
    assert engine.built[2:] == ["c"]
    names = {recipe.name: recipe.build[:20] for recipe in recipes(SPEC, project)}
    assert engine.dockerfiles["c"] == (
        f"FROM deploy.local/shop/a:{names['a']}\n\nCOPY --from=deploy.local/shop/b:{names['b']} /x /x\n"
    )


def test_a_parent_the_builder_has_is_asked_for_by_the_name_its_children_use(
    project: Path, engine: Engine
) -> None:
    """Whoever built it may have called it by the name of another project."""
    build(project, engine)
    builds = {recipe.name: recipe.build for recipe in recipes(SPEC, project)}
    assert engine.names[builds["a"]] == f"deploy.local/shop/a:{builds['a'][:20]}"


def test_layers_a_build_has_made_are_told(project: Path, engine: Engine) -> None:
    """Without those of its parents, and not for images the builder had already."""
    engine.layers = {"a": ("1",), "b": ("2",), "c": ("1", "2", "3")}
    made: dict[str, tuple[str, ...]] = {}
    first = build(project, engine, on_built=made.__setitem__)
    assert {name: made[id_] for name, id_ in first.items()} == {"a": ("1",), "b": ("2",), "c": ("3",)}
    made.clear()
    other = Store(project / "another store")
    Builder(lambda: engine.session, other, project="shop", on_built=made.__setitem__).build(
        recipes(SPEC, project), {}
    )
    assert made == {}


def test_nothing_to_build_needs_no_builder(project: Path, engine: Engine) -> None:
    """Not even a connection."""
    first = build(project, engine)
    found = recipes(SPEC, project)
    builder = Builder(lambda: pytest.fail("connected"), Store(project / "store"), project="shop")
    assert (
        builder.build(found, Store(project / "store").known()).items()
        >= {recipe.key: first[recipe.name] for recipe in found}.items()
    )


def test_what_nobody_wants_is_not_built(project: Path, engine: Engine) -> None:
    """A new machine knows the id of an image from the hosts that run it, and needs none of its parents."""
    found = {recipe.name: recipe for recipe in recipes(SPEC, project)}
    builder = Builder(lambda: engine.session, Store(project / "store"), project="shop")
    known = {found["c"].key: "sha256:" + "1" * 64}
    assert builder.build(found.values(), known, ["c"]) == known
    assert not engine.built
    builder.build(found.values(), known, ["b", "c"])
    assert engine.built == ["b"]


def test_a_lost_parent_is_built_again_but_keeps_its_known_id(project: Path, engine: Engine) -> None:
    """What runs from it is not replaced."""
    first = build(project, engine)
    engine.has.clear()
    (project / "c" / "file").write_text("changed")
    second = build(project, engine)
    assert engine.built[3:] != []
    assert (second["a"], second["b"]) == (first["a"], first["b"])
    assert second["c"] != first["c"]
    assert Store(project / "store").known().items() >= set(zip(_keys(project), second.values(), strict=True))


def _keys(project: Path) -> list[str]:
    """Return what ids are remembered under, in the order of :func:`build`."""
    return [recipe.key for recipe in recipes(SPEC, project)]


def test_output_comes_in_whole_lines(project: Path, engine: Engine) -> None:
    """Whatever pieces it travels in."""
    events: list[Any] = []
    build(project, engine, {"a": SPEC["a"]}, listener=events.append)
    assert [event.line for event in events if isinstance(event, BuildOutput)] == [
        "Step 1/2 : FROM x", "Step 2/2 : COPY y /",
    ]  # fmt: skip
    assert isinstance(events[-1], BuildFinished)


def test_a_failure_names_image_line_and_the_builders_last_words(project: Path, engine: Engine) -> None:
    """And stops what waits for it."""
    engine.fails["c"] = Refusal("build-failed", "COPY failed: no such file", context=("last", "words"))
    with pytest.raises(
        BuildFailed, match=r"image c did not build at .*/c/Dockerfile:3: COPY failed"
    ) as caught:
        build(project, engine)
    assert caught.value.context == ("last", "words")
    assert caught.value.exit_code == 3


def test_output_is_the_context_when_the_builder_gives_none(project: Path, engine: Engine) -> None:
    """The last lines are remembered here as well."""
    engine.fails["a"] = Refusal("build-failed", "no")
    with pytest.raises(BuildFailed) as caught:
        build(project, engine)
    assert caught.value.context[-1] == "Step 2/2 : COPY y /"


def test_a_builder_without_engine_is_a_host_that_is_not_ready(project: Path, engine: Engine) -> None:
    """Its exit code is another."""
    engine.fails["a"] = Refusal("no-engine", "no engine", hint="install one")
    with pytest.raises(HostNotReady, match="builder: no engine"):
        build(project, engine)


def test_pulled_images_are_remembered_by_reference(project: Path, engine: Engine) -> None:
    """And a failure says what could not be pulled."""
    spec = {"cache": Image.model_validate("redis:7")}
    assert build(project, engine, spec) == {"cache": image("redis:7").image}
    assert Store(project / "store").known() == {"redis:7": image("redis:7").image}
    engine.fails["redis:8"] = Refusal("engine", "no such host")
    with pytest.raises(BuildFailed, match="cannot pull redis:8 for image cache: no such host"):
        build(project, engine, {"cache": Image.model_validate("redis:8")})


def test_an_id_that_is_not_its_configurations_is_refused(project: Path, engine: Engine) -> None:
    """A builder could pass another image off."""
    engine.has = {recipe.build: Built(image("x").image, "y") for recipe in recipes(SPEC, project)}
    with pytest.raises(ProtocolViolation, match="image a"):
        build(project, engine, {"a": SPEC["a"]})


def test_a_context_that_changes_meanwhile_fails_the_build(
    project: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the user's own file named, not with the builder's confusion about half a tar."""
    found = recipes({"a": SPEC["a"]}, project)
    (project / "a" / "file").write_text("changed since")
    with pytest.raises(RequestError, match="changed while"):
        Builder(lambda: engine.session, Store(project / "store"), project="shop").build(found, {})
