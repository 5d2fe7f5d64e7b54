"""YAML text to plain data that remembers where each value was written.

Owns the walk over the parser's events: positions, duplicate keys, anchors and merge keys within a
bound, tags, interpolation of scalars. It must not know what the keys mean.

The parser is libyaml's (``ruamel.yaml.clib``) where it is installed, about twenty times faster than
ruamel.yaml's own. That one reads what libyaml refuses: it knows YAML 1.2, where ``[a:b]`` is text.
Scalars follow YAML 1.2's core schema, except that whatever cannot be written back exactly (``1.10``,
``0644``, ``0x1F``) stays the text it was: fields that are numbers read it, and an environment variable
keeps the user's own digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from orchestrator.errors import Problem
from orchestrator.spec.location import Location
from orchestrator.spec.yaml_data import RESET, Map, Seq, core_scalar, key_path
from orchestrator.spec.yaml_errors import syntax_problem

MAX_DEPTH = 50
"""Deepest nesting, aliases included."""
MAX_VALUES = 1_000_000
"""Most values in a document after its aliases are expanded, so that few lines cannot become gigabytes."""
MAX_BYTES = 16 << 20
"""Largest file."""
MAX_PROBLEMS = 100
"""Reading stops after so many problems."""

_CORE_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null", "map", "seq"))
_STR_TAGS = frozenset(("!", "tag:yaml.org,2002:str"))


class _Stop(Exception):  # noqa: N818 - not an error: leaves the recursion once reading cannot go on
    pass


_Event = Any
"""An event of either parser: they share attributes and the classes of ruamel.yaml.events."""


def read_yaml(
    text: str,
    file: str,
    *,
    scalar: Callable[[str], Any] = core_scalar,
    interpolate: Callable[[str], str] | None = None,
    opaque_tags: frozenset[str] = frozenset(),
) -> tuple[Map, tuple[Problem, ...]]:
    """Read one document whose top level is a map.

    Args:
        text: The document.
        file: Its name, for positions.
        scalar: Reads plain scalars.
        interpolate: Applied to every scalar value with a ``$``; a ``ValueError`` becomes a problem.
        opaque_tags: Tags that are accepted and whose text is kept as it is.

    Returns:
        The data, as much of it as could be read, and everything wrong with it.
    """
    if len(text) > MAX_BYTES:
        message = f"the file is larger than {MAX_BYTES >> 20} MiB"
        return Map(), (Problem(message, file),)
    arguments = (file, scalar, interpolate, opaque_tags)
    problems: tuple[Problem, ...] = ()
    for events in (_fast_events, _exact_events):
        reader = _Reader(*arguments)
        try:
            return reader.document(events(text)), tuple(reader.problems)
        except _Stop:
            return Map(), tuple(reader.problems)
        except ImportError:
            continue
        except (YAMLError, ValueError, OverflowError) as error:
            failure = syntax_problem(error, text, file)
            before = (problem for problem in reader.problems if problem.line < failure.line)
            problems = (*before, failure)
    return Map(), problems


def _fast_events(text: str) -> Iterator[_Event]:
    from _ruamel_yaml import CParser  # type: ignore[import-not-found]  # noqa: PLC0415 - optional, untyped

    parser = CParser(text)
    while (event := parser.get_event()) is not None:
        yield event


def _exact_events(text: str) -> Iterator[_Event]:
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import, and seldom needed

    yield from YAML(typ="safe", pure=True).parse(text)


class _Reader:
    """The state of one reading: where we are, what was anchored, what was wrong."""

    def __init__(
        self,
        file: str,
        scalar: Callable[[str], Any],
        interpolate: Callable[[str], str] | None,
        opaque_tags: frozenset[str],
    ) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._scalar = scalar
        self._interpolate = interpolate
        self._opaque_tags = opaque_tags
        self._anchors: dict[str, tuple[Any, int, int]] = {}
        """By name: the value, how many values it holds, how deep it is."""
        self._path: list[str | int] = []
        self._count = 0
        self._peak = 0
        self._next: Callable[[], _Event]

    def document(self, events: Iterator[_Event]) -> Map:
        """Return the only document of the stream."""
        self._next = events.__next__
        result: Map | None = None
        for event in events:
            if type(event) is DocumentEndEvent or type(event) is not DocumentStartEvent:
                continue
            if result is not None:
                self._problem(event, "expected one document, got a second one after '---'")
                raise _Stop
            first = self._next()
            value = self._value(first, 1)
            if value is not None and not isinstance(value, Map):
                self._problem(first, "expected a map of keys at the top level")
                raise _Stop
            result = value if value is not None else Map()
        return result if result is not None else Map()

    def _problem(self, event: _Event, message: str, hint: str = "") -> None:
        mark = event.start_mark
        where = Location(self.file, mark.line + 1, mark.column + 1)
        self.problems.append(where.problem(message, path=key_path(self._path), hint=hint))
        if len(self.problems) >= MAX_PROBLEMS:
            raise _Stop

    def _value(self, event: _Event, depth: int) -> Any:
        self._count += 1
        self._peak = max(self._peak, depth)
        if depth > MAX_DEPTH:
            self._problem(event, f"nested deeper than {MAX_DEPTH} levels")
            raise _Stop
        kind = type(event)
        if kind is AliasEvent:
            return self._alias(event, depth)
        before, outer_peak, self._peak = self._count, self._peak, depth
        value: Any
        if kind is ScalarEvent:
            value = self._read_scalar(event)
        elif kind is MappingStartEvent:
            value = self._tagged(event, self._map(depth))
        else:
            value = self._tagged(event, self._seq(depth))
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before + 1, self._peak - depth)
        self._peak = max(self._peak, outer_peak)
        return value

    def _alias(self, event: _Event, depth: int) -> Any:
        if event.anchor not in self._anchors:
            self._problem(event, f"no anchor &{event.anchor} stands complete before this alias")
            return Map()
        value, weight, height = self._anchors[event.anchor]
        self._count += weight
        self._peak = max(self._peak, depth + height)
        if self._count > MAX_VALUES or depth + height > MAX_DEPTH:
            self._problem(event, f"aliases expand to more than {MAX_VALUES} values or {MAX_DEPTH} levels")
            raise _Stop
        return value

    def _tagged(self, event: _Event, value: Map | Seq) -> Any:
        tag = event.tag
        if tag is None or str(tag) in _CORE_TAGS:
            return value
        if str(tag) == "!reset":
            return RESET
        if str(tag) == "!override":
            if isinstance(value, Map):
                value.override = True
            return value
        self._unknown_tag(event)
        return value

    def _unknown_tag(self, event: _Event) -> None:
        self._problem(event, f"the tag {event.tag} is not known here", "only !reset and !override are")

    def _read_scalar(self, event: _Event) -> Any:
        text: str = event.value
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self._problem(event, "expected Unicode text, got half of a surrogate pair")
            return ""
        plain = event.implicit[0]
        tag = event.tag
        if tag is not None:
            tag = str(tag)
            if tag == "!reset":
                return RESET
            if tag in self._opaque_tags:
                return text
            plain = tag in _CORE_TAGS or tag == "!override"
            if not plain and tag not in _STR_TAGS:
                self._unknown_tag(event)
        if self._interpolate is not None and "$" in text:
            try:
                return self._interpolate(text)
            except ValueError as error:
                self._problem(event, str(error))
                return text
        return self._scalar(text) if plain else text

    def _key(self, event: _Event, depth: int) -> str | None:
        if type(event) is ScalarEvent and event.anchor is None:
            self._count += 1
            return str(event.value)
        value = self._value(event, depth)
        if isinstance(value, str):
            return value
        self._problem(event, "expected a plain key, got a list, a map or an alias of one")
        return None

    def _map(self, depth: int) -> Map:
        result = Map()
        places = result.places
        merges: list[tuple[_Event, Any]] = []
        while type(key_event := self._next()) is not MappingEndEvent:
            key = self._key(key_event, depth + 1)
            value_event = self._next()
            if key is None:
                self._value(value_event, depth + 1)
                continue
            self._path.append(key)
            value = self._value(value_event, depth + 1)
            if key == "<<" and type(key_event) is ScalarEvent and key_event.implicit[0]:
                merges.append((value_event, value))
            elif key in result:
                first = Location(self.file, *places[key][1:3])
                self._problem(key_event, f"the key {key!r} is given twice, first at {first}")
            else:
                start, end = key_event.start_mark, value_event.start_mark
                result[key] = value
                places[key] = (self.file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)
            self._path.pop()
        for event, value in merges:
            self._merge(result, event, value)
        return result

    def _merge(self, into: Map, event: _Event, value: Any) -> None:
        for source in value if isinstance(value, Seq) else [value]:
            if not isinstance(source, Map):
                self._problem(event, "expected a map, or a list of maps, to merge by <<")
                return
            for key, item in source.items():
                if key not in into:
                    into[key] = item
                    into.places[key] = source.places[key]

    def _seq(self, depth: int) -> Seq:
        result = Seq()
        while type(event := self._next()) is not SequenceEndEvent:
            self._path.append(len(result))
            value = self._value(event, depth + 1)
            if value is RESET:
                self._problem(event, "an item of a list cannot be !reset", "lists are replaced as a whole")
                value = None
            result.append(value)
            mark = event.start_mark
            result.places.append((self.file, mark.line + 1, mark.column + 1, mark.line + 1, mark.column + 1))
            self._path.pop()
        return result
