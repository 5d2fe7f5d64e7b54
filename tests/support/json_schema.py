"""As much of JSON Schema as our own schema uses, so that the tests need no further package."""

from __future__ import annotations

import re
from typing import Any

_TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def errors(
    schema: dict[str, Any], value: Any, root: dict[str, Any] | None = None, path: str = ""
) -> list[str]:
    """Return why ``value`` does not fit ``schema``; empty when it does."""
    root = schema if root is None else root
    if "$ref" in schema:
        return errors(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], value, root, path)
    if "anyOf" in schema:
        tries = [errors(each, value, root, path) for each in schema["anyOf"]]
        return [] if any(not each for each in tries) else [f"{path}: no alternative fits: {tries}"]
    found = _scalar_errors(schema, value, path)
    if isinstance(value, dict) and not found:
        found += _object_errors(schema, value, root, path)
    if isinstance(value, list) and not found:
        for index, item in enumerate(value):
            found += errors(schema.get("items", {}), item, root, f"{path}[{index}]")
    return found


def _scalar_errors(schema: dict[str, Any], value: Any, path: str) -> list[str]:
    types = schema.get("type")
    names = [types] if isinstance(types, str) else types or []
    is_bool = isinstance(value, bool)
    fits = any(isinstance(value, _TYPES[name]) and (not is_bool or name == "boolean") for name in names)
    if names and not fits:
        return [f"{path}: {value!r} is not a {types}"]
    if "const" in schema and value != schema["const"]:
        return [f"{path}: {value!r} is not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return [f"{path}: {value!r} does not match {schema['pattern']}"]
    if isinstance(value, int | float) and not is_bool:
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not low <= value <= high:
            return [f"{path}: {value!r} is not between {low} and {high}"]
    return []


def _object_errors(
    schema: dict[str, Any], value: dict[str, Any], root: dict[str, Any], path: str
) -> list[str]:
    found = [f"{path}: {key} is missing" for key in schema.get("required", []) if key not in value]
    patterns = schema.get("patternProperties", {})
    for key, item in value.items():
        matching = [each for pattern, each in patterns.items() if re.search(pattern, key)]
        if key in schema.get("properties", {}):
            found += errors(schema["properties"][key], item, root, f"{path}.{key}")
        elif matching:
            found += errors(matching[0], item, root, f"{path}.{key}")
        elif schema.get("additionalProperties") is False:
            found.append(f"{path}: {key} is unknown")
        elif isinstance(schema.get("additionalProperties"), dict):
            found += errors(schema["additionalProperties"], item, root, f"{path}.{key}")
    return found
