"""What routers serve next to what they should, before it becomes text.

Owns the comparison: of the router's own word with the agent's record of it, of that record with the
release in force (or held), and of the picture in force with the one the release wants. Pure; must not
know how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.planning import hold
from orchestrator.planning.observed import Index
from orchestrator.planning.types import Observed
from orchestrator.protocol.messages import Held, HostReport, ReleasedInstance, ReleaseRecord
from orchestrator.protocol.routing import Assigned, Backend, Guard, Listener, RouterConfig
from orchestrator.report.fleet import releases
from orchestrator.report.text import clean

_NO_TRAFFIC = frozenset(("DRAIN", "MAINT"))
_MISSING = "missing"


@dataclass(frozen=True)
class ServerStatus:
    """One server of one backend, as it is or as it should be and is not."""

    host: str
    backend: str
    server: str
    """``s1``, ``r_HOST``; empty when the router has none of it."""
    service: str = ""
    slot: int = 0
    """0: a remote."""
    release: str = ""
    address: str = ""
    state: str = _MISSING
    """HAProxy's word, or ``missing``."""
    weight: int = 0
    wanted: int = 0
    """By the agent's record."""
    sessions: int = 0
    requests: int = 0
    responses_5xx: int = 0
    errors: int = 0
    differences: tuple[str, ...] = ()
    """What is not as it should be, one clause each."""

    @property
    def name(self) -> str:
        """``service[slot]``, or the service of a remote."""
        return f"{self.service}[{self.slot}]" if self.slot else self.service


@dataclass(frozen=True)
class RouteStatus:
    """Where one route of one host leads."""

    host: str
    name: str
    listener: str
    """``*:443 tls``."""
    match: str
    """Host name and path prefix; ``any`` for a TCP port."""
    backend: str
    serving: int
    """Servers of its backend that get traffic and are up."""
    maintenance: bool = False
    redirect: bool = False

    @property
    def good(self) -> bool:
        """True when something answers as the spec says, be it the maintenance page."""
        return bool(self.serving or self.maintenance or self.redirect)


@dataclass(frozen=True)
class RouterStatus:
    """The router of one host."""

    host: str
    running: bool
    picture: str
    """Digest of the picture in force."""
    wanted: str
    """Digest of the picture that the release in force wants; empty when no record says."""
    guard: Guard | None = None
    maintenance: tuple[str, ...] = ()
    routes: tuple[RouteStatus, ...] = ()
    servers: tuple[ServerStatus, ...] = ()
    differences: tuple[str, ...] = ()
    """Of the router as a whole."""

    @property
    def good(self) -> bool:
        """True when everything is as it should be."""
        return (
            not self.differences
            and not any(server.differences for server in self.servers)
            and all(route.good for route in self.routes)
        )


def router_statuses(observed: Observed) -> tuple[RouterStatus, ...]:
    """Return the routers of the hosts that answered and have, or should have, one; sorted by host."""
    records = releases(observed)
    current = records[-1] if records else None
    return tuple(
        _router(host.name, host.report, current)
        for host in observed.hosts
        if host.report is not None and (host.report.routing is not None or _picture(host.report))
    )


def held_releases(observed: Observed) -> tuple[tuple[str, float, tuple[str, ...]], ...]:
    """Return (release, held since, hosts that hold it), oldest first."""
    found: dict[str, list[tuple[float, str]]] = {}
    for host, held in hold.held(Index(observed)).items():
        found.setdefault(clean(held.record.id), []).append((held.since, clean(host)))
    rows = ((release, min(on)[0], tuple(name for _, name in on)) for release, on in found.items())
    return tuple(sorted(rows, key=lambda row: row[1]))


def _picture(report: HostReport) -> RouterConfig | None:
    """Return the picture that this host's newest record of a router wants."""
    return next((r.router for r in reversed(report.releases) if r.router is not None), None)


def _router(host: str, report: HostReport, current: ReleaseRecord | None) -> RouterStatus:
    name, routing, held = clean(host), report.routing, report.held
    picture = _picture(report)
    wanted = picture.digest if picture is not None else ""
    servers = tuple(_servers(host, report, current))
    if routing is None:
        routes = tuple(_routes(name, picture, servers, ()))
        missing = "the release in force wants a router, and this host has none"
        return RouterStatus(
            name,
            running=False,
            picture="",
            wanted=wanted,
            routes=routes,
            servers=servers,
            differences=(missing,),
        )
    also = held.record.router.digest if held and held.record.router else wanted
    differences = []
    if routing.config and not routing.running:
        differences.append("the router does not run")
    if routing.error:
        differences.append(f"the router could not be asked: {clean(routing.error)}")
    if wanted and routing.config not in (wanted, also):
        differences.append("the router serves another picture than the release in force wants")
    if routing.config and not picture:
        differences.append("no release wants this router")
    if routing.guard and (said := guard_text(routing.guard)):
        differences.append(said)
    return RouterStatus(
        host=name,
        running=routing.running,
        picture=clean(routing.config),
        wanted=wanted,
        guard=routing.guard,
        maintenance=tuple(clean(route) for route in routing.maintenance),
        routes=tuple(_routes(name, picture, servers, routing.maintenance)),
        servers=servers,
        differences=tuple(differences),
    )


def guard_text(guard: Guard) -> str:
    """Say what a person should know of a guard; nothing of one that was confirmed."""
    cutover = clean(guard.cutover)
    if guard.state == "armed":
        return f"cutover {cutover} waits for its confirm, else this host goes back by itself"
    if guard.state == "reverted":
        return f"cutover {cutover} was not confirmed in time: this host went back by itself"
    return ""


# --- servers -------------------------------------------------------------------------------------


def _servers(host: str, report: HostReport, current: ReleaseRecord | None) -> Iterator[ServerStatus]:
    picture = _picture(report)
    backends = {backend.name: backend for backend in picture.backends} if picture else {}
    expected = [i for i in current.instances if i.host == host] if current else []
    digests = {c.id: c.digest for c in report.containers}
    states = {c.id: c.state for c in report.containers}
    assigned = report.routing.servers if report.routing else ()
    seen: set[tuple[str, str, int, str]] = set()
    remotes: set[tuple[str, str]] = set()
    for item in assigned:
        seen.add((item.backend, item.service, item.slot, digests.get(item.container, "")))
        remotes.add((item.backend, item.server))
        remote = item.server.startswith("r_")
        local = () if remote else tuple(_local(item, expected, digests, states, report.held))
        yield _server(host, item, (*_weights(item, remote=remote), *local))
    for _, backend in sorted(backends.items()):
        yield from _missing(host, backend, expected, seen, remotes)


def _server(host: str, item: Assigned, differences: tuple[str, ...]) -> ServerStatus:
    return ServerStatus(
        host=clean(host),
        backend=clean(item.backend),
        server=clean(item.server),
        service=clean(item.service),
        slot=item.slot,
        release=clean(item.release),
        address=clean(item.address),
        state=clean(item.state),
        weight=item.weight,
        wanted=item.recorded_weight,
        sessions=item.sessions,
        requests=item.requests,
        responses_5xx=item.responses_5xx,
        errors=item.errors,
        differences=differences,
    )


def _weights(item: Assigned, *, remote: bool) -> Iterator[str]:
    """Compare the router's own word with the agent's record, which says nothing of remotes' weights."""
    wanted = remote or item.recorded_weight > 0
    if wanted and item.state.startswith("DOWN"):
        yield "down: gets no traffic"
    elif wanted and item.state.split(" ")[0] in _NO_TRAFFIC:
        yield f"gets no traffic ({clean(item.state)}), and should"
    elif not wanted and item.weight and item.state.startswith(("UP", "no check")):
        yield "gets traffic, and should not"
    elif item.recorded_weight != item.weight and not remote:
        yield f"weight {item.weight} instead of {item.recorded_weight}"


def _local(
    item: Assigned,
    expected: list[ReleasedInstance],
    digests: Mapping[str, str],
    states: Mapping[str, str],
    held: Held | None,
) -> Iterator[str]:
    """Compare a server of this host with what runs, and with the release in force."""
    if item.container and item.container not in states:
        yield "its container is gone"
        return
    if item.container and states[item.container] != "running" and item.recorded_weight:
        yield f"its container is {clean(states[item.container])}"
    wanted = [i for i in expected if (i.service, i.slot) == (item.service, item.slot)]
    in_force = any(i.digest == digests.get(item.container) for i in wanted)
    if item.recorded_weight and not in_force:
        yield "not part of the release in force"
    if not item.recorded_weight and in_force and held is None:
        yield "in force, and drained"


def _missing(
    host: str,
    backend: Backend,
    expected: list[ReleasedInstance],
    seen: set[tuple[str, str, int, str]],
    servers: set[tuple[str, str]],
) -> Iterator[ServerStatus]:
    name = backend.name
    for item in expected:
        if item.service == backend.service and (name, item.service, item.slot, item.digest) not in seen:
            yield ServerStatus(
                clean(host),
                clean(name),
                "",
                clean(item.service),
                item.slot,
                differences=("in force, and not in the router",),
            )
    for remote in backend.remotes:
        if (name, f"r_{remote.host}") not in servers:
            yield ServerStatus(
                clean(host),
                clean(name),
                clean(f"r_{remote.host}"),
                clean(backend.service),
                differences=(f"the instances of {clean(remote.host)} are not in the router",),
            )


# --- routes --------------------------------------------------------------------------------------


def _routes(
    host: str, picture: RouterConfig | None, servers: tuple[ServerStatus, ...], maintenance: tuple[str, ...]
) -> Iterator[RouteStatus]:
    up: dict[str, int] = {}
    for server in servers:
        serves = server.weight and server.state.startswith(("UP", "no check"))
        up[server.backend] = up.get(server.backend, 0) + bool(serves)
    for listener in picture.listeners if picture else ():
        for route in listener.routes:
            any_host = "any" if listener.mode == "tcp" else clean(route.path)
            yield RouteStatus(
                host=host,
                name=clean(route.name),
                listener=_listener(listener),
                match=f"{clean(route.host)}{any_host}" if route.host else any_host,
                backend=clean(route.backend),
                serving=up.get(clean(route.backend), 0),
                maintenance=route.maintenance or route.name in maintenance,
                redirect=route.redirect_https,
            )


def _listener(listener: Listener) -> str:
    address = clean(listener.address) or "*"
    suffix = " tls" if listener.tls else " tcp" if listener.mode == "tcp" else ""
    return f"{address}:{listener.port}{suffix}"
