"""The scalar types of the spec: durations, sizes, modes, names, paths, and pairs.

Owns the reading of single values (Compose's forms) into plain Python ones, and the rule that a name
that will reach a path, a command line or a configuration file holds no character with a meaning
there. It must not know which field uses which type. Everything wrong is a ``ValueError``, the one
exception that pydantic collects (hence the ``noqa: TRY004``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, WithJsonSchema

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,253}[A-Za-z0-9])?")
_HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
_SPECIAL = {_ENV_NAME: "_.-", _LABEL_NAME: "._/-", _HOST_NAME: ".-"}
_PATH = re.compile(r"/[A-Za-z0-9._@+=~/-]{1,4094}")

MAX_SECONDS = 365 * 86400.0
"""The longest duration taken: beyond it a unit was mistyped."""
MAX_BYTES = 1 << 60
"""The largest size taken."""

Pairs = tuple[tuple[str, str], ...]
"""A frozen mapping of strings: pairs sorted by key, each key once."""


def duration(value: object) -> float:
    """Return ``10s``, ``1m30s``, ``500ms`` or a bare number of seconds as seconds.

    Raises:
        ValueError: It is not a duration, or longer than a year.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,12})?", text):
        seconds = float(text)
    else:
        parts = _DURATION.findall(text) if len(text) < 100 else []
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"expected a duration such as 10s, 1m30s or 500ms, got {value!r}")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds > MAX_SECONDS:
        raise ValueError(f"expected a duration of at most a year, got {value!r}")
    return seconds


def size(value: object) -> int:
    """Return ``512m``, ``1.5g``, ``64kb`` or a bare number as bytes (powers of 1024, as Compose has it).

    Raises:
        ValueError: It is not a size.
    """
    text = "" if isinstance(value, bool) else str(value).strip()
    match = _SIZE.fullmatch(text) if len(text) < 40 else None
    if match is None:
        raise ValueError(f"expected a size such as 512m or 1g, got {value!r}")
    result = int(float(match[1]) * _SIZES[match[2].lower()])
    if result > MAX_BYTES:
        raise ValueError(f"expected a size of at most {MAX_BYTES} bytes, got {value!r}")
    return result


def mode(value: object, info: ValidationInfo) -> int:
    """Return a file mode from its octal digits: ``0444``, ``0o444`` or ``"444"``.

    A bare ``444`` of a file is refused, since YAML 1.2 reads it as a decimal number and a person means
    octal digits; a Python caller (no validation context) passes the number itself.

    Raises:
        ValueError: It is not an octal mode between 0 and 0777.
    """
    if isinstance(value, int) and not isinstance(value, bool) and info.context is None:
        number = value
    elif isinstance(value, str) and re.fullmatch(r"0?o?[0-7]{3,4}", value):
        number = int(value.replace("o", ""), 8)
    else:
        raise ValueError(f"expected an octal file mode such as 0444, got {value!r}")
    if not 0 <= number <= 0o777:
        raise ValueError(f"expected a file mode of at most 0777, got {value!r}")
    return number


def text(value: object) -> str:
    """Return a scalar as text, the way Compose writes it (``true``, ``8080``).

    Raises:
        ValueError: It is null, a list or a map, or holds a NUL.
    """
    if value is None:
        raise ValueError('expected a value, got nothing (write "" for an empty one)')
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise ValueError(f"expected a string, a number or a boolean, got a {kind(value)}")  # noqa: TRY004
    if "\0" in (result := str(value)):
        raise ValueError("expected text without NUL characters")
    return result


def kind(value: object) -> str:
    """Return what YAML calls the type of ``value``."""
    if value is None:
        return "nothing"
    names = (
        (Mapping, "map"),
        (list | tuple, "list"),
        (str, "string"),
        (bool, "boolean"),
        (int | float, "number"),
    )
    return next((name for types, name in names if isinstance(value, types)), type(value).__name__)


def as_list(value: object) -> object:
    """Return a lone string or number as a list of one, anything else unchanged."""
    return [value] if isinstance(value, str | int) and not isinstance(value, bool) else value


def argv(value: object) -> object:
    """Return a command: a string is split as a shell would (and never given to one), a list stays."""
    if isinstance(value, str):
        if _CONTROL.search(value.replace("\n", " ").replace("\t", " ")):
            raise ValueError("expected a command without control characters")
        try:
            return shlex.split(value)
        except ValueError as error:
            raise ValueError(f"expected a command that can be split into words: {error}") from error
    return value


def pairs(value: object, *, name: re.Pattern[str], what: str, separators: str = "=") -> Pairs:
    """Return a map, or a list of ``KEY=value``, as sorted pairs.

    Raises:
        ValueError: A name is malformed or given twice, or a value is missing or not a scalar.
    """
    found: dict[str, str] = {}
    if isinstance(value, Mapping):
        items: list[tuple[Any, Any]] = list(value.items())
    elif isinstance(value, list | tuple):
        items = [_pair(item, what, separators) for item in value]
    else:
        raise ValueError(f"expected a map, or a list of NAME{separators[0]}value, got a {kind(value)}")  # noqa: TRY004
    wrong: list[str] = []
    for key, item in items:
        if not isinstance(key, str | int) or isinstance(key, bool) or not name.fullmatch(str(key)):
            wrong.append(f"expected {what} named by letters, digits and {_SPECIAL[name]}, got {key!r}")
        elif str(key) in found:
            wrong.append(f"{key}: {what} that is given twice")
        else:
            try:
                found[str(key)] = text(item)
            except ValueError as error:
                wrong.append(f"{key}: {error}")
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(sorted(found.items()))


def _pair(item: object, what: str, separators: str) -> tuple[object, object]:
    if isinstance(item, list | tuple) and len(item) == 2:
        return item[0], item[1]
    if not isinstance(item, str):
        raise ValueError(f"expected NAME{separators[0]}value, got a {kind(item)}")  # noqa: TRY004
    for separator in separators:
        key, found, value = item.partition(separator)
        if found:
            return key, value
    raise ValueError(
        f"expected NAME{separators[0]}value, got {item!r}"
        + (f"; to pass {what} of this machine on, write {item}=${{{item}}}" if separators == "=" else "")
    )


def container_path(value: object) -> str:
    """Return an absolute, normal path: no ``..``, no character that means something elsewhere.

    Raises:
        ValueError: It is not such a path.
    """
    if not isinstance(value, str) or not _PATH.fullmatch(value) or ".." in value.split("/"):
        raise ValueError(
            "expected an absolute path of letters, digits and ._@+=~- without '..' "
            f"(for example /etc/app.conf), got {value!r}"
        )
    return (
        value if value == "/" else "/" + "/".join(part for part in value.split("/") if part not in ("", "."))
    )


def _printable(value: object) -> object:
    if isinstance(value, str) and _CONTROL.search(value):
        raise ValueError("expected text without control characters")
    return value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, got a boolean")  # noqa: TRY004
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
_PATH_SCHEMA: dict[str, Any] = {"type": "string", "pattern": f"^{_PATH.pattern}$"}

_NAME = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_HOST_TERM = r"^[A-Za-z0-9][A-Za-z0-9_./-]{0,252}(=[A-Za-z0-9_.-]{1,63})?$"
_HOST = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$"
_CREDENTIAL = r"^[A-Za-z0-9_][A-Za-z0-9_-]{0,62}(\.[A-Za-z0-9_-]{1,62})?$"
_WORD = r"^[A-Za-z0-9][A-Za-z0-9_.:/+-]{0,254}$"
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
    Pairs, BeforeValidator(_pairs_of(_ENV_NAME, "a variable")), WithJsonSchema(_PAIRS_SCHEMA)
]
Labels = Annotated[Pairs, BeforeValidator(_pairs_of(_LABEL_NAME, "a label")), WithJsonSchema(_PAIRS_SCHEMA)]
Hosts = Annotated[
    Pairs,
    BeforeValidator(_pairs_of(_HOST_NAME, "a host", "=:")),
    WithJsonSchema(_PAIRS_SCHEMA),
]
