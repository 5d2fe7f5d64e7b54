"""What the router of every host serves: project x placement -> :class:`RouterConfig` by host.

Owns which hosts need a router and what is in its picture. Pure: equal inputs give equal pictures
whatever their order. It must not know HAProxy, nor which container sits in which slot.
"""

from __future__ import annotations

import functools
import hmac
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.errors import Problem, SpecError
from orchestrator.planning.placement import Placed
from orchestrator.planning.routing.endpoints import virtual_network
from orchestrator.protocol import routing as wire
from orchestrator.protocol.messages import Endpoint
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.model import Project
from orchestrator.spec.routing_rules import Binding, discovered, listeners

MIN_SLOTS = 4
"""Of a backend: room for one instance and its successor, twice."""

_Port = tuple[str, int]
"""(service, port inside its containers)."""


@dataclass(frozen=True)
class Scene:
    """Everything a picture depends on besides the spec."""

    inventory: Inventory
    placed: Sequence[Placed]
    image: str
    """Image id of the router, or what stands for it until it is built."""
    endpoints: Sequence[Endpoint]
    keys: Mapping[str, str]
    """Host -> hexadecimal key of its secrets' hashes; a host that did not answer has none."""
    addresses: Mapping[str, str]
    """Host -> where the others reach it."""
    certificates: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Route -> PEM bundle."""
    current: Mapping[str, wire.RouterConfig] = field(default_factory=dict, repr=False)
    """Host -> the picture its newest record has."""


@dataclass(frozen=True)
class Pictures:
    """All routers of a project."""

    routers: tuple[tuple[str, wire.RouterConfig], ...] = ()
    """(host, picture), sorted."""
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """(HMAC, certificate bundle), sorted."""


def pictures(project: Project, scene: Scene) -> Pictures:
    """Return the router of each host that needs one.

    Those are the hosts that accept traffic from outside, those with containers that use a discovered
    service, and those with instances that a router elsewhere sends traffic to.

    Raises:
        SpecError: ``router.hosts`` names something that the inventory does not have.
        KeyError: ``scene`` lacks an endpoint, an address or a certificate.
    """
    if project.routing is None:
        return Pictures()
    painter = _Painter(project, scene)
    routers = tuple((host, painter.router(host)) for host in painter.hosts)
    return Pictures(routers, painter.secrets)


def token(key: str, project: str) -> str:
    """Return what routers demand of whoever comes through the mesh, by one host's key: 32 hex digits."""
    return hmac.digest(bytes.fromhex(key), f"mesh {project}".encode(), "sha256").hex()[:32] if key else ""


def slots(instances: int) -> int:
    """Return how many servers a backend has room for: every instance twice and two to spare.

    A power of two, so that it seldom changes: a change reloads the router.
    """
    return max(MIN_SLOTS, 1 << (2 * instances + 1).bit_length())


class _Painter:
    def __init__(self, project: Project, scene: Scene) -> None:
        self._project = project
        self._scene = scene
        self._endpoints = {(item.service, item.port): item for item in scene.endpoints}
        self._on: dict[str, Counter[str]] = {name: Counter() for name in project.services}
        """Service -> host -> number of instances."""
        for item in scene.placed:
            self._on[item.service][item.host] += 1
        self._network = virtual_network(project) if discovered(project) else ""
        self._bindings = listeners(project)
        self._fronts = self._accepting()
        self._virtuals = self._used()
        self._needs = self._needed()
        self._mesh = self._reached()
        tls = sorted(name for name, route in project.routes.items() if route.tls is not None)
        self._names = _certificate_names({name: scene.certificates[name] for name in tls})

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that need a router, sorted."""
        return tuple(sorted({*self._needs, *self._mesh}))

    @property
    def secrets(self) -> tuple[tuple[str, bytes], ...]:
        """Every bundle under its hash on every host that gets it."""
        found = {
            (_hmac(key, bundle), bundle)
            for host in self._fronts
            for bundle in self._names
            if (key := self._scene.keys.get(host, ""))
        }
        return tuple(sorted(found))

    def router(self, host: str) -> wire.RouterConfig:
        front = host in self._fronts
        router = self._project.routing
        needs, mesh = self._needs.get(host, set()), self._mesh.get(host, set())
        return wire.RouterConfig(
            project=self._project.project,
            image=self._scene.image,
            backends=tuple(self._backend(host, port, remote=port in needs) for port in sorted(needs | mesh)),
            listeners=tuple(self._listeners()) if front else (),
            certificates=tuple(self._certificates(host)) if front else (),
            virtual_network=self._network,
            virtuals=tuple(
                wire.Virtual(self._endpoints[port].virtual, _name(port), port[1])
                for port in sorted(self._virtuals.get(host, ()))
            ),
            mesh=tuple(wire.Mesh(_name(port), self._endpoints[port].mesh) for port in sorted(mesh)),
            mesh_address=self._scene.addresses[host] if mesh else "",
            mesh_token=self._token if mesh else "",
            preview_port=(router.preview_port or 0) if front and router is not None else 0,
        )

    # --- which hosts -----------------------------------------------------------------------------

    def _accepting(self) -> frozenset[str]:
        """Return the hosts that accept traffic from outside."""
        router = self._project.routing
        if not self._bindings or router is None:
            return frozenset()
        unknown = [
            Problem(f"{problem.message} in the inventory", path=f"router.hosts.{number}", hint=problem.hint)
            for number, term in enumerate(router.hosts)
            for problem in self._scene.inventory.unknown([term])
        ]
        if unknown:
            raise SpecError(unknown)
        if router.hosts:
            return frozenset(host.name for host in self._scene.inventory.select(router.hosts))
        return frozenset(host for binding in self._bindings for host in self._on[binding.route.service])

    def _used(self) -> dict[str, set[_Port]]:
        """Return the discovered ports that the containers of each host use."""
        own = discovered(self._project)
        found: defaultdict[str, set[_Port]] = defaultdict(set)
        for name, service in self._project.services.items():
            used = {(need.service, port) for need in service.depends_on for port in own.get(need.service, ())}
            for host in self._on[name] if used else ():
                found[host] |= used
        return found

    def _needed(self) -> dict[str, set[_Port]]:
        """Return the ports that each host's router sends traffic of its own to."""
        found = {host: set(ports) for host, ports in self._virtuals.items()}
        for host in self._fronts:
            routed = {(binding.route.service, binding.route.port) for binding in self._bindings}
            found.setdefault(host, set()).update(routed)
        return found

    def _reached(self) -> dict[str, set[_Port]]:
        """Return the ports that other hosts' routers reach on each host."""
        users: defaultdict[_Port, set[str]] = defaultdict(set)
        for host, ports in self._needs.items():
            for port in ports:
                users[port].add(host)
        found: defaultdict[str, set[_Port]] = defaultdict(set)
        for port, by in users.items():
            for host in self._on[port[0]]:
                if by - {host}:
                    found[host].add(port)
        return found

    # --- what is in it ---------------------------------------------------------------------------

    def _backend(self, host: str, port: _Port, *, remote: bool) -> wire.Backend:
        service = self._project.services[port[0]]
        routes = [b.route for b in self._bindings if (b.route.service, b.route.port) == port]
        check = service.healthcheck
        spoken = check.http is not None and check.port == port[1]
        plain = wire.Backend(*port)
        return wire.Backend(
            *port,
            mode="tcp" if any(route.tcp for route in routes) or not (routes or spoken) else "http",
            check_path=(check.http or "") if spoken else "",
            slots=slots(self._on[port[0]][host]),
            cookie=routes[0].sticky if routes else "",
            timeout=routes[0].timeout if routes else plain.timeout,
            remotes=tuple(self._remotes(host, port)) if remote else (),
        )

    def _remotes(self, host: str, port: _Port) -> Iterator[wire.Remote]:
        for other, count in sorted(self._on[port[0]].items()):
            if other != host:
                yield wire.Remote(
                    host=other,
                    address=self._scene.addresses[other],
                    port=self._endpoints[port].mesh,
                    token=self._token,
                    weight=count,
                )

    @functools.cached_property
    def _token(self) -> str:
        """What every router of the project demands of the others, which have one thing to show to all.

        It never changes while any picture has it: routers take new pictures one after the other.
        """
        for _, picture in sorted(self._scene.current.items()):
            known = [picture.mesh_token, *(r.token for b in picture.backends for r in b.remotes)]
            if any(known):
                return next(filter(None, known))
        keys = (key for _, key in sorted(self._scene.keys.items()) if key)
        return token(next(keys, ""), self._project.project)

    def _listeners(self) -> Iterator[wire.Listener]:
        by_port: defaultdict[int, list[Binding]] = defaultdict(list)
        for binding in self._bindings:
            by_port[binding.port].append(binding)
        for port, bindings in sorted(by_port.items()):
            kind = bindings[0].kind
            yield wire.Listener(
                port=port,
                mode="tcp" if kind == "tcp" else "http",
                tls=kind == "https",
                routes=tuple(sorted(map(_route, bindings), key=specific_first)),
            )

    def _certificates(self, host: str) -> Iterator[wire.Certificate]:
        key = self._scene.keys.get(host, "")
        for bundle, name in sorted(self._names.items(), key=lambda item: item[1]):
            yield wire.Certificate(name, _hmac(key, bundle))


def _certificate_names(certificates: Mapping[str, bytes]) -> dict[bytes, str]:
    """Return a name for each bundle: the first route's that has it."""
    return {certificates[route]: route for route in sorted(certificates, reverse=True)}


def specific_first(route: wire.Route) -> tuple[int, int, int, str, str, bool, str]:
    """Order routes so that the first that matches is the right one: by host, then by path."""
    rank = 2 if not route.host else 1 if route.host.startswith("*.") else 0
    return (
        rank,
        -route.host.count("."),
        -len(route.path),
        route.host,
        route.path,
        route.redirect_https,
        route.name,
    )


def by_target(backends: Iterable[wire.Backend]) -> Callable[[wire.Virtual | wire.Mesh], _Port]:
    """Return the key that sorts addresses like the backends they lead to."""
    ports = {backend.name: (backend.service, backend.port) for backend in backends}
    return lambda item: ports[item.backend]


def _route(binding: Binding) -> wire.Route:
    route = binding.route
    return wire.Route(
        name=binding.name,
        backend=_name((route.service, route.port)),
        host=route.host or "",
        path=route.path,
        redirect_https=binding.redirect,
        maintenance=route.maintenance,
        max_body=route.max_body,
        rate=route.rate,
        set_headers=route.headers,
    )


def _name(port: _Port) -> str:
    return wire.Backend(*port).name


def _hmac(key: str, value: bytes) -> str:
    return hmac.digest(bytes.fromhex(key), value, "sha256").hex() if key else ""
