"""The types of routing's fields: shares, host names, path prefixes, headers, cookies, networks.

Owns their readers, rules and JSON Schemas. What they let through ends in a router's configuration, so
nothing with a meaning there passes. It must not know which field has which type.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from orchestrator.spec.values import CONTROL, HEADER_NAME, Pairs, as_list, kind, pairs

STICKY_COOKIE = "deploy-instance"
"""Name of the cookie when a route only says ``sticky: true``."""
_SHARE = re.compile(r"[0-9]{1,6}|[0-9]{1,3}%")
_ROUTE_HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PREFIX = re.compile(r"/[A-Za-z0-9._~/@:+=,-]{0,1023}")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SMALLEST_PREFIX = 28
"""Longest prefix of a network that still has room for more than a dozen services."""


def _share(value: object) -> str:
    text = "" if isinstance(value, bool) else str(value).strip()
    if not _SHARE.fullmatch(text) or (text.endswith("%") and int(text[:-1]) > 100):
        raise ValueError(f"expected a number of instances, or a share such as 25%, got {value!r}")
    return text


def _route_host(value: object) -> str:
    text = value.lower() if isinstance(value, str) else ""
    if not _ROUTE_HOST.fullmatch(text) or len(text) > 253:
        raise ValueError(f"expected a host name such as shop.example.com or *.example.com, got {value!r}")
    return text


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value) or "//" in value:
        raise ValueError(f"expected a path such as /api (letters, digits and ._~@:+=,-), got {value!r}")
    return value.rstrip("/") or "/"


def _cookie(value: object) -> str:
    if isinstance(value, bool):
        return STICKY_COOKIE if value else ""
    if not isinstance(value, str) or not (value == "" or _COOKIE.fullmatch(value)):
        raise ValueError(f"expected true, or the name of a cookie (letters, digits, _ and -), got {value!r}")
    return value


def _headers(value: object) -> Pairs:
    found = pairs(value, name=HEADER_NAME, what="a header", separators="=:")
    for name, text in found:
        if CONTROL.search(text):
            raise ValueError(f"{name}: expected text without control characters")
    lower = [name.lower() for name, _ in found]
    if twice := sorted({name for name in lower if lower.count(name) > 1}):
        raise ValueError(f"{twice[0]}: a header that is given twice")
    return found


def _network(value: object) -> str:
    try:
        network = ipaddress.IPv4Network(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(f"expected an IPv4 network such as 10.200.7.0/24, got {value!r}") from None
    if not network.is_private or not 8 <= network.prefixlen <= _SMALLEST_PREFIX:
        raise ValueError(
            f"expected a private network between /8 and /{_SMALLEST_PREFIX}, got {value!r}: its addresses"
            " are taken by the project's services on every host"
        )
    return str(network)


def _words(value: object) -> object:
    """Return a command in one string as a map: a bare list would read as several commands."""
    if isinstance(value, str | list | tuple):
        return {"command": value}
    return value


def _commands(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError(f"expected a list of commands, got a {kind(value)}")  # noqa: TRY004 - pydantic collects ValueErrors
    return [_words(item) for item in value]


_SHARE_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^[0-9]{1,6}%?$"}],
}
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_HEADERS_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "additionalProperties": _SCALAR},
        {"type": "array", "items": {"type": "string"}},
    ],
}

Share = Annotated[str, BeforeValidator(_share), WithJsonSchema(_SHARE_SCHEMA)]
"""A number of instances (``2``), or a share of them (``25%``)."""
RouteHost = Annotated[
    str, BeforeValidator(_route_host), WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9*.-]+$"})
]
"""A host name in lower case, or a wildcard for one label."""
Prefix = Annotated[str, BeforeValidator(_prefix), WithJsonSchema({"type": "string", "pattern": "^/"})]
"""A path without a slash at its end."""
Cookie = Annotated[str, BeforeValidator(_cookie), WithJsonSchema({"type": ["string", "boolean"]})]
"""Name of a cookie; empty for none."""
Headers = Annotated[Pairs, BeforeValidator(_headers), WithJsonSchema(_HEADERS_SCHEMA)]
Network = Annotated[
    str, BeforeValidator(_network), WithJsonSchema({"type": "string", "pattern": r"^[0-9.]+/[0-9]+$"})
]
"""A private IPv4 network."""
one_or_more = BeforeValidator(as_list)
"""Lets a lone value stand for a list of one."""
commands = BeforeValidator(_commands)
"""Lets each item of a list be a command alone."""
