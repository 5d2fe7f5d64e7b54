"""Host keys on record: OpenSSH's ``known_hosts`` files, read with the line of every entry.

Owns the file format (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"): hashed names, patterns, ``[host]:port``,
markers. It must not know connections. Standard library only: reading these files must not cost the
import of paramiko.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SSH_PORT = 22


@dataclass(frozen=True)
class KnownKey:
    """One entry that applies to a host."""

    type: str
    """Such as ``ssh-ed25519``."""
    blob: bytes
    """The public key in SSH's wire form."""
    file: str
    line: int
    """1-based."""
    marker: str = ""
    """``@revoked``, ``@cert-authority`` or empty."""


@dataclass(frozen=True)
class _Entry:
    names: str
    key: KnownKey


class KnownHosts:
    """Entries of several files, in the order in which they count."""

    def __init__(self, entries: Iterable[_Entry] = ()) -> None:
        self._entries = tuple(entries)

    @classmethod
    def load(cls, files: Iterable[Path]) -> KnownHosts:
        """Read ``files``; those that do not exist are skipped, and so are lines nobody can read.

        Raises:
            OSError: A file exists and cannot be read.
        """
        return cls(entry for file in files if file.is_file() for entry in _parse(file))

    def lookup(self, name: str, port: int = SSH_PORT) -> tuple[KnownKey, ...]:
        """Return the keys on record for a host, as OpenSSH finds them.

        An entry without a port is good for any port when there is none with it.
        """
        name = name.lower()
        if port != SSH_PORT and (found := self._find(f"[{name}]:{port}")):
            return found
        return self._find(name)

    def _find(self, name: str) -> tuple[KnownKey, ...]:
        return tuple(entry.key for entry in self._entries if _matches(entry.names, name))


def fingerprint(blob: bytes) -> str:
    """Return the fingerprint of a public key as ``ssh-keygen -l`` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def _parse(file: Path) -> Iterable[_Entry]:
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if len(words) < 3 or words[0].startswith("#"):
            continue
        try:
            blob = base64.b64decode(words[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        yield _Entry(words[0], KnownKey(words[1], blob, str(file), number, marker))


def _matches(names: str, name: str) -> bool:
    if names.startswith("|1|"):
        return _matches_hash(names, name)
    matched = False
    for pattern in names.lower().split(","):
        if pattern.startswith("!"):
            if _matches_pattern(pattern[1:], name):
                return False
        elif _matches_pattern(pattern, name):
            matched = True
    return matched


def _matches_pattern(pattern: str, name: str) -> bool:
    # Only * and ? are special to OpenSSH; fnmatch also knows brackets, which `[host]:port` uses.
    return pattern == name or fnmatch.fnmatchcase(name, pattern.replace("[", "[[]"))


def _matches_hash(names: str, name: str) -> bool:
    """Compare with ``|1|salt|hash``: HMAC-SHA1 of the name, keyed by the salt, both in base64."""
    try:
        _, _, salt, digest = names.split("|")
        key, expected = base64.b64decode(salt), base64.b64decode(digest)
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.digest(key, name.encode(), "sha1"), expected)
