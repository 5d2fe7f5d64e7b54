"""Is a router's picture safe to be said to HAProxy? The last check of every name, number and address.

Owns the refusals. A value that passes here can end no word, line or section of HAProxy's configuration;
:mod:`.render` relies on it and quotes all the same. It must not know the text that is made of it.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import Dict, Iterable, Set, Tuple

from orchestrator.agent.paths import BadNameError, check_digest, check_name
from orchestrator.protocol.routing import Backend, Listener, Remote, Route, RouterConfig

BALANCE = ("leastconn", "roundrobin", "random", "source")
"""Of HAProxy's, those that follow weights that change while it runs."""

_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,62})(\.[a-z0-9]([a-z0-9-]{0,62})){0,60}")
_PATH = re.compile(r"/[A-Za-z0-9._~!&()*+,;=:@/%-]{0,1023}")
_TARGET = re.compile(r"/[!-~]{0,1023}")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TOKEN = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_HEADER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_VALUE = re.compile(r"[\x20-\x7e]{0,1000}")
_INVENTORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_SLOTS = 1024
_LONGEST = 86_400.0
_LAST_PORT = 65535
_LARGEST = 1 << 50
_MOST_WEIGHT = 256


def check_picture(config: RouterConfig) -> None:
    """Return when every part of ``config`` is fit for HAProxy's configuration.

    Raises:
        BadNameError: One is not, two contradict each other, or something is named that is not there.
    """
    check_name(config.project, "project")
    _match(_IMAGE, config.image, "image id")
    backends: Dict[str, Backend] = {}
    for backend in config.backends:
        _check_backend(backend)
        if backends.setdefault(backend.name, backend) is not backend:
            raise BadNameError(f"two backends called {backend.name!r}")
    for certificate in config.certificates:
        check_name(certificate.name, "certificate's name")
        check_digest(certificate.hmac, "certificate's hash")
    _unique((certificate.name for certificate in config.certificates), "certificates called")
    _match(_HEADER, config.drain_header, "header")
    modes = {name: backend.mode for name, backend in backends.items()}
    for listener in config.listeners:
        _check_listener(listener, modes, has_certificates=bool(config.certificates))
    _check_discovery(config, modes)
    _check_mesh(config, modes)
    _unique(_binds(config), "listeners on")


def _check_backend(backend: Backend) -> None:
    check_name(backend.service, "service")
    _port(backend.port)
    _one_of(backend.mode, ("http", "tcp"), "mode")
    _one_of(backend.balance, BALANCE, "balance")
    if backend.check_path:
        _match(_TARGET, backend.check_path, "path to check")
    if backend.cookie:
        _match(_COOKIE, backend.cookie, "cookie's name")
    fine = (
        0.01 <= backend.inter <= _LONGEST
        and 1 <= backend.rise <= 100
        and 1 <= backend.fall <= 100
        and 1 <= backend.slots <= _MOST_SLOTS
        and 0.1 <= backend.timeout <= _LONGEST
        and 0 <= backend.maxconn <= 1_000_000
        and math.isfinite(backend.timeout)
    )
    if not fine:
        raise BadNameError(f"a time, size or number of backend {backend.name[:80]!r} is out of range")
    for remote in backend.remotes:
        _check_remote(remote)
    _unique((remote.host for remote in backend.remotes), "remotes on")


def _check_remote(remote: Remote) -> None:
    _match(_INVENTORY, remote.host, "host")
    _address(remote.address)
    _port(remote.port)
    _match(_TOKEN, remote.token, "mesh token", secret=True)
    if not 0 <= remote.weight <= _MOST_WEIGHT:
        raise BadNameError(f"cannot give remote {remote.host!r} the weight {remote.weight}")


def _check_listener(listener: Listener, modes: Dict[str, str], *, has_certificates: bool) -> None:
    _port(listener.port)
    if listener.address:
        _address(listener.address)
    _one_of(listener.mode, ("http", "tcp"), "mode")
    if listener.tls and not has_certificates:
        raise BadNameError(f"a listener with TLS on port {listener.port} needs a certificate")
    if listener.mode == "tcp" and len(listener.routes) != 1:
        raise BadNameError(f"the tcp listener on port {listener.port} needs exactly one route")
    _unique((route.name for route in listener.routes), f"routes on port {listener.port} called")
    for route in listener.routes:
        _check_route(route)
        if modes.get(route.backend) != listener.mode:
            raise BadNameError(
                f"route {route.name!r} needs a backend {route.backend[:80]!r} in {listener.mode} mode"
            )


def _check_route(route: Route) -> None:
    check_name(route.name, "route")
    if route.host:
        _match(_HOST, route.host, "host name")
    _match(_PATH, route.path, "path prefix")
    if not (0 <= route.max_body <= _LARGEST and 0 <= route.rate <= 1_000_000):
        raise BadNameError(f"a limit of route {route.name!r} is out of range")
    for name, value in route.set_headers:
        _match(_HEADER, name, "header")
        _match(_VALUE, value, f"value of header {name}", secret=True)


def _check_discovery(config: RouterConfig, modes: Dict[str, str]) -> None:
    if not config.virtual_network:
        if config.virtuals:
            raise BadNameError("virtual addresses without a virtual network")
        return
    try:
        network = ipaddress.IPv4Network(config.virtual_network)
    except ValueError:
        raise BadNameError(f"cannot use {config.virtual_network[:80]!r} as a virtual network") from None
    if network.prefixlen < 8:
        raise BadNameError(f"virtual network {config.virtual_network} takes too much of the host's addresses")
    for virtual in config.virtuals:
        if ipaddress.ip_address(_address(virtual.address)) not in network:
            raise BadNameError(f"virtual address {virtual.address} is outside {config.virtual_network}")
        _port(virtual.port)
        _known(virtual.backend, modes)


def _check_mesh(config: RouterConfig, modes: Dict[str, str]) -> None:
    tokens = {remote.token for backend in config.backends for remote in backend.remotes}
    if config.mesh:
        _address(config.mesh_address)
        tokens.add(_match(_TOKEN, config.mesh_token, "mesh token", secret=True))
    if len(tokens) > 1:
        raise BadNameError("the mesh of a project has one token: all remotes and this host must agree on it")
    for mesh in config.mesh:
        _port(mesh.port)
        _known(mesh.backend, modes)
    _unique((mesh.backend for mesh in config.mesh), "mesh ports for")
    if config.preview_port:
        _port(config.preview_port)


def bound(config: RouterConfig) -> Tuple[Tuple[str, int], ...]:
    """Return every (address, port) the router listens on; an empty address is all of them."""
    return tuple(sorted(set(_binds(config))))


def _binds(config: RouterConfig) -> Iterable[Tuple[str, int]]:
    binds = [(listener.address, listener.port) for listener in config.listeners]
    binds += [(virtual.address, virtual.port) for virtual in config.virtuals]
    binds += [(config.mesh_address, mesh.port) for mesh in config.mesh]
    return binds + ([("", config.preview_port)] if config.preview_port else [])


def _known(name: str, modes: Dict[str, str]) -> None:
    if name not in modes:
        raise BadNameError(f"there is no backend {name[:80]!r}")


def _match(pattern: "re.Pattern[str]", text: str, what: str, *, secret: bool = False) -> str:
    if not pattern.fullmatch(text):
        told = "this" if secret else repr(text[:80])
        raise BadNameError(f"cannot use {told} as a {what}")
    return text


def _one_of(text: str, allowed: Tuple[str, ...], what: str) -> None:
    if text not in allowed:
        raise BadNameError(f"cannot use {text[:80]!r} as a {what}: it is one of {', '.join(allowed)}")


def _port(port: int) -> None:
    if not 0 < port <= _LAST_PORT:
        raise BadNameError(f"cannot use {port} as a port")


def _address(text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise BadNameError(f"cannot use {text[:80]!r} as an address") from None
    if "%" in text:
        raise BadNameError(f"cannot use {text[:80]!r} as an address: it names an interface")
    return str(found)


def _unique(items: "Iterable[object]", what: str) -> None:
    seen: Set[object] = set()
    for item in items:
        if item in seen:
            raise BadNameError(f"two {what} {item}")
        seen.add(item)
