"""Frozen dataclasses to JSON values and back, with the checking that untrusted input needs.

Owns the mapping only; which classes exist is said in :mod:`.instance` and :mod:`.messages`.
The JSON form is canonical: every field present, keys sorted, no whitespace, UTF-8.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import typing
from typing import Any, Dict, Tuple, Type, TypeVar, Union

T = TypeVar("T")

MAX_DEPTH = 32
"""Nesting beyond this is refused: nothing we say is deeper than 8."""


class WireError(ValueError):
    """A value does not have the shape its class declares. The message names the key path."""


def encode(value: Any) -> Any:
    """Return ``value`` (a dataclass, tuple, mapping or scalar) as plain JSON values."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    kind: Any = type(value)
    return {name: encode(getattr(value, name)) for name in _names(kind)}


@functools.lru_cache(maxsize=None)
def _names(cls: type) -> Tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


def canonical(value: Any) -> bytes:
    """Return the canonical JSON bytes of ``value``: equal values give equal bytes."""
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(value: Any) -> str:
    """Return the lower-case hexadecimal SHA-256 of :func:`canonical` of ``value``."""
    return hashlib.sha256(canonical(value)).hexdigest()


def decode(cls: Type[T], data: Any, path: str = "") -> T:
    """Build a ``cls`` from JSON values, checking every type on the way.

    Unknown keys are refused, missing ones take the field's default.

    Raises:
        WireError: A key is unknown or missing, or a value has the wrong type.
    """
    return typing.cast("T", _decode(cls, data, path or cls.__name__, 0))


@functools.lru_cache(maxsize=None)
def _hints(cls: type) -> Dict[str, Any]:
    return typing.get_type_hints(cls)


def _decode(kind: Any, data: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise WireError(f"{path}: nested too deep")
    if kind is Any:
        return data
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _decode_dataclass(kind, data, path, depth)
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Union:
        if data is None and type(None) in args:
            return None
        inner = [arg for arg in args if arg is not type(None)]
        return _decode(inner[0], data, path, depth + 1)
    if origin is tuple:
        return _decode_tuple(args, data, path, depth)
    if origin is dict:
        if not isinstance(data, dict):
            raise WireError(f"{path}: expected an object, got {type(data).__name__}")
        return {str(key): _decode(args[1], item, f"{path}.{key}", depth + 1) for key, item in data.items()}
    return _decode_scalar(kind, data, path)


def _decode_scalar(kind: Any, data: Any, path: str) -> Any:
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise WireError(f"{path}: expected {kind.__name__}, got {type(data).__name__}")
    return data


def _decode_dataclass(kind: type, data: Any, path: str, depth: int) -> Any:
    if not isinstance(data, dict):
        raise WireError(f"{path}: expected an object, got {type(data).__name__}")
    hints = _hints(kind)
    unknown = sorted(str(key) for key in data if key not in hints)
    if unknown:
        raise WireError(f"{path}: unknown key {unknown[0]!r}")
    values = {key: _decode(hints[key], item, f"{path}.{key}", depth + 1) for key, item in data.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise WireError(f"{path}: {error}") from error


def _decode_tuple(args: Any, data: Any, path: str, depth: int) -> Any:
    if not isinstance(data, list):
        raise WireError(f"{path}: expected an array, got {type(data).__name__}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_decode(args[0], item, f"{path}[{i}]", depth + 1) for i, item in enumerate(data))
    if len(args) != len(data):
        raise WireError(f"{path}: expected {len(args)} items, got {len(data)}")
    return tuple(
        _decode(arg, item, f"{path}[{i}]", depth + 1) for i, (arg, item) in enumerate(zip(args, data))
    )
