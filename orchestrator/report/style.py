"""Colours as a function, so that what needs none costs none.

Owns the mapping from a role (what a piece of text is) to the terminal's codes. Every view takes a
:data:`Style` and works the same with :func:`unstyled`. Must not know what is shown.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Literal, TextIO, TypeAlias

Role: TypeAlias = Literal["create", "replace", "remove", "good", "bad", "warning", "strong", "dim"]

Style: TypeAlias = Callable[[str, Role], str]
"""Returns the text dressed for its role. The text must be clean already."""

_CODES: Mapping[Role, str] = {
    "create": "32",
    "replace": "33",
    "remove": "31",
    "good": "32",
    "bad": "1;31",
    "warning": "33",
    "strong": "1",
    "dim": "2",
}
_PALETTE = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")
"""Colours that can be read on a dark and on a light ground."""


def unstyled(text: str, role: Role) -> str:  # noqa: ARG001 - the signature is Style's
    """Return ``text`` as it is."""
    return text


def ansi(text: str, role: Role) -> str:
    """Return ``text`` between the codes of its role."""
    return f"\x1b[{_CODES[role]}m{text}\x1b[0m" if text else text


def colour_of(name: str, text: str) -> str:
    """Return ``text`` in a colour that depends on ``name`` alone: the same in every run."""
    code = _PALETTE[zlib.crc32(name.encode(errors="replace")) % len(_PALETTE)]
    return f"\x1b[{code}m{text}\x1b[0m"


def is_smart(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether ``stream`` is a terminal that understands cursor movement."""
    return stream.isatty() and environ.get("TERM", "") not in {"", "dumb", "unknown"}


def style_for(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """Return :func:`ansi` for a capable terminal without ``NO_COLOR``, else :func:`unstyled`."""
    return ansi if is_smart(stream, environ) and not environ.get("NO_COLOR") else unstyled
