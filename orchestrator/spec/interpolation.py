r"""Compose's variable interpolation.

Owns ``$VAR``, ``${VAR}``, ``${VAR:-default}``, ``${VAR-default}``, ``${VAR:?message}``,
``${VAR?message}``, ``${VAR:+other}``, ``${VAR+other}`` and ``$$``. Defaults may hold variables
themselves. With the colon an empty variable counts as unset. It must not know where texts come from.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

MAX_NESTING = 10
"""Deepest nesting of defaults in defaults."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_DOLLAR = re.compile(r"\$")
_NESTED_END = re.compile(r"[$}]")


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """Return ``text`` with its variables replaced.

    Raises:
        ValueError: A variable without a default is not set, or a ``$`` starts nothing.
    """
    return _expand(text, 0, environ, 0)[0]


def _expand(text: str, start: int, environ: Mapping[str, str], nesting: int) -> tuple[str, int]:
    """Expand up to the end, or when nested up to the closing brace; return the result and where it ended."""
    if nesting > MAX_NESTING:
        raise ValueError(f"variables are nested deeper than {MAX_NESTING} levels")
    parts: list[str] = []
    index = start
    while index < len(text) and not (nesting and text[index] == "}"):
        if text[index] != "$":
            stop = (_NESTED_END if nesting else _DOLLAR).search(text, index)
            parts.append(text[index : (index := stop.start() if stop else len(text))])
        elif text.startswith("$$", index):
            parts.append("$")
            index += 2
        elif name := _NAME.match(text, index + 1):
            parts.append(_lookup(name[0], environ))
            index = name.end()
        elif text.startswith("${", index):
            value, index = _braced(text, index + 2, environ, nesting)
            parts.append(value)
        else:
            raise ValueError("a $ starts no variable (write $$ for a dollar sign)")
    return "".join(parts), index


def _braced(text: str, start: int, environ: Mapping[str, str], nesting: int) -> tuple[str, int]:
    name = _NAME.match(text, start)
    if name is None:
        raise ValueError("expected the name of a variable after ${")
    operator = _OPERATOR.match(text, name.end())
    word, end = "", name.end()
    if operator is not None:
        # the word is read in any case, but evaluated only where it is used
        is_set = bool(environ.get(name[0])) if operator[0][0] == ":" else name[0] in environ
        used = is_set == (operator[0][-1] == "+")
        word, end = _expand(text, operator.end(), environ if used else _Anything(), nesting + 1)
    if not text.startswith("}", end):
        raise ValueError(f"expected a }} after ${{{name[0]}")
    if operator is None:
        return _lookup(name[0], environ), end + 1
    if operator[0][-1] == "+":
        return (word if is_set else ""), end + 1
    if is_set:
        return environ[name[0]], end + 1
    if operator[0][-1] == "?":
        raise ValueError(f"the variable {name[0]} is not set: {word or 'it is required'}")
    return word, end + 1


class _Anything(Mapping[str, str]):
    """An environment where everything is set, for words whose result is thrown away."""

    def __getitem__(self, key: str) -> str:
        return key

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _lookup(name: str, environ: Mapping[str, str]) -> str:
    if name in environ:
        return environ[name]
    close = difflib.get_close_matches(name, list(environ), n=1, cutoff=0.8)
    meant = f"did you mean {close[0]}? Otherwise set it" if close else "set it"
    raise ValueError(f"the variable {name} is not set ({meant}, or write ${{{name}:-default}})")
