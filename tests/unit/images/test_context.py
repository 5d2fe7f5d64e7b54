"""Build contexts: what is in them, their address, and their tar."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from pathlib import Path

import pytest

from orchestrator.errors import RequestError
from orchestrator.images import filedigests
from orchestrator.images.context import pack, scan
from orchestrator.images.filedigests import FileDigests


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small context."""
    base = tmp_path / "context"
    (base / "app" / "deep").mkdir(parents=True)
    (base / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    (base / "app" / "main").write_bytes(b"x" * 700)
    (base / "app" / "deep" / "notes.md").write_text("notes")
    (base / "link").symlink_to("../outside")
    return base


def members(data: bytes) -> list[tarfile.TarInfo]:
    """Return the members of a tar."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def test_the_tar_is_normal_and_has_the_dockerfile_first(root: Path) -> None:
    """Owner and time are zero, links stay links."""
    found = members(b"".join(pack(scan(root))))
    assert [member.name for member in found] == [
        "Dockerfile", "app", "app/deep", "app/deep/notes.md", "app/main", "link",
    ]  # fmt: skip
    assert {(member.uid, member.gid, member.mtime) for member in found} == {(0, 0, 0)}
    assert found[-1].linkname == "../outside"
    assert found[-1].issym()


def test_times_do_not_matter_content_mode_and_links_do(root: Path) -> None:
    """The address follows what a build can see."""
    before = scan(root)
    os.utime(root / "app" / "main", (1, 1))
    assert scan(root).digest == before.digest
    assert b"".join(pack(scan(root))) == b"".join(pack(before))
    (root / "app" / "main").chmod(0o755)
    changed = scan(root).digest
    assert changed != before.digest
    (root / "link").unlink()
    (root / "link").symlink_to("elsewhere")
    assert scan(root).digest not in {before.digest, changed}


def test_ignored_files_neither_travel_nor_count(root: Path) -> None:
    """Folders whose content is taken back stay, others go."""
    (root / ".dockerignore").write_text("app\n!app/deep\n")
    found = scan(root)
    assert [entry.path for entry in found.entries] == [
        ".dockerignore", "Dockerfile", "app", "app/deep", "app/deep/notes.md", "link",
    ]  # fmt: skip
    (root / "app" / "main").write_text("changed")
    assert scan(root).digest == found.digest


def test_an_ignored_dockerfile_travels_but_does_not_count(root: Path) -> None:
    """The builder needs it; what can be copied has not changed."""
    (root / ".dockerignore").write_text("Dockerfile\n.dockerignore\n")
    before = scan(root)
    assert "Dockerfile" in {entry.path for entry in before.entries}
    (root / "Dockerfile").write_text("FROM scratch\n")
    assert scan(root).digest == before.digest


def test_the_ignore_file_of_the_dockerfile_wins(root: Path) -> None:
    """`<Dockerfile>.dockerignore` is read instead of `.dockerignore`."""
    (root / ".dockerignore").write_text("app\n")
    (root / "Dockerfile.dockerignore").write_text("link\n")
    paths = {entry.path for entry in scan(root).entries}
    assert "app/main" in paths
    assert "link" not in paths


def test_replaced_content_travels_instead(root: Path) -> None:
    """The rewritten Dockerfile is in the tar only."""
    data = b"".join(pack(scan(root), {"Dockerfile": b"FROM other\n"}))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile("Dockerfile")
        assert file is not None
        assert file.read() == b"FROM other\n"


def test_a_socket_is_refused(root: Path) -> None:
    """With a message that says what to do."""
    with socket.socket(socket.AF_UNIX) as sock:
        here = Path.cwd()
        os.chdir(root)
        try:
            sock.bind("s.sock")
        finally:
            os.chdir(here)
        with pytest.raises(RequestError, match="it is a socket") as caught:
            scan(root)
    assert ".dockerignore" in (caught.value.hint or "")


@pytest.mark.parametrize("change", ["longer content than before" * 99, "short"])
def test_a_file_that_changes_meanwhile_is_noticed(root: Path, change: str) -> None:
    """What travels is what the address was made of."""
    context = scan(root)
    (root / "app" / "main").write_text(change)
    with pytest.raises(RequestError, match="changed while"):
        b"".join(pack(context))


def test_a_file_swapped_for_a_link_is_not_followed(root: Path) -> None:
    """No content from outside gets in."""
    context = scan(root)
    (root / "app" / "main").unlink()
    (root / "app" / "main").symlink_to("/etc/passwd")
    with pytest.raises(RequestError, match="cannot read"):
        b"".join(pack(context))


def test_names_that_are_not_utf8_travel(root: Path) -> None:
    """File names are bytes."""
    (root / os.fsdecode(b"caf\xe9")).write_text("x")
    context = scan(root)
    assert len(context.digest) == 64
    assert b"caf\xe9" in b"".join(pack(context))


def test_a_missing_context_or_dockerfile_is_explained(tmp_path: Path) -> None:
    """Both name the path."""
    with pytest.raises(RequestError, match="cannot find the build context"):
        scan(tmp_path / "none")
    with pytest.raises(RequestError, match="Dockerfile"):
        scan(tmp_path)


def test_unchanged_files_are_not_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only `stat` is needed, unless a file was written to just now."""
    cache = tmp_path / "cache.json"
    monkeypatch.setattr(filedigests, "_STILL", -1)
    first = scan(root, digests=FileDigests(cache))
    with monkeypatch.context() as patch:
        patch.setattr(filedigests.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert scan(root, digests=FileDigests(cache)).digest == first.digest
    (root / "app" / "main").write_text("new")
    assert scan(root, digests=FileDigests(cache)).digest != first.digest


def test_a_file_written_just_now_is_not_believed(root: Path, tmp_path: Path) -> None:
    """A second write within the clock's tick would go unseen."""
    cache = tmp_path / "cache.json"
    scan(root, digests=FileDigests(cache))
    assert not cache.exists() or b"main" not in cache.read_bytes()
    old = time.time() - 100
    os.utime(root / "app" / "main", (old, old))
    scan(root, digests=FileDigests(cache))  # its ctime is still new
    assert not cache.exists() or b"main" not in cache.read_bytes()


def test_a_damaged_cache_is_forgotten(root: Path, tmp_path: Path) -> None:
    """It is only a cache."""
    cache = tmp_path / "cache.json"
    cache.write_text('{"version": 1, "files": {"app/main": [1, 2]}}')
    assert scan(root, digests=FileDigests(cache)).digest == scan(root).digest
    cache.write_text("not json")
    assert scan(root, digests=FileDigests(cache)).digest == scan(root).digest
