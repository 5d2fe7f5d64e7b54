"""What is read of Dockerfiles, engines' files and engines' exports on the host."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.handler import Refusal
from orchestrator.agent.imaging.export import export
from orchestrator.agent.imaging.features import needs_buildkit, peek
from orchestrator.agent.imaging.find import progress, split
from orchestrator.agent.imaging.labels import build_of
from orchestrator.agent.imaging.store import ImageStore, TarSplit, UnreadableError, chain_ids, diff_ids


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("FROM x\nRUN echo --mount=\nCOPY a b\n", False),
        ("# syntax=docker/dockerfile:1\nFROM x\n", True),
        ("FROM x\n# syntax=too late\n", False),
        ("FROM x\nRUN --mount=type=cache,target=/c true\n", True),
        ("FROM x\nRUN \\\n --network=none true\n", True),
        ("FROM x\nCOPY --chown=1 --link a b\n", True),
        ("FROM x\nADD --chmod=755 a b\n", True),
        ("FROM x\nCOPY --chown=1 --from=y a b\n", False),
        ("FROM x\nRUN <<EOF\ntrue\nEOF\n", True),
        ("FROM x\nRUN test 1 -lt $((1<<2))\n", False),
    ],
)
def test_what_only_buildkit_understands_is_recognised(text: str, needs: bool) -> None:
    """Everything else goes to the builder every engine has."""
    assert bool(needs_buildkit(text)) is needs


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["deploy.local/shop/base:abcdefabcdefabcdefab"], True),
        (["other:1", "deploy.local/shop/base:abcdefabcdefabcdefab"], True),
        (["other:abcdefabcdefabcdefab"], False),
        (["deploy.local/shop/base:1"], False),
        ([], False),
        (None, False),
    ],
)
def test_an_image_is_a_build_by_label_and_tag(tags: list[str] | None, expected: bool) -> None:
    """What stands on it, or was left half-built on it, inherits the label but not the tag."""
    digest = "abcdef" * 10 + "abcd"
    assert build_of({"Labels": {"deploy.build": digest}, "RepoTags": tags}) == (digest if expected else "")
    assert build_of({"Labels": {"deploy.build": digest}, "RepoTags": tags}, in_use=True) == digest
    assert build_of({"Labels": None, "RepoTags": tags}, in_use=True) == ""


def tar(**files: bytes) -> bytes:
    """Return a tar of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@given(st.integers(1, 3000), st.sampled_from(["Dockerfile", "d" * 300]))
def test_peeking_consumes_nothing(cut: int, name: str) -> None:
    """Whatever pieces the tar comes in, and however long the first name is."""
    data = tar(**{name: b"FROM x\n" * 200, "other": b"y"})
    text, pieces = peek(data[at : at + cut] for at in range(0, len(data), cut))
    assert text == "FROM x\n" * 200
    assert b"".join(pieces) == data


@given(st.binary(max_size=2000))
def test_peeking_at_anything_passes_it_on(data: bytes) -> None:
    """What is wrong with it is for the builder to say."""
    _text, pieces = peek([data])
    assert b"".join(pieces) == data


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("redis", ("redis", "latest")),
        ("redis:7", ("redis", "7")),
        ("host:5000/redis", ("host:5000/redis", "latest")),
        ("host:5000/redis:7", ("host:5000/redis", "7")),
        ("redis:7@sha256:ab", ("redis:7", "sha256:ab")),
    ],
)
def test_references_are_split(reference: str, parts: tuple[str, str]) -> None:
    """A port is not a tag."""
    assert split(reference) == parts


def test_progress_is_read_and_errors_raised() -> None:
    """Byte counts are left out."""
    documents: list[dict[str, Any]] = [
        {"status": "Pulling", "id": "7"},
        {"status": "Downloading", "progressDetail": {"current": 1}, "id": "a"},
        {"status": "Done"},
        {"errorDetail": {"message": "write /x: no space left on device"}},
    ]
    lines = progress(iter(documents), "cannot pull x")
    assert [next(lines), next(lines)] == ["7: Pulling", "Done"]
    with pytest.raises(Refusal, match="cannot pull x: write") as caught:
        next(lines)
    assert caught.value.failure.code == "no-space"


def address(content: bytes) -> str:
    """Return the address of ``content``."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_chain_ids_follow_the_image_specification() -> None:
    """The first is the diff id, each further one hashes the chain below and its own."""
    assert chain_ids(("sha256:a", "sha256:b")) == ("sha256:a", address(b"sha256:a sha256:b"))
    assert chain_ids(()) == ()


@pytest.mark.parametrize("config", ["", "[]", "{}", '{"rootfs": {"diff_ids": ["../x"]}}', '{"rootfs": 1}'])
def test_strange_configurations_are_refused(config: str) -> None:
    """They come from outside."""
    with pytest.raises(ValueError, match="cannot understand"):
        diff_ids(config)


def recipe(folder: Path, *entries: dict[str, Any]) -> TarSplit:
    """Write a recipe and return it."""
    file = folder / "tar-split.json.gz"
    file.write_bytes(gzip.compress("".join(json.dumps(entry) + "\n" for entry in entries).encode()))
    return TarSplit(file, folder / "diff")


def test_a_tar_is_put_together_again(tmp_path: Path) -> None:
    """From what lies between the files, and the files; odd names included."""
    (tmp_path / "diff" / "etc").mkdir(parents=True)
    (tmp_path / "diff" / "etc" / "passwd").write_bytes(b"content")
    (tmp_path / "diff" / "b").write_bytes(b"raw")
    split_tar = recipe(
        tmp_path,
        {"type": 2, "payload": base64.b64encode(b"header").decode()},
        {"type": 1, "name": "./etc/passwd", "size": 7, "payload": "crc"},
        {"type": 2, "payload": base64.b64encode(b"padding").decode()},
        {"type": 1, "name": "etc", "payload": None},
        {"type": 1, "name_raw": base64.b64encode(b"/b").decode(), "size": 3},
    )
    assert b"".join(split_tar.content()) == b"headercontentpaddingraw"
    assert split_tar.size() == 23


@pytest.mark.parametrize(
    "entry",
    [
        {"type": 1, "name": "../secret", "size": 6},
        {"type": 1, "name": "link/secret", "size": 6},
        {"type": 1, "name": "link", "size": 6},
        {"type": 1, "name": "short", "size": 600},
        {"type": 1, "name": "missing", "size": 6},
        {"type": 3},
        {"payload": "x"},
        {"type": 2, "payload": "a"},
    ],
)
def test_a_recipe_never_reads_outside_of_its_layer(tmp_path: Path, entry: dict[str, Any]) -> None:
    """Nor does a damaged one end in anything but the other way to read."""
    (tmp_path / "diff").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "diff" / "short").write_bytes(b"x")
    (tmp_path / "diff" / "link").symlink_to(tmp_path)
    with pytest.raises(UnreadableError):
        b"".join(recipe(tmp_path, entry).content())


def test_a_configuration_is_believed_only_with_its_id(tmp_path: Path) -> None:
    """Files of an engine are no proof by themselves."""
    content = b'{"rootfs": {}}'
    folder = tmp_path / "image" / "overlay2" / "imagedb" / "content" / "sha256"
    folder.mkdir(parents=True)
    (folder / address(content)[7:]).write_bytes(content)
    store = ImageStore(tmp_path, "overlay2")
    assert store.config(address(content)) == content.decode()
    assert store.config(address(b"other")) is None
    (folder / address(content)[7:]).write_bytes(b"other")
    assert store.config(address(content)) is None
    assert not store.readable
    with pytest.raises(UnreadableError):
        store.open_layer(address(b"layer"))
    with pytest.raises(ValueError, match="cannot understand"):
        store.config("sha256:../../x")


class Archive:
    """An engine whose export is given."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @contextlib.contextmanager
    def stream(self, _method: str, _path: str) -> Iterator[io.BytesIO]:
        """Open the export."""
        yield io.BytesIO(self.data)


LAYER = tar(page=random.Random(1).randbytes(100))
CONFIG = json.dumps({"rootfs": {"diff_ids": [address(LAYER)]}}).encode()


@pytest.mark.parametrize(
    "data",
    [
        tar(**{"ab/layer.tar": LAYER, "cd/layer.tar": tar(x=b"y"), f"{address(CONFIG)[7:]}.json": CONFIG}),
        tar(**{f"blobs/sha256/{address(CONFIG)[7:]}": CONFIG, f"blobs/sha256/{address(LAYER)[7:]}": LAYER}),
        tar(**{f"blobs/sha256/{address(CONFIG)[7:]}": CONFIG, "blobs/sha256/ab": gzip.compress(LAYER)}),
    ],
    ids=["old engine", "new engine", "compressed"],
)
def test_layers_are_found_by_their_content(tmp_path: Path, data: bytes) -> None:
    """Whatever the engine calls them."""
    engine: Any = Archive(data)
    with export(engine, address(CONFIG), (address(LAYER),), tmp_path) as found:
        assert found.config == CONFIG.decode()
        assert [path.read_bytes() for path in found.layers.values()] == [LAYER]
    assert list(tmp_path.iterdir()) == []


def test_an_export_without_the_layer_is_refused(tmp_path: Path) -> None:
    """And leaves nothing behind."""
    engine: Any = Archive(tar(**{f"{address(CONFIG)[7:]}.json": CONFIG, "../../evil": b"x" * 2000}))
    with pytest.raises(Refusal, match="lacks"), export(engine, address(CONFIG), (address(LAYER),), tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
