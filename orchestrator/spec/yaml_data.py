"""Plain data that remembers where it was written, and how plain scalars are read.

Owns the containers that :mod:`.yaml_reader` fills and :mod:`.merge` combines. It must not know parsers.
"""

from __future__ import annotations

import re
from typing import Any

Place = tuple[str, int, int, int, int]
"""File, line and column of the key, line and column of the value; all 1-based."""


class Map(dict[str, Any]):
    """A YAML map with the place of each entry."""

    __slots__ = ("override", "places")

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, Place] = {}
        self.override = False
        """Tagged ``!override``: replaces what it would be merged into."""

    def drop(self, key: str) -> None:
        """Forget ``key`` and its place, if it is there."""
        self.pop(key, None)
        self.places.pop(key, None)


class Seq(list[Any]):
    """A YAML list with the place of each item."""

    __slots__ = ("places",)

    def __init__(self) -> None:
        super().__init__()
        self.places: list[Place] = []


class Reset:
    """A value tagged ``!reset``: removes what an earlier file said."""


RESET = Reset()

_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | {
    form: form.lower() == "true" for form in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")


def core_scalar(text: str) -> Any:
    """Return null, a boolean or an exactly writable integer for plain ``text``, else the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text


def key_path(path: list[str | int] | tuple[str | int, ...]) -> str:
    """Return ``services.api.ports[0]`` for its parts."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
