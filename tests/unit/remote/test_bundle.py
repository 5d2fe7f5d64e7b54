"""The bundle: only what a host needs, the same bytes everywhere, built once."""

import ast
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.remote import bundle

BUDGET = 450_000
"""Bytes of sources a host may be sent, uncompressed. Raise it only for something hosts need."""


def archive() -> zipfile.ZipFile:
    """Return the bundle of this version."""
    return zipfile.ZipFile(io.BytesIO(bundle.build(bundle.sources())))


def imported(source: bytes) -> set[str]:
    """Return the modules that a source imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what is needed"
            found.update({node.module or ""})
    return found


def test_only_what_a_host_needs_is_inside() -> None:
    """The fence: the agent, the protocol, the entry, and not one byte of the controller."""
    for name in archive().namelist():
        assert name in {"__main__.py", "orchestrator/__init__.py"} or name.startswith(
            ("orchestrator/agent/", "orchestrator/protocol/")
        ), name


def test_it_imports_the_standard_library_alone() -> None:
    """Hosts have nothing else, and what the bundle imports of itself is in it."""
    zipped = archive()
    names = set(zipped.namelist())
    for name in names:
        for module in imported(zipped.read(name)):
            top = module.split(".")[0]
            if top != "orchestrator":
                assert top in sys.stdlib_module_names, f"{name} imports {module}"
                continue
            path = module.replace(".", "/")
            assert {f"{path}.py", f"{path}/__init__.py"} & names, f"{name} imports {module}"


def test_it_stays_small() -> None:
    """The budget is a decision, not an accident."""
    assert sum(info.file_size for info in archive().infolist()) < BUDGET


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the files' times and modes are, and in whatever order they are found."""
    original = bundle.sources()
    copies = []
    for number, (name, path) in enumerate(original):
        copy = tmp_path / f"{number}.py"
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (number, number))
        copies.append((name, copy))
    assert bundle.build(copies) == bundle.build(original)


def test_it_is_built_once_and_again_when_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache answers while the sources are unchanged, and keeps one version."""
    package = tmp_path / "orchestrator"
    (package / "agent").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    source = package / "agent" / "a.py"
    source.write_text("A = 1\n")
    cache = tmp_path / "cache"
    first = bundle.load(cache, package)
    monkeypatch.setattr(bundle, "build", lambda _files: pytest.fail("built again"))
    assert bundle.load(cache, package) == first
    monkeypatch.undo()
    source.write_text("A = 22\n")
    second = bundle.load(cache, package)
    assert second.sha256 != first.sha256
    assert len(list(cache.iterdir())) == 1


def test_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    """What is cached is verified before it is believed."""
    good = bundle.load(tmp_path)
    (cached,) = tmp_path.iterdir()
    cached.write_bytes(b"damaged")
    assert bundle.load(tmp_path) == good


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The bundle is then built in memory."""
    (tmp_path / "file").write_text("")
    assert bundle.load(tmp_path / "file" / "cache").data


def test_the_cache_is_where_the_user_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By XDG_CACHE_HOME when it is absolute, below the home directory otherwise."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/c")
    assert bundle.default_cache() == Path("/var/tmp/c/deploy")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/u")
    assert bundle.default_cache() == Path("/home/u/.cache/deploy")


def test_importing_the_fleet_costs_no_paramiko() -> None:
    """A command that reaches no host by SSH must not pay for it."""
    code = "import sys, orchestrator.remote.fleet; sys.exit('paramiko' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_paramiko_costs_no_invoke() -> None:
    """A third of its import time is for something that is hardly ever used."""
    code = "import sys, orchestrator.remote.ssh; sys.exit('invoke' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
