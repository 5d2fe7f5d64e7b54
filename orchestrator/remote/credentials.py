"""The keys to try on a host: identity files, certificates, the ssh-agent.

Owns their order and the words for those that cannot be used. It must not know connections. Imported
only by what speaks SSH.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.remote.known_hosts import fingerprint
from orchestrator.remote.paramiko_import import load
from orchestrator.remote.ssh_config import Target

paramiko = load()


@dataclass(frozen=True)
class Credential:
    """One key to try."""

    name: str
    """For people: a path, or the agent's comment."""
    key: Any
    """A ``paramiko.PKey``."""


@dataclass
class Keys:
    """What can be tried, and why other things cannot."""

    usable: list[Credential] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One line for each key that cannot be used."""


class KeyRing:
    """Loads keys once for all hosts: reading and decoding one costs as much as a handshake."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[Path, Any] = {}
        self._agents: dict[str, _Agent | None] = {}

    def keys(self, target: Target) -> Keys:
        """Return the keys for ``target``: named files first, then the agent's, then default files."""
        with self._lock:
            keys = Keys()
            agent = list(self._agent_keys(target.agent))
            files = list(self._file_keys(target, agent, keys))
            if target.identities_only:
                named = {key.key.asbytes() for key in files} | _public_keys(target.identity_files)
                agent = [key for key in agent if key.key.asbytes() in named]
            ordered = [*files, *agent] if target.explicit_identities else [*agent, *files]
            seen: set[bytes] = set()
            for credential in ordered:
                blob = getattr(credential.key.public_blob, "key_blob", None) or credential.key.asbytes()
                if blob not in seen:
                    seen.add(blob)
                    keys.usable.append(credential)
            return keys

    def close(self) -> None:
        """End the connections to ssh-agents."""
        with self._lock:
            agents, self._agents = list(self._agents.values()), {}
        for agent in agents:
            if agent is not None:
                agent.close()

    def _file_keys(self, target: Target, agent: list[Credential], keys: Keys) -> Iterator[Credential]:
        held = {credential.key.asbytes() for credential in agent}
        for path in target.identity_files:
            loaded = self._load(path)
            if not isinstance(loaded, str):
                yield Credential(str(path), self._certified(path, target, loaded))
            elif (target.explicit_identities or path.exists()) and not _public_keys((path,)) & held:
                # One that the agent holds as well would be no loss.
                keys.problems.append(loaded)

    def _load(self, path: Path) -> Any:
        """Return the key in ``path``, or a sentence that says why there is none."""
        if path not in self._files:
            try:
                self._files[path] = paramiko.PKey.from_path(path)
            except (paramiko.PasswordRequiredException, TypeError):
                # cryptography says TypeError for a key that needs a passphrase.
                self._files[path] = f"{path} needs a passphrase: load it by `ssh-add {path}`"
            except FileNotFoundError:
                self._files[path] = f"{path} does not exist"
            except (OSError, ValueError, paramiko.SSHException, paramiko.UnknownKeyType) as error:
                self._files[path] = f"cannot read {path}: {error}"
        return self._files[path]

    def _certified(self, path: Path, target: Target, key: Any) -> Any:
        """Return the key with the first certificate of ``target`` that was made for it."""
        for certificate in target.certificate_files:
            try:
                copy = paramiko.PKey.from_path(path)
                copy.load_certificate(str(certificate))
            except (OSError, ValueError):
                continue  # made for another key
            return copy
        return key

    def _agent_keys(self, path: str) -> Iterator[Credential]:
        if not path:
            return
        if path not in self._agents:
            self._agents[path] = _ask_agent(path)
        agent = self._agents[path]
        for key in agent.get_keys() if agent is not None else ():
            yield Credential(f"ssh-agent: {key.comment or fingerprint(key.asbytes())}", key)


_AgentSSH: Any = paramiko.agent.AgentSSH


class _Agent(_AgentSSH):  # type: ignore[misc]  # paramiko is loaded dynamically
    """An ssh-agent that many threads may ask to sign."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._turn = threading.Lock()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
            self._connect(connection)
        except (OSError, paramiko.SSHException):
            connection.close()
            raise

    def close(self) -> None:
        """End the connection to the agent."""
        self._close()

    def _send_message(self, msg: Any) -> Any:
        with self._turn:
            return super()._send_message(msg)


def _ask_agent(path: str) -> _Agent | None:
    """Return the agent behind a socket, or ``None`` when nobody answers there."""
    try:
        return _Agent(path)
    except (OSError, paramiko.SSHException):
        return None


def _public_keys(paths: tuple[Path, ...]) -> set[bytes]:
    """Return the public keys beside private ones, from their ``.pub`` files."""
    found = set()
    for path in paths:
        try:
            found.add(paramiko.pkey.PublicBlob.from_file(f"{path}.pub").key_blob)
        except (OSError, ValueError):
            continue  # there is none
    return found
