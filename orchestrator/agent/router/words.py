"""Words of HAProxy's configuration that every section is made of, and where a router lives.

Owns quoting, addresses, times, and :class:`Site`. Everything here has passed :mod:`.picture`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple

NOBODY = 425
"""Status with which the mesh says that nobody here takes a request: it may be sent again, elsewhere."""
NOBODY_HEADER = "x-deploy-nobody"
"""Tells it from a service's own 425, in the answer to a client whom nobody at all has served."""


@dataclass(frozen=True)
class Site:
    """Where the router lives, as HAProxy sees it."""

    home: str
    """Folder with ``run/``, ``certs/``, ``maps/`` and ``errors/``; made of letters, digits and ``/_.-``."""
    sources: Tuple[str, ...] = ()
    """Networks whose containers may use the virtual addresses."""
    socket: str = "admin.sock"
    """Name of the runtime socket in ``run/``."""
    mode: str = "600"
    """Of the runtime socket; its folder is private."""
    log: bool = False

    state: str = "state"
    """Name of the file with what checks have said, in ``run/``; it is there while a reload needs it."""

    @property
    def maintenance(self) -> str:
        """The map of routes in maintenance."""
        return f"{self.home}/maps/maintenance.map"

    @property
    def previews(self) -> str:
        """The map of held releases."""
        return f"{self.home}/maps/preview.map"


def quote(text: str) -> str:
    """Return ``text`` as one word that HAProxy takes literally."""
    return "'" + text.replace("'", "'\\''") + "'"


def bind(address: str, port: int) -> str:
    """Return an address and port; an empty address is all of them."""
    if not address:
        return f"*:{port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def ms(seconds: float) -> str:
    """Return a time."""
    return f"{max(1, round(seconds * 1000))}ms"
