"""Several files into one, and defaults into services.

Owns the rule of merging. It must not know files or pydantic.

Maps are merged key by key, the later file wins; lists and scalars are replaced. Maps of Compose that
may be written as lists of ``NAME=value`` (``environment``, ``labels``, ``args``, ``extra_hosts``; also
``headers``) merge as maps in either form. Where keys exclude each other (``replicas`` and ``per_host``;
``build`` and ``image``; the kinds of a health check), the later one displaces the earlier. ``!override``
replaces a map instead of merging it, ``!reset`` removes what was there. Apart from keys that exclude
each other, merging is associative.
"""

from __future__ import annotations

from typing import Any

from orchestrator.spec.yaml_data import RESET, Map, Seq

_PAIRS = frozenset(("environment", "labels", "args", "extra_hosts", "headers"))
_CHECKS = ("http", "tcp", "command", "test", "disable")
_EXCLUSIVE: dict[str, dict[str, tuple[str, ...]]] = {
    "services": {"replicas": ("per_host",), "per_host": ("replicas",)},
    "images": {"build": ("image",), "image": ("build",)},
    "healthcheck": {check: tuple(o for o in (*_CHECKS, "port") if o != check) for check in _CHECKS}
    | {"http": tuple(o for o in _CHECKS if o != "http")},
}
"""By the map they stand in: each key, and those it displaces."""


def merge(base: Map, over: Map, path: tuple[str, ...] = ()) -> Map:
    """Return ``over`` on top of ``base``; neither is changed, places follow the values."""
    result = Map()
    result.override = base.override
    result.update(base)
    result.places.update(base.places)
    inside = path[-1] if path[-1:] == ("healthcheck",) else path[0] if len(path) == 2 else ""
    exclusive = _EXCLUSIVE.get(inside, {})
    for key, value in over.items():
        for displaced in exclusive.get(key, ()):
            if displaced not in over:
                result.drop(displaced)
        result[key] = _merged(result[key], value, key, (*path, key)) if key in result else value
        result.places[key] = over.places[key]
    return result


def _merged(base: Any, over: Any, key: str, path: tuple[str, ...]) -> Any:
    if key in _PAIRS and isinstance(over, Seq | Map) and isinstance(base, Seq | Map):
        base, over = _as_map(base), _as_map(over)
    if not isinstance(over, Map) or over.override:
        return over
    if isinstance(base, Map):
        return merge(base, over, path)
    replacing = merge(Map(), over, path)  # what was no map is replaced for good, in whatever order we merge
    replacing.override = True
    return replacing


def _as_map(value: Map | Seq) -> Map | Seq:
    """Return a list of ``NAME=value`` as a map; as it is when an item is anything else."""
    if isinstance(value, Map):
        return value
    result = Map()
    for item, place in zip(value, value.places, strict=True):
        name, separator, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not separator or name in result:
            return value
        result[name] = text
        result.places[name] = place
    return result


def without_resets(data: Map) -> Map:
    """Return ``data`` without what is still marked ``!reset`` once everything is merged."""
    result = Map()
    for key, value in data.items():
        if value is not RESET:
            result[key] = without_resets(value) if isinstance(value, Map) else value
            result.places[key] = data.places[key]
    return result
