"""The JSON Schema of a spec, for editors.

Owns turning pydantic's schema of the model into one of the files people write: short forms, ``x-``
keys, ``defaults`` and ``${VARIABLES}``. It must not know the loader.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from orchestrator.spec.model import Project

_Schema = dict[str, Any]

_STRING: _Schema = {"type": "string"}
_SHORT_FORMS: dict[str, _Schema] = {
    "Build": _STRING,
    "Dependency": _STRING,
    "Healthcheck": {"const": "none"},
    "Image": _STRING,
    "Port": {"type": ["string", "integer"]},
    "Job": {"anyOf": [_STRING, {"type": "array", "items": {"type": ["string", "number", "boolean"]}}]},
    "Tmpfs": _STRING,
    "Update": _STRING,
    "VolumeMount": _STRING,
}
"""What may stand in place of the map."""
_OTHER_KEYS: dict[str, dict[str, _Schema]] = {
    "Healthcheck": {
        "disable": {"type": "boolean", "description": "Compose's way to say none."},
        "test": {
            "type": ["string", "array"],
            "description": "Compose's way to write command.",
        },
    },
    "VolumeMount": {"name": {"type": "string", "description": "The same as source."}},
}
_LISTS_OR_ONE: tuple[tuple[str, str, _Schema], ...] = (
    ("Service", "hosts", _STRING),
    ("Service", "tmpfs", _STRING),
    ("Service", "expose", {"type": ["integer", "string"]}),
    ("Router", "hosts", _STRING),
    ("Route", "bind", {"type": ["integer", "string"]}),
)
"""(definition, field, what may stand in place of a list)."""
_VARIABLE: _Schema = {"type": "string", "pattern": r"\$"}
_NOTES = ("description", "default", "examples")


def json_schema() -> _Schema:
    """Return the schema (draft 2020-12) of one spec file."""
    schema = Project.model_json_schema(by_alias=True)
    definitions: dict[str, _Schema] = schema.pop("$defs")
    for name, keys in _OTHER_KEYS.items():
        definitions[name]["properties"] |= copy.deepcopy(keys)
    for definition in (schema, *definitions.values()):
        for prop in definition["properties"].values():
            prop.pop("title", None)
    for name, key, one in _LISTS_OR_ONE:
        definitions[name]["properties"][key] = _either(definitions[name]["properties"][key], one)
    service = definitions["Service"]
    _widen_service(service["properties"])
    for name, form in _SHORT_FORMS.items():
        definitions[name] = _either(definitions[name], form)
    definitions["Defaults"] = copy.deepcopy(service)
    del definitions["Defaults"]["required"]
    definitions["Defaults"]["description"] = "Fields merged into every service, which wins over them."
    schema["properties"]["defaults"] = {"$ref": "#/$defs/Defaults"}
    schema["patternProperties"] = {"^x-": {}}
    schema["required"] = []  # of several files each may hold a part
    variables = _walk(schema | {"$defs": definitions}, _or_variable)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **variables}


def _widen_service(properties: dict[str, _Schema]) -> None:
    properties["depends_on"] = _either(
        properties["depends_on"], {"type": "object", "additionalProperties": {"type": ["object", "null"]}}
    )


def _either(schema: _Schema, other: _Schema) -> _Schema:
    notes = {key: schema[key] for key in _NOTES if key in schema}
    return notes | {"anyOf": [{key: item for key, item in schema.items() if key not in notes}, dict(other)]}


def _or_variable(schema: _Schema) -> _Schema:
    """Let a ``${VARIABLE}`` stand wherever only some scalars may."""
    types = schema.get("type")
    scalar = types in ("integer", "number", "boolean") or "enum" in schema or "const" in schema
    narrow = scalar or (types == "string" and ("pattern" in schema or "minLength" in schema))
    return _either(schema, _VARIABLE) if narrow else schema


def _walk(node: Any, change: Callable[[_Schema], _Schema], *, is_schema: bool = True) -> Any:
    """Apply ``change`` to every schema in ``node``, innermost first."""
    if isinstance(node, list):
        return [_walk(item, change) for item in node]
    if not isinstance(node, dict):
        return node
    maps = ("properties", "patternProperties", "$defs")
    result = {
        key: value
        if key in _NOTES and is_schema
        else _walk(value, change, is_schema=not (is_schema and key in maps))
        for key, value in node.items()
    }
    return change(result) if is_schema else result
