"""Where and how to connect: the inventory's host completed by OpenSSH's own configuration.

Owns the order of precedence (inventory, its ``-o`` options, ``~/.ssh/config``, the system's, defaults)
and the result, :class:`Target`. It must not know connections.
"""

from __future__ import annotations

import functools
import getpass
import glob
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import InventoryError, Problem
from orchestrator.remote.known_hosts import SSH_PORT
from orchestrator.remote.paramiko_import import load
from orchestrator.spec.inventory_types import Host

USER_CONFIG = Path("~/.ssh/config")
SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
USER_KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SYSTEM_KNOWN_HOSTS = ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")
CONNECT_TIMEOUT = 10.0
_MAX_INCLUDES = 16
"""Depth, as in OpenSSH."""
_MAX_JUMPS = 8


@dataclass(frozen=True)
class Target:
    """Everything needed to open one SSH connection."""

    name: str
    """Name in the inventory, or of the jump host as written."""
    address: str
    port: int
    user: str
    key_name: str
    """The name its key is on record under."""
    identity_files: tuple[Path, ...]
    explicit_identities: bool
    """Whether a person named the identity files: a missing one is then worth a word."""
    certificate_files: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    """Files in the order in which they count; the first is where a new key belongs."""
    timeout: float
    """Seconds to connect."""
    agent: str
    """Socket of the ssh-agent; empty for none. paramiko knows the one of ``SSH_AUTH_SOCK`` only."""
    proxy_command: str = ""
    jump: Target | None = None
    """The host to go through, itself with its own way."""


class SshConfig:
    """The configuration files of this machine, read once.

    Args:
        files: In the order in which they count; the first value of an option wins.
    """

    def __init__(self, files: Iterable[Path] = (USER_CONFIG, SYSTEM_CONFIG)) -> None:
        self._files = tuple(files)
        self._parsed: dict[tuple[tuple[str, str], ...], Any] = {}

    def target(self, host: Host) -> Target:
        """Resolve a host of the inventory.

        Raises:
            InventoryError: An option has a value that makes no sense, or jump hosts go round in circles.
        """
        options = {name.lower(): value for name, value in host.options}
        if host.port is not None:
            options["port"] = str(host.port)
        if host.user is not None:
            options["user"] = host.user
        return self._resolve(host.name, host.address, options, host.identity_files, ())

    def _resolve(
        self,
        name: str,
        alias: str,
        options: Mapping[str, str],
        identities: tuple[str, ...],
        via: tuple[str, ...],
    ) -> Target:
        if alias in via or len(via) > _MAX_JUMPS:
            raise _problem(name, f"cannot go through itself: {' -> '.join((*via, alias))}")
        found: dict[str, Any] = {**self._lookup(alias, tuple(options.items())), **options}
        identities = identities or _words(found.get("identityfile", ()))
        address = found.get("hostname", alias)
        user = found.get("user") or getpass.getuser()
        port = _number(name, "Port", found.get("port", str(SSH_PORT)))
        tokens = {"%h": address, "%p": str(port), "%r": user, "%n": alias, "%%": "%"}
        jump, proxy = self._proxy(name, found, (*via, alias), tokens)
        return Target(
            name=name,
            address=address,
            port=port,
            user=user,
            key_name=found.get("hostkeyalias", address),
            identity_files=_paths(identities or DEFAULT_IDENTITIES, tokens),
            explicit_identities=bool(identities),
            certificate_files=_paths(_words(found.get("certificatefile", ())), tokens),
            identities_only=found.get("identitiesonly", "no").lower() == "yes",
            known_hosts=_paths(_words(found.get("userknownhostsfile", USER_KNOWN_HOSTS)), tokens)
            + _paths(_words(found.get("globalknownhostsfile", SYSTEM_KNOWN_HOSTS)), tokens),
            timeout=float(_number(name, "ConnectTimeout", found.get("connecttimeout", CONNECT_TIMEOUT))),
            agent=_agent_socket(found.get("identityagent", "")),
            proxy_command=proxy,
            jump=jump,
        )

    def _proxy(
        self, name: str, found: Mapping[str, Any], via: tuple[str, ...], tokens: Mapping[str, str]
    ) -> tuple[Target | None, str]:
        jumps = str(found.get("proxyjump") or "none")
        if jumps.lower() != "none":
            return self._jumps(name, jumps.split(","), via), ""
        command = found.get("proxycommand") or "none"
        return None, "" if command.lower() == "none" else _expand(command, tokens)

    def _jumps(self, name: str, hops: list[str], via: tuple[str, ...]) -> Target:
        """Return the last hop; each is reached through the one before it."""
        text = hops[-1].strip().removeprefix("ssh://")
        match = re.fullmatch(r"(?:(?P<user>[^@]+)@)?(?P<host>\[[^]]+\]|[^:]+)(?::(?P<port>\d+))?", text)
        if match is None:
            raise _problem(name, f"cannot understand the jump host {text!r}")
        options = {key: match[key] for key in ("user", "port") if match[key]}
        if hops[:-1]:
            options["proxyjump"] = ",".join(hops[:-1])
        alias = match["host"].strip("[]")
        return self._resolve(alias, alias, options, (), via)

    def _lookup(self, alias: str, options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
        """Return what the files say of ``alias``, given ``options``, which decide matches and tokens."""
        if not self._lines:
            return {}
        if options not in self._parsed:
            first = ["Host *", *(f"{name} {value}" for name, value in options)]
            self._parsed[options] = load().SSHConfig.from_text("\n".join([*first, *self._lines]))
        return dict(self._parsed[options].lookup(alias))

    @functools.cached_property
    def _lines(self) -> tuple[str, ...]:
        return tuple(line for file in self._files for line in _read(file.expanduser(), 0))


def _read(file: Path, depth: int) -> Iterator[str]:
    """Yield the lines of a file and of what it includes, each file for every host to begin with."""
    try:
        text = file.read_text(errors="replace")
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        # OpenSSH goes on without a file it cannot read, and so do we.
        return
    scope = "Host *"
    yield scope
    for line in text.splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() in {"host", "match"}:
            scope = line
        if word.lower() != "include" or depth >= _MAX_INCLUDES:
            yield line
            continue
        for pattern in shlex.split(rest):
            path = Path(pattern).expanduser()
            base = path if path.is_absolute() else file.parent / path
            for included in sorted(glob.glob(str(base))):  # noqa: PTH207 - an absolute pattern
                yield from _read(Path(included), depth + 1)
        yield scope


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(shlex.split(value))
    return tuple(value)


def _paths(names: Iterable[str], tokens: Mapping[str, str]) -> tuple[Path, ...]:
    local = {**tokens, "%d": str(Path.home()), "%u": getpass.getuser()}
    return tuple(Path(_expand(name, local)).expanduser() for name in names if name.lower() != "none")


def _expand(text: str, tokens: Mapping[str, str]) -> str:
    return re.sub("%.", lambda match: tokens.get(match[0], match[0]), text)


def _agent_socket(value: str) -> str:
    if value.lower() == "none":
        return ""
    if value in {"", "SSH_AUTH_SOCK", "$SSH_AUTH_SOCK"}:
        return os.environ.get("SSH_AUTH_SOCK", "")
    return str(Path(value).expanduser())


def _number(name: str, option: str, value: Any) -> int:
    try:
        return int(value)
    except ValueError:
        raise _problem(name, f"{option} must be a number, not {value!r}") from None


def _problem(name: str, message: str) -> InventoryError:
    return InventoryError([Problem(message, path=name)])
