"""Whether a host is who it claims to be, and what to tell a person when that is not certain.

Owns the comparison of a host's key with those on record. It must not know connections.
"""

from __future__ import annotations

import shlex

from orchestrator.errors import HostKeyError
from orchestrator.remote.known_hosts import SSH_PORT, KnownHosts, KnownKey, fingerprint
from orchestrator.remote.ssh_config import Target

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
"""A key type and the signature algorithms that use it, where the names differ."""


def known_keys(target: Target) -> tuple[KnownKey, ...]:
    """Return the keys on record for ``target``.

    Raises:
        HostKeyError: A file of known hosts cannot be read.
    """
    try:
        return KnownHosts.load(target.known_hosts).lookup(target.key_name, target.port)
    except OSError as error:
        raise HostKeyError(target.name, f"cannot read the known host keys: {error}") from error


def algorithms(keys: tuple[KnownKey, ...]) -> tuple[str, ...]:
    """Return the host key algorithms to ask for, so that the host shows a key that is on record.

    Empty when none is on record: whatever key it shows is then as good, for the message.
    """
    types = dict.fromkeys(key.type for key in keys if not key.marker)
    return tuple(name for key_type in types for name in _ALGORITHMS.get(key_type, (key_type,)))


def verify(target: Target, keys: tuple[KnownKey, ...], key_type: str, blob: bytes) -> None:
    """Return when ``blob`` is on record for ``target``.

    Raises:
        HostKeyError: It is unknown, has changed, or has been revoked.
    """
    same = [key for key in keys if key.blob == blob]
    if revoked := next((key for key in same if key.marker == "@revoked"), None):
        raise HostKeyError(
            target.name,
            f"its host key has been revoked ({revoked.file}:{revoked.line})",
            hint="do not connect",
        )
    if any(not key.marker for key in same):
        return
    shown = f"{key_type} {fingerprint(blob)}"
    if recorded := [key for key in keys if not key.marker]:
        raise _changed(target, recorded, shown)
    authority = next((key for key in keys if key.marker == "@cert-authority"), None)
    context = (
        [f"{authority.file}:{authority.line} trusts an authority; host certificates are not supported"]
        if authority
        else []
    )
    raise HostKeyError(
        target.name,
        f"unknown host key of {_address(target)}: {shown}",
        hint=f"compare the fingerprint with the host's own first, then run `{_scan(target)}`",
        context=context,
    )


def _changed(target: Target, recorded: list[KnownKey], shown: str) -> HostKeyError:
    lines = [f"{key.file}:{key.line}: {key.type} {fingerprint(key.blob)}" for key in recorded]
    first = recorded[0]
    return HostKeyError(
        target.name,
        f"the host key of {_address(target)} is not the one in {first.file}:{first.line}",
        hint=f"if the host was reinstalled, remove the line, compare the new fingerprint with the host's "
        f"own, then run `{_scan(target)}`; otherwise somebody may be in between",
        context=["on record:", *lines, "shown by the host:", shown],
    )


def _address(target: Target) -> str:
    return target.address if target.port == SSH_PORT else f"[{target.address}]:{target.port}"


def _scan(target: Target) -> str:
    """Return the command that puts the host's key on record; behind a jump host it runs there."""
    through = f"ssh {shlex.quote(target.jump.name)} " if target.jump else ""
    port = "" if target.port == SSH_PORT else f"-p {target.port} "
    file = str(target.known_hosts[0]) if target.known_hosts else "known_hosts"
    return f"{through}ssh-keyscan {port}{shlex.quote(target.address)} >> {shlex.quote(file)}"
