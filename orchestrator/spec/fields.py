"""The types of the spec's fields: values read by :mod:`.values`, with their rules and JSON Schemas.

Owns the patterns of names and what each asks for in words. It must not know which field has which type.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from orchestrator.spec.values import (
    CONTROL,
    ENV_NAME,
    HOST_NAME,
    LABEL_NAME,
    PATH,
    Pairs,
    argv,
    container_path,
    duration,
    mode,
    pairs,
    size,
    text,
)


def _printable(value: object) -> object:
    if isinstance(value, str) and CONTROL.search(value):
        raise ValueError("expected text without control characters")
    return value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, got a boolean")  # noqa: TRY004
    return value


def _addresses(value: Pairs) -> Pairs:
    for name, address in value:
        if address != "host-gateway":
            try:
                ipaddress.ip_address(address.strip("[]"))
            except ValueError as error:
                raise ValueError(f"{name}: expected an address or host-gateway, got {address!r}") from error
    return value


def _pairs_of(name: re.Pattern[str], what: str, separators: str = "=") -> Callable[[object], Pairs]:
    return lambda value: pairs(value, name=name, what=what, separators=separators)


_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_PAIRS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALAR},
        {"type": "array", "items": {"type": "string"}},
    ],
}
_DURATION_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h|d))+$"},
        {"type": "number", "minimum": 0},
    ],
}
_SIZE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?\s*[kKmMgGtT]?[iI]?[bB]?$"},
        {"type": "integer", "minimum": 0},
    ],
}
_MODE_SCHEMA: dict[str, Any] = {"type": ["string", "integer"], "pattern": r"^(0?o?[0-7]{3,4})$"}
_ARGV_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": _SCALAR}]}
_PATH_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{PATH.pattern}$"}

_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_HOST_TERM = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,252}(=[A-Za-z0-9_.-]{1,63})?$"
_HOST = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$"
_CREDENTIAL = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,62})?$"
_WORD = r"^[A-Za-z0-9_][A-Za-z0-9_.:/+-]{0,254}$"
_IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}(@sha256:[0-9a-f]{64})?$"
_SIGNAL = r"^(SIG)?[A-Z][A-Z0-9+-]{1,12}$"
_HOSTNAME = r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
_URL_PATH = r"^/[!-~]*$"

PATTERNS: dict[str, str] = {
    _NAME: "a name of lower-case letters, digits, _ and - (at most 63)",
    _HOST_TERM: "a host, a group or a label selector such as zone=a",
    _HOST: "the name of a host",
    _CREDENTIAL: "a name of letters, digits, _ and - (at most 63)",
    _WORD: "a single word of letters, digits and _.:/+-",
    _IMAGE: "an image reference such as redis:7@sha256:... (64 hexadecimal digits)",
    _SIGNAL: "a signal such as SIGTERM",
    _HOSTNAME: "a host name of letters, digits, - and .",
    _VARIABLE: "the name of an environment variable",
    _URL_PATH: "a path that starts with / and has no spaces",
}
"""What each pattern asks for, in words, for error messages and the reference."""

Name = Annotated[str, StringConstraints(pattern=_NAME)]
"""Of a project, image, service or volume: lower-case letters, digits, ``_`` and ``-``, at most 63."""
HostTerm = Annotated[str, StringConstraints(pattern=_HOST_TERM)]
"""A host, a group, ``all``, or a label selector ``key=value``."""
SecretName = Annotated[str, StringConstraints(pattern=_CREDENTIAL)]
Duration = Annotated[float, BeforeValidator(duration), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds."""
Size = Annotated[int, BeforeValidator(size), WithJsonSchema(_SIZE_SCHEMA)]
"""Bytes."""
Mode = Annotated[int, BeforeValidator(mode), WithJsonSchema(_MODE_SCHEMA)]
"""Permission bits."""
Count = Annotated[int, Field(ge=0, le=100_000), BeforeValidator(_not_bool)]
PortNumber = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_not_bool)]
Uid = Annotated[int, Field(ge=0, le=2**32 - 2), BeforeValidator(_not_bool)]
AbsolutePath = Annotated[str, BeforeValidator(container_path), WithJsonSchema(_PATH_SCHEMA)]
LocalPath = Annotated[str, StringConstraints(min_length=1, max_length=4096), BeforeValidator(_printable)]
"""A path on this machine, relative to the first spec file's directory."""
HostName = Annotated[str, StringConstraints(pattern=_HOST)]
Reference = Annotated[str, StringConstraints(pattern=_IMAGE)]
"""An image to pull."""
Signal = Annotated[str, StringConstraints(pattern=_SIGNAL)]
ContainerHostname = Annotated[str, StringConstraints(pattern=_HOSTNAME)]
VariableName = Annotated[str, StringConstraints(pattern=_VARIABLE)]
UrlPath = Annotated[str, StringConstraints(pattern=_URL_PATH, max_length=2048)]
Word = Annotated[str, StringConstraints(pattern=_WORD), BeforeValidator(text)]
"""One harmless word, such as a user, a host name, a target of a build or a platform."""
Argv = Annotated[
    tuple[Annotated[str, BeforeValidator(text)], ...], BeforeValidator(argv), WithJsonSchema(_ARGV_SCHEMA)
]
"""A command as a list of arguments."""
Environment = Annotated[
    Pairs, BeforeValidator(_pairs_of(ENV_NAME, "a variable")), WithJsonSchema(_PAIRS_SCHEMA)
]
Labels = Annotated[Pairs, BeforeValidator(_pairs_of(LABEL_NAME, "a label")), WithJsonSchema(_PAIRS_SCHEMA)]
Hosts = Annotated[
    Pairs,
    AfterValidator(_addresses),
    BeforeValidator(_pairs_of(HOST_NAME, "a host", "=:")),
    WithJsonSchema(_PAIRS_SCHEMA),
]
