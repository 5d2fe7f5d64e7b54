"""The sections of HAProxy's configuration that take traffic in: listeners, virtual addresses, the mesh.

Owns what each says. Where traffic goes is :mod:`.backends`'. Everything here has passed
:mod:`.picture`. Each function returns lines: the head of the section and its body, without indentation.
"""

from __future__ import annotations

from typing import List, Sequence, Tuple

from orchestrator.agent.router.words import NOBODY, NOBODY_HEADER, Site, bind, quote
from orchestrator.protocol.routing import Backend, Listener, Mesh, Route, RouterConfig, Virtual


def listener(config: RouterConfig, number: int, listener: Listener, site: Site) -> List[str]:
    """Return the frontend of a listener."""
    lines = [f"frontend in:{number}:{listener.port}", *_mode(listener.mode)]
    tls = f" ssl crt {site.home}/certs/" if listener.tls else ""
    alpn = " alpn h2,http/1.1" if listener.tls and listener.mode == "http" else ""
    lines.append(f"bind {bind(listener.address, listener.port)}{tls}{alpn}")
    if listener.mode == "tcp":
        return [*lines, f"default_backend {listener.routes[0].backend}"]
    lines += _forwarded()
    lines += _routes(config, listener.routes, site)
    return lines + _choose(config, site)


def virtual(config: RouterConfig, virtual: Virtual, site: Site) -> List[str]:
    """Return the frontend of a service's address inside the project."""
    mode = _backend(config, virtual.backend).mode
    lines = [f"frontend virtual:{virtual.backend}:{virtual.port}", *_mode(mode)]
    lines.append(f"bind {bind(virtual.address, virtual.port)}")
    allowed = " ".join(site.sources)
    unless = f" if !{{ src {allowed} }}" if allowed else ""
    lines.append(f"tcp-request connection reject{unless}")
    if mode == "tcp":
        return [*lines, f"default_backend {virtual.backend}"]
    lines.append(f"http-request set-var(txn.backend) str({virtual.backend})")
    return lines + _choose(config, site)


def preview(config: RouterConfig, site: Site) -> List[str]:
    """Return the frontend on which every request reaches the held release, where a service has one."""
    lines = ["frontend preview", *_mode("http"), f"bind {bind('', config.preview_port)}", *_forwarded()]
    routes = {route.name: route for one in config.listeners if one.mode == "http" for route in one.routes}
    lines += _routes(config, list(routes.values()), site, limits=False)
    lines.append("http-request set-var-fmt(txn.preview_key) '*/%[var(txn.backend)]'")
    return lines + _use(site)


_TWICE = "http-request disable-l7-retry if !METH_GET"
"""A request may be sent a second time only where that changes nothing."""


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
        f"bind {bind(config.mesh_address, mesh.port)} accept-proxy",
        f"tcp-request session reject if {{ {marked} }} !{{ fc_pp_unique_id -m str {config.mesh_token} }}",
    ]
    if mode == "http":
        # Who sent it has not heard yet that nobody is here: it asks another host, see `backends`.
        absent = f"{{ {marked} }} !{{ nbsrv({local}) gt 0 }}"
        lines.append(f"http-request return status {NOBODY} hdr {NOBODY_HEADER} 1 if {absent}")
    if mode == "tcp":
        lines.append("tcp-request inspect-delay 5s")
        lines.append(f"tcp-request content switch-mode http if !{{ {marked} }}")
    else:
        lines.append(_TWICE)
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
        "http-request set-header X-Forwarded-Port %[dst_port]",
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
        _TWICE,
        "use_backend %[var(txn.preview)] if { var(txn.preview) -m found }",
        "use_backend %[var(txn.backend)]",
    ]


def rate_tables(config: RouterConfig) -> List[List[str]]:
    """Return the counters of routes with a limit of requests."""
    # A route on two listeners has one name, and one counter.
    names = sorted({route.name for one in config.listeners for route in one.routes if route.rate})
    table = "stick-table type ipv6 size 100k expire 10s store http_req_rate(1s)"
    return [[f"backend rate:{name}", table] for name in names]


def _backend(config: RouterConfig, name: str) -> Backend:
    return next(backend for backend in config.backends if backend.name == name)
