"""Known host files: every form of OpenSSH's, with the line of each entry."""

import base64
import hmac
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.remote.known_hosts import KnownHosts, fingerprint

BLOB = base64.b64encode(b"key").decode()


def hashed(name: str) -> str:
    """Return the hashed form of a name, as ``HashKnownHosts yes`` writes it."""
    salt = b"0123456789abcdefghij"
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def lines(tmp_path: Path, text: str, name: str, port: int = 22) -> list[int]:
    """Return the lines of ``text`` that apply to a host."""
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return [key.line for key in KnownHosts.load([file]).lookup(name, port)]


@pytest.mark.parametrize(
    ("names", "name", "port", "found"),
    [
        ("web-1", "web-1", 22, True),
        ("web-1", "WEB-1", 22, True),
        ("web-1,10.0.0.1", "10.0.0.1", 22, True),
        ("web-1", "web-10", 22, False),
        ("web-*", "web-10", 22, True),
        ("web-?", "web-10", 22, False),
        ("*,!web-10", "web-10", 22, False),
        ("!web-10,*", "web-1", 22, True),
        ("[web-1]:2222", "web-1", 2222, True),
        ("[web-1]:2222", "web-1", 22, False),
        ("[web-*]:2222", "web-1", 2222, True),
        ("web-1", "web-1", 2222, True),
        (hashed("web-1"), "web-1", 22, True),
        (hashed("web-1"), "web-2", 22, False),
        (hashed("[web-1]:2222"), "web-1", 2222, True),
        ("|1|bad|bad", "web-1", 22, False),
        ("|1|bad", "web-1", 22, False),
    ],
)
def test_names(tmp_path: Path, names: str, name: str, port: int, found: bool) -> None:
    """Plain, listed, negated, with wildcards, with ports, hashed."""
    assert lines(tmp_path, f"{names} ssh-ed25519 {BLOB}\n", name, port) == ([1] if found else [])


def test_an_entry_with_the_port_wins(tmp_path: Path) -> None:
    """An entry without a port counts only when there is none with it."""
    text = f"web-1 ssh-rsa {BLOB}\n[web-1]:2222 ssh-rsa {BLOB}\n"
    assert lines(tmp_path, text, "web-1", 2222) == [2]


def test_lines_that_are_no_entries_are_skipped(tmp_path: Path) -> None:
    """Comments, blanks and damage do not hide the entries after them."""
    text = f"# web-1 ssh-rsa {BLOB}\n\nweb-1\nweb-1 ssh-rsa ???\n@revoked web-1 ssh-rsa {BLOB} a comment\n"
    file = tmp_path / "known_hosts"
    file.write_text(text)
    (key,) = KnownHosts.load([tmp_path / "absent", file]).lookup("web-1")
    assert (key.marker, key.line, key.file, key.blob) == ("@revoked", 5, str(file), b"key")


def test_what_openssh_writes_is_understood(tmp_path: Path) -> None:
    """A file hashed by ``ssh-keygen -H`` itself, and the fingerprint by ``ssh-keygen -l``."""
    key = tmp_path / "key"
    try:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    except FileNotFoundError:
        pytest.skip("needs OpenSSH's ssh-keygen")
    kind, blob, *_ = key.with_suffix(".pub").read_text().split()
    file = tmp_path / "known_hosts"
    file.write_text(f"[web-1]:2222 {kind} {blob}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    assert "web-1" not in file.read_text()
    (found,) = KnownHosts.load([file]).lookup("web-1", 2222)
    shown = subprocess.run(["ssh-keygen", "-l", "-f", key], check=True, capture_output=True, text=True)
    assert fingerprint(found.blob) in shown.stdout


@given(st.text(), st.text(min_size=1))
def test_any_file_can_be_read(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    """Garbage is never an error, and never matches by accident of a crash."""
    file = tmp_path_factory.mktemp("known") / "known_hosts"
    file.write_text(text, errors="replace")
    for key in KnownHosts.load([file]).lookup(name):
        assert key.line >= 1
