"""Frozen dataclasses whose methods are not compiled when a module is imported.

``dataclasses.dataclass`` writes the source of six methods for every class and compiles it. That was 18
of the 83 ms of CPU in which an agent starts, on every host of every run. The methods here are ordinary
functions that look the fields up. For the protocol and the agent only; decision record 7 says why.

To a type checker this is ``dataclasses.dataclass``, and to ``fields``, ``replace``, ``asdict`` and
``match`` its classes are dataclasses: a test holds the two against each other. Only ``frozen=True`` is
offered, without ``__post_init__``, ``InitVar`` or ``ClassVar``.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterable, Tuple

__all__ = ["dataclass"]

_MISSING: Any = dataclasses.MISSING


@dataclasses.dataclass(frozen=True)
class _Model:
    """Where the marks come from by which the standard library knows its own."""

    field: int


_PARAMS: Any = vars(_Model)["__dataclass_params__"]
_REGULAR: Any = dataclasses.fields(_Model)[0]._field_type  # type: ignore[attr-defined]  # noqa: SLF001


def _frozen(cls: Any) -> Any:
    """Make ``cls`` a frozen dataclass, in place."""
    fields: Dict[str, Any] = {}
    for base in cls.__mro__[:0:-1]:
        fields.update(vars(base).get("__dataclass_fields__", ()))
    for name, annotation in vars(cls).get("__annotations__", {}).items():
        fields[name] = _field(cls, name, annotation)
    _check_order(fields.values())
    compared = _getter(item.name for item in fields.values() if item.compare)
    hashed = _getter(
        item.name for item in fields.values() if (item.compare if item.hash is None else item.hash)
    )
    own = {
        "__dataclass_fields__": fields,
        "__dataclass_params__": _PARAMS,
        "__match_args__": tuple(fields),
        "__init__": _initializer(cls.__qualname__, tuple(fields.values())),
        "__setattr__": _refuse_assignment,
        "__delattr__": _refuse_deletion,
        "__hash__": lambda self: hash(hashed(self)),
    }
    for name, value in own.items():
        setattr(cls, name, value)
    if "__repr__" not in vars(cls):
        cls.__repr__ = _representation
    if "__eq__" not in vars(cls):
        cls.__eq__ = _equality(compared)
    return cls


def _field(cls: Any, name: str, annotation: Any) -> Any:
    given = vars(cls).get(name, _MISSING)
    item: Any = given if isinstance(given, dataclasses.Field) else dataclasses.field(default=given)
    if item.default is not _MISSING:
        if item.default.__class__.__hash__ is None:
            raise ValueError(f"mutable default for field {name}: use default_factory")
        setattr(cls, name, item.default)
    elif item is given:
        delattr(cls, name)
    item.name, item.type, item._field_type = name, annotation, _REGULAR  # noqa: SLF001
    if hasattr(item, "kw_only"):  # came with python 3.10
        item.kw_only = False
    return item


def _check_order(fields: Iterable[Any]) -> None:
    optional = ""
    for item in fields:
        if item.default is not _MISSING or item.default_factory is not _MISSING:
            optional = item.name
        elif optional:
            raise TypeError(f"field {item.name!r} without a default follows {optional!r}, which has one")


def _getter(names: Iterable[str]) -> Callable[[Any], Any]:
    found = tuple(names)
    return attrgetter(*found) if found else lambda _self: ()


def _initializer(what: str, fields: Tuple[Any, ...]) -> Callable[..., None]:
    names = tuple(item.name for item in fields)
    known = frozenset(names)
    rules = tuple((item.name, item.default, item.default_factory) for item in fields)
    put = object.__setattr__

    def __init__(self: Any, *values: Any, **given: Any) -> None:  # noqa: N807 - it becomes one
        if values:
            _name(what, names, values, given)
        for name, default, factory in rules:
            if name in given:
                put(self, name, given[name])
            elif default is not _MISSING:
                put(self, name, default)
            elif factory is not _MISSING:
                put(self, name, factory())
            else:
                raise TypeError(f"{what} is missing {name!r}")
        if not known.issuperset(given):
            unknown = sorted(given.keys() - known)
            raise TypeError(f"{what} got an unexpected {unknown[0]!r}")

    return __init__


def _name(what: str, names: Tuple[str, ...], values: Tuple[Any, ...], given: Dict[str, Any]) -> None:
    """Put positional ``values`` under their names into ``given``."""
    if len(values) > len(names):
        raise TypeError(f"{what} takes {len(names)} values, {len(values)} were given")
    for name, value in zip(names, values):
        if name in given:
            raise TypeError(f"{what} got {name!r} twice")
        given[name] = value


def _equality(compared: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: Any) -> Any:  # noqa: N807 - it becomes one
        if other.__class__ is not self.__class__:
            return NotImplemented
        return compared(self) == compared(other)

    return __eq__


def _representation(self: Any) -> str:
    shown = (item.name for item in dataclasses.fields(self) if item.repr)
    return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"


def _refuse_assignment(_self: Any, name: str, _value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_deletion(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")


if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[Any], Any]:
        """Return a decorator that makes a class a frozen dataclass."""
        if not frozen:
            raise ValueError("a record is frozen")
        return _frozen
