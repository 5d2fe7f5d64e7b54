"""Where secrets' values come from on this machine, and the wrapper that keeps them out of sight.

Owns reading the environment, files and commands a spec names. It must not know what the values are
for; no message it makes holds a value, or output of a command that might hold one.
"""

from __future__ import annotations

import hmac
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from orchestrator.errors import RequestError
from orchestrator.spec.model import Secret

MAX_SECRET = 1 << 20
"""Largest value, in bytes."""
COMMAND_TIMEOUT = 60.0
"""Seconds a command may take; a password manager may ask a person."""


class SecretValue:
    """Bytes that no ``repr``, ``str``, format, pickle or traceback of ours shows."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = value

    def reveal(self) -> bytes:
        """Return the value. Whoever calls this answers for where it goes."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "SecretValue(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle a secret")


def resolve_secret(secret: Secret, *, environ: Mapping[str, str], directory: Path) -> SecretValue:
    """Return the value of ``secret`` as of now.

    Args:
        secret: From the spec.
        environ: Variables of this command; a secret's command gets them too.
        directory: Absolute folder that relative files start at, and commands run in.

    Raises:
        RequestError: It cannot be had; the message names the secret and its source, never a value.
    """
    source = secret.from_
    if source.env is not None:
        if source.env not in environ:
            _fail(secret, f"the variable {source.env} is not set", "set it, or name another source")
        value = environ[source.env].encode("utf-8", "surrogateescape")
    elif source.file is not None:
        value = _read(secret, directory / Path(source.file).expanduser())
    else:
        value = _run(secret, source.command or (), environ, directory)
    if not value:
        _fail(secret, "its value is empty", "an empty secret is almost always a mistake")
    if len(value) > MAX_SECRET:
        _fail(secret, f"its value is larger than {MAX_SECRET} bytes")
    return SecretValue(value)


def _read(secret: Secret, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET + 1)
    except OSError as error:
        _fail(secret, f"{path}: {(error.strerror or 'unreadable').lower()}")


def _run(secret: Secret, command: tuple[str, ...], environ: Mapping[str, str], directory: Path) -> bytes:
    if not command:
        _fail(secret, "its command is empty")
    name = command[0]  # the arguments stay out of messages: they may hold credentials
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            cwd=directory,
            env=dict(environ),
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        _fail(secret, f"the command {name} took longer than {COMMAND_TIMEOUT:.0f} s")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        _fail(secret, f"cannot run the command {name}: {(reason or 'unusable arguments').lower()}")
    if done.returncode != 0:
        _fail(secret, f"the command {name} failed with exit status {done.returncode}")
    return done.stdout.removesuffix(b"\n").removesuffix(b"\r")


def _fail(secret: Secret, reason: str, hint: str | None = None) -> NoReturn:
    raise RequestError(f"cannot get the secret {secret.name}: {reason}", hint=hint) from None
