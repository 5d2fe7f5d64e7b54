"""Readers of single values: durations, sizes, modes, commands, paths, and pairs.

Owns the reading of single values (Compose's forms) into plain Python ones, and the rule that a name
that will reach a path, a command line or a configuration file holds no character with a meaning
there. It must not know which field uses which type. Everything wrong is a ``ValueError``, the one
exception that pydantic collects (hence the ``noqa: TRY004``).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationInfo

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,254}")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,253}[A-Za-z0-9])?")
HOST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")
HEADER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,62}[A-Za-z0-9])?")
_SPECIAL = {ENV_NAME: "_.-", LABEL_NAME: "._/-", HOST_NAME: ".-", HEADER_NAME: "-"}
PATH = re.compile(r"/[A-Za-z0-9._@+=~/-]{1,4094}")

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
        if CONTROL.search(value.replace("\n", " ").replace("\t", " ")):
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
    if not isinstance(value, str) or not PATH.fullmatch(value) or ".." in value.split("/"):
        raise ValueError(
            "expected an absolute path of letters, digits and ._@+=~- without '..' "
            f"(for example /etc/app.conf), got {value!r}"
        )
    return (
        value if value == "/" else "/" + "/".join(part for part in value.split("/") if part not in ("", "."))
    )
