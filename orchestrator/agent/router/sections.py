"""The sections of HAProxy's configuration: listeners, virtual addresses, the mesh, backends.

Owns what each section says. Everything here has passed :mod:`.picture`. Each function returns lines: the
head of the section and its body, without indentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import List, Optional, Sequence, Tuple

from orchestrator.agent.router.table import ATTACHED, FULL, SERVING, Seat, Table
from orchestrator.protocol.routing import Backend, Listener, Mesh, Route, RouterConfig, Virtual

NOWHERE = "127.0.0.1:9"
"""Where an empty slot points: nothing listens on ``discard``, and nothing is ever sent there."""


@dataclass(frozen=True)
class Site:
    """Where the router lives, as HAProxy sees it."""

    home: str
    """Folder with ``run/``, ``certs/``, ``maps/`` and ``errors/``; made of letters, digits and ``/_.-``."""
    sources: Tuple[str, ...] = ()
    """Networks whose containers may use the virtual addresses."""
    socket: str = "admin.sock"
    """Name of the runtime socket in ``run/``."""
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


def slots(backend: Backend, table: Table) -> int:
    """Return the number of servers of a backend: its own, or more while a seat is beyond them."""
    return max([backend.slots] + [seat.server for seat in table.of(backend.service)])


def has_mesh(config: RouterConfig, backend: Backend) -> bool:
    """Other hosts reach this backend here."""
    return any(mesh.backend == backend.name for mesh in config.mesh)


def scaled(backend: Backend, weight: int) -> int:
    """Return a local container's share as HAProxy's weight.

    A remote counts for all its containers, and HAProxy's weights end at 256: the largest remote gets
    that, everything else is in proportion.
    """
    most = max([1] + [remote.weight for remote in backend.remotes])
    return max(1, weight // most) if weight else 0


# --- what takes traffic in ----------------------------------------------------------------------


def listener(config: RouterConfig, number: int, listener: Listener, site: Site) -> List[str]:
    """Return the frontend of a listener."""
    lines = [f"frontend in:{number}:{listener.port}", *_mode(listener.mode)]
    tls = f" ssl crt {site.home}/certs/" if listener.tls else ""
    alpn = " alpn h2,http/1.1" if listener.tls and listener.mode == "http" else ""
    lines.append(f"bind {_bind(listener.address, listener.port)}{tls}{alpn}")
    if listener.mode == "tcp":
        return [*lines, f"default_backend {listener.routes[0].backend}"]
    lines += _forwarded()
    lines += _routes(config, listener.routes, site)
    return lines + _choose(config, site)


def virtual(config: RouterConfig, virtual: Virtual, site: Site) -> List[str]:
    """Return the frontend of a service's address inside the project."""
    mode = _backend(config, virtual.backend).mode
    lines = [f"frontend virtual:{virtual.backend}:{virtual.port}", *_mode(mode)]
    lines.append(f"bind {_bind(virtual.address, virtual.port)}")
    allowed = " ".join(site.sources)
    unless = f" if !{{ src {allowed} }}" if allowed else ""
    lines.append(f"tcp-request connection reject{unless}")
    if mode == "tcp":
        return [*lines, f"default_backend {virtual.backend}"]
    lines.append(f"http-request set-var(txn.backend) str({virtual.backend})")
    return lines + _choose(config, site)


def preview(config: RouterConfig, site: Site) -> List[str]:
    """Return the frontend on which every request reaches the held release, where a service has one."""
    lines = ["frontend preview", *_mode("http"), f"bind {_bind('', config.preview_port)}", *_forwarded()]
    routes = [route for one in config.listeners if one.mode == "http" for route in one.routes]
    lines += _routes(config, routes, site, limits=False)
    lines.append("http-request set-var-fmt(txn.preview_key) '*/%[var(txn.backend)]'")
    return lines + _use(site)


def mesh(config: RouterConfig, mesh: Mesh) -> List[List[str]]:
    """Return the frontend through which other hosts reach a backend, and what answers their checks.

    Checks come without a token, since HAProxy sends its id with real traffic alone: they learn whether
    a container here is up, and reach none.
    """
    mode = _backend(config, mesh.backend).mode
    local, probed = f"{mesh.backend}_mesh", f"probed:{mesh.backend}"
    marked = "fc_pp_unique_id -m found"
    lines = [
        f"frontend mesh:{mesh.backend}",
        *_mode(mode),
        f"bind {_bind(config.mesh_address, mesh.port)} accept-proxy",
        f"tcp-request session reject if {{ {marked} }} !{{ fc_pp_unique_id -m str {config.mesh_token} }}",
    ]
    if mode == "tcp":
        lines.append("tcp-request inspect-delay 5s")
        lines.append(f"tcp-request content switch-mode http if !{{ {marked} }}")
    lines += [f"use_backend {probed} if !{{ {marked} }}", f"default_backend {local}"]
    answer = [
        f"backend {probed}",
        "mode http",
        f"http-request return status 200 if {{ nbsrv({local}) gt 0 }}",
        "http-request return status 503",
    ]
    return [lines, answer]


def _mode(mode: str) -> List[str]:
    # A router that ends closes idle connections only after their next answer: no client finds one cut.
    return [f"mode {mode}"] + (["option idle-close-on-response"] if mode == "http" else [])


def _forwarded() -> List[str]:
    return [
        "http-request set-header X-Forwarded-For %[src]",
        "http-request set-header X-Forwarded-Proto https if { ssl_fc }",
        "http-request set-header X-Forwarded-Proto http if !{ ssl_fc }",
        "http-request set-header X-Forwarded-Host %[req.hdr(host)]",
    ]


def specificity(route: Route) -> Tuple[int, int, int]:
    """Return the sort key of a route: exact hosts, then wildcards, then any; long prefixes first."""
    kind = 2 if not route.host else 1 if route.host.startswith("*.") else 0
    return (kind, -len(route.host), -len(route.path.rstrip("/")))


def _routes(config: RouterConfig, routes: Sequence[Route], site: Site, *, limits: bool = True) -> List[str]:
    """Choose the route (the first that fits wins), then apply what it asks for."""
    ordered = sorted(routes, key=specificity)
    lines = ["http-request set-var(txn.host) req.hdr(host),field(1,:),lower"]
    for number, route in enumerate(ordered):
        lines += _match(number, route)
    for route in ordered:
        lines += _policy(config, route, limits=limits)
    down = f"{{ var(txn.route),map_str({site.maintenance}) -m found }}"
    if limits:
        page = f"{site.home}/errors/503.http"
        lines.append(f"http-request return status 503 errorfile {page} if {down}")
    lines.append("http-request return status 404 if !{ var(txn.route) -m found }")
    return lines


def _match(number: int, route: Route) -> List[str]:
    lines, terms = [], []
    if route.host.startswith("*."):
        lines.append(f"acl host{number} var(txn.host) -m end {route.host[1:]}")
        terms.append(f"host{number}")
    elif route.host:
        lines.append(f"acl host{number} var(txn.host) -m str {route.host}")
        terms.append(f"host{number}")
    prefix = route.path.rstrip("/")
    if prefix:
        lines.append(f"acl path{number} path -m str {quote(prefix)}")
        lines.append(f"acl path{number} path -m beg {quote(prefix + '/')}")
        terms.append(f"path{number}")
    chosen = " ".join(["if !{ var(txn.route) -m found }", *terms])
    return [
        *lines,
        f"http-request set-var(txn.backend) str({route.backend}) {chosen}",
        f"http-request set-var(txn.route) str({route.name}) {chosen}",
    ]


def _policy(config: RouterConfig, route: Route, *, limits: bool) -> List[str]:
    this = f"{{ var(txn.route) -m str {route.name} }}"
    lines = []
    if route.redirect_https and limits:
        port = next((one.port for one in config.listeners if one.tls and one.mode == "http"), 443)
        where = "https://%[var(txn.host)]" + (f":{port}" if port != 443 else "") + "%[pathq]"
        lines.append(f"http-request redirect location {where} code 308 if {this} !{{ ssl_fc }}")
    if route.rate and limits:
        rate = f"rate:{route.name}"
        lines.append(f"http-request track-sc0 src table {rate} if {this}")
        over = f"{{ sc0_http_req_rate({rate}) gt {route.rate} }}"
        lines.append(f"http-request deny deny_status 429 if {this} {over}")
    if route.max_body:
        # A body without a length cannot be measured before it is passed on.
        lines.append(f"http-request return status 411 if {this} {{ req.hdr(transfer-encoding) -m found }}")
        size = f"{{ req.hdr_val(content-length) gt {route.max_body} }}"
        lines.append(f"http-request deny deny_status 413 if {this} {size}")
    for name, value in route.set_headers:
        said = f"set-header {name} {quote(value.replace('%', '%%'))}" if value else f"del-header {name}"
        lines.append(f"http-request {said} if {this}")
    return lines


def _choose(config: RouterConfig, site: Site) -> List[str]:
    """Lead to the held release whoever asks for it, and all others to the backend."""
    name = config.drain_header
    key = "set-var-fmt(txn.preview_key) '%[var(txn.release)]/%[var(txn.backend)]'"
    return [
        f"http-request set-var(txn.release) req.cook({name})",
        f"http-request set-var(txn.release) req.hdr({name}) if {{ req.hdr({name}) -m found }}",
        f"http-request {key} if {{ var(txn.release) -m found }}",
        *_use(site),
    ]


def _use(site: Site) -> List[str]:
    return [
        f"http-request set-var(txn.preview) var(txn.preview_key),map_str({site.previews})",
        # Sending a request twice is safe only where it changes nothing.
        "http-request disable-l7-retry if !METH_GET",
        "use_backend %[var(txn.preview)] if { var(txn.preview) -m found }",
        "use_backend %[var(txn.backend)]",
    ]


def rate_tables(config: RouterConfig) -> List[List[str]]:
    """Return the counters of routes with a limit of requests."""
    routes = [route for listener in config.listeners for route in listener.routes if route.rate]
    table = "stick-table type ipv6 size 100k expire 10s store http_req_rate(1s)"
    return [[f"backend rate:{route.name}", table] for route in routes]


# --- where it goes --------------------------------------------------------------------------------


def backend(config: RouterConfig, backend: Backend, table: Table) -> List[List[str]]:
    """Return a backend and its twins: the one behind the mesh, the preview, the checks of remotes."""
    seats = {seat.server: seat for seat in table.of(backend.service)}
    numbers = range(1, slots(backend, table) + 1)
    blocks = [_main(backend, [(number, seats.get(number)) for number in numbers])]
    if has_mesh(config, backend):
        lines = [f"backend {backend.name}_mesh", *_common(backend, f"{backend.cookie}_mesh")]
        for number in numbers:
            seat, tracked = seats.get(number), f"track {backend.name}/s{number}"
            lines.append(
                f"{_server(backend, number, seat, scaled=False)} {tracked}{_limits(backend, number)}"
            )
        blocks.append(lines)
    lines = [f"backend {backend.name}_preview", *_common(backend, "")]
    for number in numbers:
        seat = seats.get(number)
        held = seat is not None and seat.state == ATTACHED
        lines.append(f"server s{number} {_address(backend, seat)}{'' if held else ' disabled'}")
    blocks.append(lines)
    if backend.remotes:
        lines = [f"backend remote:{backend.name}", "mode http", "option httpchk GET /", _EXPECT]
        for remote in backend.remotes:
            where = _bind(remote.address, remote.port)
            lines.append(f"server r_{remote.host} {where} check {_check(backend)} send-proxy-v2")
        blocks.append(lines)
    return blocks


_EXPECT = "http-check expect status 200-399"


def _main(backend: Backend, seats: Sequence[Tuple[int, Optional[Seat]]]) -> List[str]:
    lines = [f"backend {backend.name}", *_common(backend, backend.cookie)]
    if backend.check_path:
        lines.append("option httpchk")
        lines.append(f"http-check send meth GET uri {quote(backend.check_path)} hdr Host {backend.service}")
        lines.append(_EXPECT)
    for number, seat in seats:
        empty = " disabled" if seat is None else ""
        check = f"check {_check(backend)}{_limits(backend, number)}{empty}"
        lines.append(f"{_server(backend, number, seat, scaled=True)} {check}")
    for remote in backend.remotes:
        cookie = f" cookie r_{remote.host}" if backend.cookie and backend.mode == "http" else ""
        most = max([1] + [other.weight for other in backend.remotes])
        lines.append(
            f"server r_{remote.host} {_bind(remote.address, remote.port)} "
            f"weight {FULL * remote.weight // most} track remote:{backend.name}/r_{remote.host} "
            f"send-proxy-v2 proxy-v2-options unique-id{cookie}"
        )
    return lines


def _common(backend: Backend, cookie: str) -> List[str]:
    tunnel = min(backend.timeout * 10, 86_400.0)
    lines = [
        f"mode {backend.mode}",
        f"balance {backend.balance}",
        *(["hash-type consistent"] if backend.balance == "source" else []),
        f"timeout server {_ms(backend.timeout)}",
        f"timeout tunnel {_ms(tunnel)}",
    ]
    if cookie and backend.cookie and backend.mode == "http":
        lines.append(f"cookie {cookie} insert indirect nocache httponly")
    return lines


def _server(backend: Backend, number: int, seat: Optional[Seat], *, scaled: bool) -> str:
    weight = share(backend, seat, remotes=scaled) if seat else 1
    return f"server s{number} {_address(backend, seat)} weight {weight}"


def share(backend: Backend, seat: Seat, *, remotes: bool) -> int:
    """Return the weight of a seat's server, in proportion to remotes or among local ones alone."""
    if seat.state != SERVING:
        return 0
    return scaled(backend, seat.weight) if remotes else seat.weight


def _limits(backend: Backend, number: int) -> str:
    cookie = f" cookie s{number}" if backend.cookie and backend.mode == "http" else ""
    return cookie + (f" maxconn {backend.maxconn}" if backend.maxconn else "")


def _check(backend: Backend) -> str:
    fast = max(0.02, backend.inter / 3)
    return f"inter {_ms(backend.inter)} fastinter {_ms(fast)} rise {backend.rise} fall {backend.fall}"


def _address(backend: Backend, seat: Optional[Seat]) -> str:
    return _bind(seat.address, backend.port) if seat else NOWHERE


def _bind(address: str, port: int) -> str:
    if not address:
        return f"*:{port}"
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _backend(config: RouterConfig, name: str) -> Backend:
    return next(backend for backend in config.backends if backend.name == name)
