"""Images and host roots made without any registry: from the distribution's packages alone.

It owns how they are made (reproducibly: the same packages give the same layer, byte for byte, and the same
image id) and where they are kept; the engine they are loaded into is an argument.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

from orchestrator.errors import ToolMissing
from orchestrator.lab import engine
from orchestrator.lab.builder import cache, locked
from orchestrator.lab.processes import LabError, call

DEBIAN_IMAGE = "debian:bookworm-slim"
"""The name under which registries serve the same packages: what builds here builds elsewhere too."""
BUSYBOX_IMAGE = "busybox:static"

_BUSYBOX = "/usr/bin/busybox"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOST_PACKAGES = (
    "aardvark-dns",
    "busybox-static",
    "ca-certificates",
    "crun",
    "docker-cli",
    "docker.io",
    "iproute2",
    "iptables",
    "netavark",
    "nftables",
    "openssh-server",
    "podman",
    "procps",
    "python3",
    "sudo",
)
_VOLATILE = (
    "./dev/*",
    "./etc/hostname",
    "./etc/machine-id",
    "./etc/resolv.conf",
    "./var/cache/apt/*",
    "./var/cache/debconf/*-old",
    "./var/cache/ldconfig/*",
    "./var/lib/apt/lists/*",
    "./var/lib/dpkg/*-old",
    "./var/log/*",
)
"""What differs between two installations of the same packages, and is of no use in an image."""


def debian_root(suite: str = "bookworm", packages: Sequence[str] = ()) -> Path:
    """A minimal Debian root in the cache, made with debootstrap when it is not there yet (about a minute).

    Args:
        suite: Debian release.
        packages: Installed besides the minimum; each set has a root of its own.

    Raises:
        LabError: debootstrap failed; the context holds its last lines.
    """
    include = ",".join(sorted(packages))
    name = f"{suite}-{hashlib.sha256(include.encode()).hexdigest()[:8]}" if include else suite
    root = cache() / "roots" / name
    with locked(f"root-{name}"):
        if not root.is_dir():
            partial = root.with_name(f"{name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.parent.mkdir(parents=True, exist_ok=True)
            options = ["--variant=minbase", *([f"--include={include}"] if include else [])]
            call(["debootstrap", *options, suite, str(partial)], why=f"make a Debian {suite} root")
            partial.rename(root)
    return root


def host_root(suite: str) -> Path:
    """A root that a lab host can run from: an SSH server, python3, Docker Engine and Podman."""
    return debian_root(suite, _HOST_PACKAGES)


def base_image(socket: Path) -> str:
    """Have the image ``debian:bookworm-slim`` in the engine; its name.

    Args:
        socket: The engine's socket.
    """
    archive = cache() / "images" / "bookworm-slim.tar"
    if not _present(socket, DEBIAN_IMAGE):
        root = debian_root()
        with locked("image-bookworm"):
            if not archive.exists():
                layer = archive.with_suffix(".layer")
                layer.parent.mkdir(parents=True, exist_ok=True)
                _pack(root, layer)
                _write_archive(archive, layer, DEBIAN_IMAGE, command=["bash"])
                layer.unlink()
        _load(socket, archive)
    return DEBIAN_IMAGE


def busybox_image(socket: Path) -> str:
    """Have ``busybox:static`` in the engine: one static binary and its names; the image's name.

    Raises:
        ToolMissing: busybox-static is not installed.
    """
    if not Path(_BUSYBOX).exists():
        raise ToolMissing("cannot make the busybox image", hint="install it with: apt install busybox-static")
    if not _present(socket, BUSYBOX_IMAGE):
        archive = cache() / "images" / "busybox.tar"
        with locked("image-busybox"):
            layer = archive.with_suffix(".layer")
            layer.parent.mkdir(parents=True, exist_ok=True)
            layer.write_bytes(_busybox_layer())
            _write_archive(archive, layer, BUSYBOX_IMAGE, command=["sh"])
            layer.unlink()
            _load(socket, archive)
    return BUSYBOX_IMAGE


def _pack(root: Path, layer: Path) -> None:
    """Pack a root so that only its contents matter: sorted, without times, owners as numbers."""
    excludes = [f"--exclude={pattern}" for pattern in _VOLATILE]
    form = ["--sort=name", "--mtime=@0", "--numeric-owner", "--format=gnu", "--one-file-system"]
    call(["tar", *form, *excludes, "-C", str(root), "-cf", str(layer), "."], why="pack the base image")


def _busybox_layer() -> bytes:
    names = subprocess.run([_BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "bin/busybox", Path(_BUSYBOX).read_bytes(), 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644)
        for name in sorted({*names} - {"busybox"}):
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))


def _write_archive(archive: Path, layer: Path, tag: str, *, command: Sequence[str]) -> None:
    """Write what ``docker load`` takes: the layer, a configuration with fixed times, a manifest."""
    with layer.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    config = json.dumps(
        {
            "architecture": call(["dpkg", "--print-architecture"], why="ask for the architecture").strip(),
            "config": {"Cmd": list(command), "Env": [_PATH]},
            "created": "1970-01-01T00:00:00Z",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [tag], "Layers": [f"{digest}/layer.tar"]}]
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.GNU_FORMAT) as tar:
        _add(tar, config_name, config, 0o644)
        _add(tar, "manifest.json", json.dumps(manifest).encode(), 0o644)
        entry = tarfile.TarInfo(f"{digest}/layer.tar")
        entry.size = layer.stat().st_size
        with layer.open("rb") as stream:
            tar.addfile(entry, stream)
    partial.replace(archive)


def _present(socket: Path, tag: str) -> bool:
    return _docker(socket, "image", "inspect", tag).returncode == 0


def _load(socket: Path, archive: Path) -> None:
    done = _docker(socket, "load", "--quiet", "--input", str(archive))
    if done.returncode != 0:
        raise LabError(f"cannot load {archive.name}", context=done.stderr.splitlines())


def _docker(socket: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [engine.docker_client(), "--host", f"unix://{socket}", *arguments]
    variables = engine.client_environment()
    return subprocess.run(line, capture_output=True, text=True, check=False, env=variables)
