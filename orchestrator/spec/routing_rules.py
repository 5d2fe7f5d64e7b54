"""What takes the whole project to tell about routing: does every route lead somewhere, and to one place?

Owns the rules over routes, listeners, discovered services and strategies of a validated project, and
the answers planning shares (:func:`listeners`, :func:`discovered`, :func:`strategy`). It must not know
hosts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.errors import Problem
from orchestrator.spec.model import Project, Route, Router, Service
from orchestrator.spec.positions import Path, Positions
from orchestrator.spec.suggest import did_you_mean


@dataclass(frozen=True)
class Binding:
    """One route on one port of the router."""

    port: int
    kind: str
    """``http``, ``https`` or ``tcp``."""
    name: str
    """Of the route."""
    route: Route
    redirect: bool = False
    """Answers only with the way to https."""


def listeners(project: Project) -> tuple[Binding, ...]:
    """Return every route on each port it is bound to, in the order of the file."""
    router = project.routing
    return tuple(
        binding
        for name, route in project.routes.items()
        for binding in (_bindings(name, route, router) if router is not None else ())
    )


def discovered(project: Project) -> Mapping[str, tuple[int, ...]]:
    """Return the services that have an address of their own, with the ports it serves, sorted.

    Those are the ones that expose ports and that others depend on, in a project with a router.
    """
    if project.routing is None:
        return {}
    wanted = {need.service for service in project.services.values() for need in service.depends_on}
    return {
        name: tuple(sorted(service.expose))
        for name, service in sorted(project.services.items())
        if name in wanted and service.expose
    }


def routed(project: Project) -> frozenset[str]:
    """Return the services whose traffic goes through a router: by a route, or by their address."""
    return frozenset({route.service for route in project.routes.values()} | discovered(project).keys())


def stop_first(service: Service) -> str:
    """Return why two instances of one slot cannot exist side by side; empty when they can.

    A route is no reason: the router holds its port, not the containers.
    """
    for port in service.ports:
        if port.published:
            return f"it publishes port {port.published} of its host, which one container alone can hold"
    for mount in service.volumes:
        if mount.type != "tmpfs" and not mount.read_only:
            return f"it writes {mount.target} on its host, which two containers must not do at once"
    return ""


def strategy(project: Project, name: str) -> str:
    """Return how a service is replaced: what it says, else the default for what it is."""
    service = project.services[name]
    if service.update.strategy is not None:
        return service.update.strategy
    if service.update.canary:
        return "canary"
    if stop_first(service):
        return "recreate"
    return "blue-green" if name in routed(project) else "rolling"


def check_routing(project: Project, positions: Positions) -> list[Problem]:
    """Return a problem for each rule of routing that the project breaks."""
    rules = _Rules(project, positions)
    return [*rules.targets(), *rules.ports(), *rules.backends(), *rules.strategies(), *rules.endings()]


def _bindings(name: str, route: Route, router: Router) -> Iterator[Binding]:
    kind = "tcp" if route.tcp else "https" if route.tls else "http"
    default = router.https_port if route.tls else router.http_port
    for port in route.bind or (default,):
        yield Binding(port, kind, name, route)
    if route.redirect:
        yield Binding(router.http_port, "http", name, route, redirect=True)


class _Rules:
    def __init__(self, project: Project, positions: Positions) -> None:
        self._project = project
        self._positions = positions

    def targets(self) -> Iterator[Problem]:
        """Yield the routes to a port on which nobody says that the service listens."""
        for name, route in self._project.routes.items():
            service = self._project.services.get(route.service)
            if service is None:
                continue
            check = service.healthcheck
            known = {*service.expose, *(port.target for port in service.ports), check.port, check.tcp}
            numbers = sorted(number for number in known if number is not None)
            if route.port not in numbers:
                hint = did_you_mean(str(route.port), map(str, numbers)).replace("'", "")
                hint = hint or f"write expose: [{route.port}] in the service if it does"
                yield self._problem(
                    ("routes", name, "port"),
                    f"nothing says that {route.service} listens on port {route.port}",
                    hint,
                )

    def ports(self) -> Iterator[Problem]:
        """Yield the routes that claim what another route has already."""
        first: dict[int, Binding] = {}
        taken: dict[tuple[int, str, str], Binding] = {}
        router = self._project.routing
        for binding in listeners(self._project):
            route, port = binding.route, binding.port
            path = ("routes", binding.name, "redirect" if binding.redirect else "bind")
            if router is not None and port == router.preview_port:
                yield self._problem(path, f"port {port} is the router's preview_port", "choose another")
            if binding.redirect and route.bind and router is not None and router.https_port not in route.bind:
                yield self._problem(
                    path, f"the redirect leads to port {router.https_port}, which bind leaves out", ""
                )
            other = first.setdefault(port, binding)
            if other.kind != binding.kind:
                message = f"port {port} is {binding.kind} here and {other.kind} for {self._route(other)}"
                yield self._problem(path, message, "a port speaks one protocol: bind one of them elsewhere")
                continue
            if binding.kind == "tcp" and other.name != binding.name:
                message = f"port {port} leads to {self._route(other)} already"
                yield self._problem(path, message, "a tcp route has its port to itself")
                continue
            twin = taken.setdefault((port, route.host or "", route.path), binding)
            if twin.name != binding.name:
                what = f"{route.host or 'any host'}{route.path} on port {port}"
                message = f"{what} leads to {self._route(twin)} already"
                yield self._problem(("routes", binding.name), message, "give one another host or path")

    def backends(self) -> Iterator[Problem]:
        """Yield the routes that want one port of one service in two ways."""
        first: dict[tuple[str, int], tuple[str, Route]] = {}
        for name, route in self._project.routes.items():
            other_name, other = first.setdefault((route.service, route.port), (name, route))
            for field in ("tcp", "timeout", "sticky"):
                if getattr(route, field) != getattr(other, field):
                    where = f"{self._route_at(other_name)}, which leads to the same port"
                    yield self._problem(
                        ("routes", name, field),
                        f"{field} differs from that of {where}",
                        "say the same in both",
                    )

    def strategies(self) -> Iterator[Problem]:
        """Yield the updates that the service cannot have."""
        moving = routed(self._project)
        for name, service in self._project.services.items():
            update, chosen = service.update, strategy(self._project, name)
            path, reason = ("services", name, "update"), stop_first(service)
            if chosen in ("blue-green", "canary") and reason:
                hint = "write strategy: recreate"
                if any(port.published for port in service.ports):
                    hint += ", or route the port instead of publishing it"
                yield self._problem((*path, "strategy"), f"{name} cannot be {chosen}: {reason}", hint)
            elif chosen == "rolling" and reason and update.max_unavailable in ("0", "0%"):
                message = f"{name} cannot be rolling with nothing unavailable: {reason}"
                yield self._problem(
                    (*path, "strategy"), message, "write max_unavailable: 1, or strategy: recreate"
                )
            if chosen == "canary" and name not in moving:
                yield self._problem(
                    (*path, "strategy"),
                    f"{name} cannot be canary: its traffic goes through no router",
                    "give it a route, or expose a port that another service depends on",
                )
            if update.hold and chosen in ("rolling", "recreate"):
                message = f"{name} cannot be held: {chosen} never has all new instances beside the old ones"
                yield self._problem((*path, "hold"), message, "write strategy: blue-green")
            for index, check in enumerate(update.checks):
                if check.http is not None and not (check.port or service.healthcheck.port):
                    yield self._problem((*path, "checks", index), "the check needs the port to ask", "")

    def endings(self) -> Iterator[Problem]:
        """Yield the updates that would end too soon, or stay where nothing serves."""
        for name, service in self._project.services.items():
            update, chosen = service.update, strategy(self._project, name)
            path = ("services", name, "update")
            longest = service.healthcheck.deadline
            if update.start_deadline is None and longest >= update.progress_deadline:
                yield self._problem(
                    (*path, "progress_deadline"),
                    f"{name} may take {longest:g}s to become healthy, and the update gives up after"
                    f" {update.progress_deadline:g}s",
                    "write a longer progress_deadline, or a shorter deadline of the health check",
                )
            if update.on_failure == "pause" and chosen != "rolling":
                message = f"{name} cannot pause: {chosen} serves from what is old until all is well"
                if chosen == "recreate":
                    message = f"{name} cannot pause: recreate would leave nothing that serves"
                yield self._problem(
                    (*path, "on_failure"), message, "write strategy: rolling, or leave it out"
                )

    def _route(self, binding: Binding) -> str:
        return self._route_at(binding.name)

    def _route_at(self, name: str) -> str:
        place = self._positions.at(("routes", name))
        return f"route {name} ({place.file}:{place.line}:{place.column})" if place.file else f"route {name}"

    def _problem(self, path: Path, message: str, hint: str) -> Problem:
        return self._positions.problem(path, message, hint=hint)
