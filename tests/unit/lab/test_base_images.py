"""Images made without a registry are the same, byte for byte, wherever and whenever they are made."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from orchestrator.lab import base_images


def root(folder: Path, *, order: int = 1) -> Path:
    """A small root whose files were made in a given order, at different times, with different logs."""
    files = {
        "./etc/a": "a",
        "./usr/bin/b": "b",
        "./var/log/apt.log": str(order),
        "./etc/machine-id": str(order),
    }
    for number, (name, text) in enumerate(list(files.items())[::order]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (order + number + 100, order + number + 100))
    return folder


def test_the_same_packages_give_the_same_layer(tmp_path):
    """Times, order, logs and the machine's id do not matter."""
    layers = []
    for order in (1, -1):
        layer = tmp_path / f"layer{order}"
        base_images._pack(root(tmp_path / f"root{order}", order=order), layer)
        layers.append(layer.read_bytes())
    assert layers[0] == layers[1]
    with tarfile.open(tmp_path / "layer1") as tar:
        assert "./usr/bin/b" in tar.getnames()
        assert "./var/log/apt.log" not in tar.getnames()


def test_an_archive_is_complete_and_reproducible(tmp_path):
    """The configuration names the layer by its digest and holds no time but the epoch."""
    layer = tmp_path / "layer"
    layer.write_bytes(b"layer" * 1000)
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        base_images._write_archive(archive, layer, "some:tag", command=["sh"])
    assert archives[0].read_bytes() == archives[1].read_bytes()
    digest = hashlib.sha256(layer.read_bytes()).hexdigest()
    with tarfile.open(archives[0]) as tar:
        (manifest,) = json.load(tar.extractfile("manifest.json"))
        config = tar.extractfile(manifest["Config"]).read()
        assert tar.extractfile(manifest["Layers"][0]).read() == layer.read_bytes()
    assert manifest["RepoTags"] == ["some:tag"]
    assert manifest["Config"] == f"{hashlib.sha256(config).hexdigest()}.json"
    assert json.loads(config)["rootfs"]["diff_ids"] == [f"sha256:{digest}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layer", "one.tar", "two.tar"]


@pytest.mark.skipif(not Path(base_images._BUSYBOX).exists(), reason="busybox-static is not installed")
def test_the_busybox_layer_has_a_shell():
    """Every applet is a name of the one binary, and making it twice gives the same bytes."""
    assert base_images._busybox_layer() == base_images._busybox_layer()
