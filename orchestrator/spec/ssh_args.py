"""OpenSSH arguments in an inventory (``ansible_ssh_common_args``): what we honour of them.

Owns the parsing and the list of honoured options. It must not know hosts or connect to anything.
Host keys are always checked: an option that would weaken that is not honoured, and said so.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

HONOURED = {
    name.lower(): name
    for name in (
        "ConnectTimeout",
        "IdentitiesOnly",
        "IdentityFile",
        "Port",
        "ProxyCommand",
        "ProxyJump",
        "ServerAliveInterval",
        "StrictHostKeyChecking",
        "User",
        "UserKnownHostsFile",
    )
}
"""OpenSSH compares option names without case; the values are the names as we pass them on."""

_MEANINGLESS = frozenset(("controlmaster", "controlpersist", "controlpath", "batchmode", "loglevel"))
"""Options of the ssh program itself, with nothing to change here: ignored without a word."""
_FLAGS = {"-J": "ProxyJump", "-i": "IdentityFile", "-p": "Port", "-l": "User"}
_NUMBERS = frozenset(("ConnectTimeout", "Port", "ServerAliveInterval"))
_SEPARATOR = re.compile(r"\s*=\s*|\s+")
_JUMP = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:,\[\]%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]*")


@dataclass(frozen=True)
class SshArgs:
    """Arguments understood, and what was not."""

    options: tuple[tuple[str, str], ...] = ()
    """Options by OpenSSH's own names, in order; only ``IdentityFile`` may appear more than once."""
    warnings: tuple[tuple[str, str], ...] = ()
    """Message and hint of each thing that is not honoured."""


def parse_ssh_args(text: str) -> SshArgs:
    """Read ``-o Name=value``, ``-oName=value``, ``-J``, ``-i``, ``-p`` and ``-l``; the first value wins.

    Raises:
        ValueError: It cannot be split, an option lacks its value, or a value is malformed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"expected arguments of ssh: {str(error).lower()}") from error
    options: list[tuple[str, str]] = []
    warnings: list[tuple[str, str]] = []
    pending = iter(words)
    for word in pending:
        flag, value = word[:2], word[2:]
        if flag not in _FLAGS and flag != "-o":
            warnings.append((f"the argument {word!r} is not honoured", "use -o Name=value options"))
            continue
        value = value or next(pending, "")
        if not value:
            raise ValueError(f"the argument {flag} lacks its value")
        if flag == "-o":
            name, value = (
                _SEPARATOR.split(value.strip(), maxsplit=1) if _SEPARATOR.search(value) else (value, "")
            )
        else:
            name = _FLAGS[flag]
        _take(name, value, options, warnings)
    return SshArgs(tuple(options), tuple(warnings))


def _take(name: str, value: str, options: list[tuple[str, str]], warnings: list[tuple[str, str]]) -> None:
    known = HONOURED.get(name.lower())
    if known is None:
        if name.lower() not in _MEANINGLESS:
            hint = f"honoured are {', '.join(sorted(HONOURED.values()))}"
            warnings.append((f"the ssh option {name} is not honoured", hint))
        return
    if not value or any(ord(char) < 0x20 or ord(char) == 0x7F for char in value):
        raise ValueError(f"the ssh option {known} has no usable value")
    if weaker := _weaker(known, value):
        warnings.append(
            (weaker, "add the host's key: ssh-keyscan -H HOST >> ~/.ssh/known_hosts, and compare it")
        )
        return
    _check(known, value)
    if known == "IdentityFile" or all(known != taken for taken, _ in options):
        options.append((known, value))


def _weaker(name: str, value: str) -> str:
    if name == "StrictHostKeyChecking" and value.lower() not in ("yes", "true"):
        return f"StrictHostKeyChecking={value} is not honoured: host keys are always checked"
    if name == "UserKnownHostsFile" and value in ("/dev/null", "none"):
        return f"UserKnownHostsFile={value} is not honoured: host keys are always checked"
    return ""


def _check(name: str, value: str) -> None:
    if name in _NUMBERS and not re.fullmatch(r"[0-9]{1,5}", value):
        raise ValueError(f"the ssh option {name} expects a number, got {value!r}")
    if name == "ProxyJump" and not _JUMP.fullmatch(value):
        raise ValueError(f"the ssh option ProxyJump expects [user@]host[:port], got {value!r}")
    if name == "User" and not _USER.fullmatch(value):
        raise ValueError(f"the ssh option User expects a name, got {value!r}")
    if name == "IdentitiesOnly" and value.lower() not in ("yes", "no"):
        raise ValueError(f"the ssh option IdentitiesOnly expects yes or no, got {value!r}")
