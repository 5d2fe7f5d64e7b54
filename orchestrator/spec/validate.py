"""Merged data to the model, and pydantic's errors to problems a person can act on.

Owns the wording and placing of validation errors. It must not know files or references between
services, which :mod:`.references` checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.errors import Problem
from orchestrator.spec.fields import PATTERNS
from orchestrator.spec.model import Project, Service
from orchestrator.spec.positions import Positions
from orchestrator.spec.suggest import did_you_mean
from orchestrator.spec.values import kind
from orchestrator.spec.yaml_data import Map

NOT_HERE: dict[str, str] = {
    "build": "an image is built under the top level's images:, a service only names it",
    "container_name": "containers are named after project, service and slot; use the service's name",
    "deploy": "write replicas and resources directly in the service",
    "env_file": "write environment:, with ${VAR} for values from the environment",
    "logging": "logging is the engine's own configuration",
    "mem_limit": "write resources: {memory: ...}",
    "cpus": "write resources: {cpus: ...}",
    "pids_limit": "write resources: {pids: ...}",
    "network_mode": "there is nothing to configure about networks",
    "networks": "there is nothing to configure about networks",
    "platform": "write it in the image's build:",
    "privileged": "write cap_add: with the capabilities it needs",
    "restart": "the agent restarts what stops",
    "retries": "write successes: (in a row) and deadline: (from start to healthy)",
    "scale": "write replicas:",
    "start_period": "write deadline: (from start to healthy)",
    "version": "this file has no version",
}
"""Keys of Compose that this spec does without, and what to do instead."""

_TYPES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a map",
    "finite_number": "a number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_type": "a whole number",
    "mapping_type": "a map",
    "model_type": "a map",
    "string_type": "a string",
    "string_too_short": "some text",
    "tuple_type": "a list",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than_equal": ("at most", "le"),
}
_NAMED_ENTRY = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*): ")


def validate(data: Map, positions: Positions) -> tuple[Project | None, list[Problem]]:
    """Return the project, or ``None`` and everything wrong with it."""
    try:
        return Project.model_validate(data, context={"yaml": True}), []
    except ValidationError as error:
        return None, problems_of(error, Project, positions)


def validate_defaults(defaults: Map, positions: Positions) -> list[Problem]:
    """Return what is wrong with ``defaults``, which hold any field of a service."""
    try:
        Service.model_validate({"image": "any", **defaults}, context={"yaml": True})
    except ValidationError as error:
        return problems_of(error, Service, positions, prefix=("defaults",))
    return []


def problems_of(
    error: ValidationError,
    model: type[BaseModel],
    positions: Positions,
    *,
    prefix: tuple[str | int, ...] = (),
) -> list[Problem]:
    """Return a problem for each of pydantic's errors."""
    return [_problem(details, model, positions, prefix) for details in error.errors(include_url=False)]


def _problem(
    details: ErrorDetails, model: type[BaseModel], positions: Positions, prefix: tuple[str | int, ...]
) -> Problem:
    kind_of_error, path = details["type"], details["loc"]
    if path and path[-1] == "[key]":
        path = path[:-1]
        return positions.problem(prefix + path, _pattern_message(details), key=True)
    if kind_of_error == "extra_forbidden":
        name = str(path[-1])
        hint = did_you_mean(name, _fields(model, path[:-1])) or NOT_HERE.get(name, "")
        return positions.problem(prefix + path, f"there is no key {name!r} here", hint=hint, key=True)
    if kind_of_error == "missing":
        return positions.problem(prefix + path, f"the key {str(path[-1])!r} is missing", key=True)
    message = _message(details)
    entry = _NAMED_ENTRY.match(message)
    if entry and positions.at((*prefix, *path, entry[1])) != positions.at(prefix + path):
        return positions.problem((*prefix, *path, entry[1]), message[entry.end() :])
    return positions.problem(prefix + path, message)


def _message(details: ErrorDetails) -> str:
    name, context = details["type"], details.get("ctx", {})
    if name == "value_error":
        return str(context.get("error", details["msg"]))
    if name == "string_pattern_mismatch":
        return _pattern_message(details)
    if name in _BOUNDS:
        words, key = _BOUNDS[name]
        expected = f"{words} {context[key]}"
    elif name == "literal_error":
        expected = str(context["expected"])
    elif name in _TYPES:
        expected = _TYPES[name]
    else:
        return details["msg"][:1].lower() + details["msg"][1:]
    return f"expected {expected}, got {_shown(details['input'])}"


def _pattern_message(details: ErrorDetails) -> str:
    pattern = details.get("ctx", {}).get("pattern", "")
    return f"expected {PATTERNS.get(pattern, f'text matching {pattern}')}, got {_shown(details['input'])}"


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}..."
    return kind(value) if value is None else f"a {kind(value)}"


def _fields(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Return the names of the fields of the model that ``path`` leads to."""
    current: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = next(
            (field for name, field in current.model_fields.items() if part in (name, field.alias)), None
        )
        if field is not None:
            current = _model_in(field.annotation) or current
    return [field.alias or name for name, field in current.model_fields.items()]


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None


def without_extensions(data: Mapping[str, Any]) -> list[str]:
    """Return the keys of ``data`` that are Compose's ``x-`` extensions."""
    return [key for key in data if key.startswith("x-")]
