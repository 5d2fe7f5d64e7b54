"""Which hosts have a router, and what it serves."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import inventory, project
from support.routed_fleet import RoutedFleet, applied, wanted

from orchestrator.errors import SpecError
from orchestrator.planning.routing.picture import slots
from orchestrator.planning.types import Desired
from orchestrator.protocol.routing import Listener, RouterConfig
from orchestrator.spec.model import Project

HOSTS = ("edge", "web-1", "web-2", "db")
SHOP: dict[str, Any] = {
    "front": {"hosts": ["web-1", "web-2"], "per_host": 1, "expose": [80], "depends_on": ["cache"]},
    "cache": {"hosts": ["db"], "expose": [6379], "healthcheck": {"tcp": 6379}},
}
ROUTES: dict[str, Any] = {"shop": {"service": "front", "port": 80, "host": "shop.example.com"}}


def pictures(
    services: dict[str, Any] = SHOP, *, certificates: dict[str, bytes] | None = None, **fields: Any
) -> dict[str, RouterConfig]:
    """Return the routers of a fleet that has nothing yet, by host."""
    return dict(desired(project(services, **{"routes": ROUTES, **fields}), certificates=certificates).routers)


def desired(model: Project, **options: Any) -> Desired:
    """Return what should run on four hosts that have nothing yet."""
    return wanted(model, RoutedFleet(HOSTS), **options)


def names(config: RouterConfig) -> list[str]:
    """Return the names of a router's backends."""
    return [backend.name for backend in config.backends]


def test_the_shop() -> None:
    """Fronts accept and use the cache; the cache's host only lets the others in."""
    found = pictures()
    assert list(found) == ["db", "web-1", "web-2"]
    web, db = found["web-1"], found["db"]
    assert names(web) == ["cache_6379", "front_80"]
    cache, front = web.backends
    assert [(remote.host, remote.address, remote.weight) for remote in cache.remotes] == [
        ("db", "db.example", 1)
    ]
    assert [remote.host for remote in front.remotes] == ["web-2"]
    assert (cache.mode, front.mode, cache.slots, front.slots) == ("tcp", "http", 4, 4)
    assert [(virtual.backend, virtual.port) for virtual in web.virtuals] == [("cache_6379", 6379)]
    assert [(mesh.backend, mesh.port) for mesh in web.mesh] == [("front_80", front.remotes[0].port)]
    assert [(item.port, item.mode, item.tls) for item in web.listeners] == [(80, "http", False)]
    assert (names(db), db.listeners, db.virtuals) == (["cache_6379"], (), ())
    assert db.backends[0].remotes == ()
    assert [(mesh.backend, mesh.port) for mesh in db.mesh] == [("cache_6379", cache.remotes[0].port)]
    assert db.mesh_token == cache.remotes[0].token != ""
    assert (db.mesh_address, web.virtual_network) == ("db.example", db.virtual_network)


def test_hosts_that_accept() -> None:
    """``router.hosts`` accept and reach the rest; those that run a routed service no longer listen."""
    found = pictures(router={"hosts": ["edge"]})
    assert [host for host, config in found.items() if config.listeners] == ["edge"]
    (front,) = found["edge"].backends
    assert ([remote.host for remote in front.remotes], found["edge"].mesh) == (["web-1", "web-2"], ())
    assert {mesh.backend for mesh in found["web-1"].mesh} == {"front_80"}
    assert [backend.remotes == () for backend in found["web-1"].backends] == [False, True]


def test_hosts_the_inventory_lacks() -> None:
    """It is an error where it is written."""
    with pytest.raises(SpecError) as caught:
        pictures(router={"hosts": ["edge", "webb"]})
    assert [problem.path for problem in caught.value.problems] == ["router.hosts.1"]


def test_without_routing_there_is_no_router() -> None:
    """Everything stays as it is in a project that does not ask for one."""
    found = desired(project(SHOP))
    assert (found.routers, found.endpoints, found.router_secrets) == ((), (), ())
    assert all(not instance.config.extra_hosts for instance in found.instances)


def test_names_of_services() -> None:
    """Those who depend on a service reach it by name; a line of their own wins."""
    services = {**SHOP, "own": {"hosts": ["db"], "depends_on": ["cache"], "extra_hosts": ["cache=10.9.9.9"]}}
    found = desired(project(services, router={"network": "10.200.1.0/24"}))
    (virtual,) = {endpoint.virtual for endpoint in found.endpoints if endpoint.virtual}
    hosts = {instance.service: instance.config.extra_hosts for instance in found.instances}
    assert hosts == {"front": (("cache", virtual),), "cache": (), "own": (("cache", "10.9.9.9"),)}


def test_a_route_does_not_stop_first() -> None:
    """The router holds the port, so old and new may stand side by side."""
    assert not any(instance.stop_first for instance in desired(project(SHOP, routes=ROUTES)).instances)


def test_routes_in_order() -> None:
    """The most exact host first, then the longest path: the first that matches is the right one."""
    routes = {
        "any": {"service": "front", "port": 80},
        "api": {"service": "front", "port": 80, "path": "/api/"},
        "shop": {"service": "front", "port": 80, "host": "Shop.example.com"},
        "shop-api": {"service": "front", "port": 80, "host": "shop.example.com", "path": "/api"},
        "wild": {"service": "front", "port": 80, "host": "*.example.com"},
        "deep": {"service": "front", "port": 80, "host": "*.shop.example.com"},
    }
    (listener,) = pictures(routes=routes)["web-1"].listeners
    assert [route.name for route in listener.routes] == ["shop-api", "shop", "deep", "wild", "api", "any"]


PEM = b"-----BEGIN CERTIFICATE-----"
TLS = {"tls": {"certificate": {"from": {"env": "X"}}}}


def test_tls() -> None:
    """A certificate for two routes is one file; the redirect is a route of the other port."""
    routes = {
        "a": {"service": "front", "port": 80, "host": "a.example", "redirect": True, **TLS},
        "b": {"service": "front", "port": 80, "host": "b.example", **TLS},
        "c": {"service": "front", "port": 80, "host": "c.example", **TLS},
    }
    certificates = {"a": PEM + b"1", "b": PEM + b"2", "c": PEM + b"1"}
    model = project(SHOP, routes=routes, router={"https_port": 8443})
    found = desired(model, certificates=certificates)
    web = dict(found.routers)["web-1"]
    plain, tls = web.listeners
    assert (plain.port, plain.tls, [(r.name, r.redirect_https) for r in plain.routes]) == (
        80,
        False,
        [("a", True)],
    )
    assert (tls.port, tls.tls, [route.name for route in tls.routes]) == (8443, True, ["a", "b", "c"])
    assert [certificate.name for certificate in web.certificates] == ["a", "b"]
    secrets = dict(found.router_secrets)
    assert [secrets[certificate.hmac] for certificate in web.certificates] == [PEM + b"1", PEM + b"2"]
    assert dict(found.routers)["db"].certificates == ()
    assert "PEM" not in repr(found)
    assert "BEGIN" not in repr(found)
    with pytest.raises(KeyError):
        desired(model)


def test_what_a_route_says() -> None:
    """Everything of a route is in the picture, where it belongs."""
    route = {
        "service": "front", "port": 80, "path": "/x", "headers": {"X-B": "1", "X-A": "2"}, "max_body": "1k",
        "rate": 5, "sticky": True, "timeout": "7s", "maintenance": True,
    }  # fmt: skip
    services = {**SHOP, "front": {**SHOP["front"], "healthcheck": {"http": "/health", "port": 80}}}
    web = pictures(services, routes={"r": route}, router={"preview_port": 8090})["web-1"]
    ((found,),) = [listener.routes for listener in web.listeners]
    assert (found.max_body, found.rate, found.maintenance) == (1024, 5, True)
    assert found.set_headers == (("X-A", "2"), ("X-B", "1"))
    front = web.backends[1]
    assert (front.cookie, front.timeout, front.check_path) == ("deploy-instance", 7.0, "/health")
    assert web.preview_port == 8090


def test_tcp() -> None:
    """A tcp route has a listener of its own, and its backend passes bytes on."""
    routes = {"db": {"service": "cache", "port": 6379, "tcp": True, "bind": 7000}}
    db = pictures(routes=routes)["db"]
    (listener,) = db.listeners
    assert listener == Listener(7000, mode="tcp", routes=listener.routes)
    assert db.backends[0].mode == "tcp"


def test_a_published_port_that_the_router_needs() -> None:
    """Both places are named, once each; the same port elsewhere is no harm."""
    other = {"hosts": ["web-2", "db"], "per_host": 1, "ports": ["80:8080"]}
    with pytest.raises(SpecError) as caught:
        pictures({**SHOP, "other": other})
    paths = [problem.path for problem in caught.value.problems]
    assert paths == ["services.other.ports", "routes.shop"]
    assert "port 80 of web-2" in caught.value.problems[0].message
    pictures({**SHOP, "other": {**other, "hosts": ["db"]}})


def test_a_published_port_where_a_service_is_reached() -> None:
    """The engine would hold the port on every address, the service's own included."""
    front = {**SHOP["front"], "hosts": ["db"]}
    cache = {**SHOP["cache"], "ports": ["6379:6379"]}
    with pytest.raises(SpecError) as caught:
        pictures({"front": front, "cache": cache})
    assert [problem.path for problem in caught.value.problems] == [
        "services.cache.ports",
        "services.cache.expose",
    ]
    pictures({"front": front, "cache": {**cache, "ports": ["127.0.0.1:6379:6379"]}})


@given(st.integers(0, 3000))
def test_slots(instances: int) -> None:
    """A power of two with room for every instance twice and two more, and not much more than that."""
    found = slots(instances)
    assert found & (found - 1) == 0
    assert found >= max(4, 2 * instances + 2)
    assert found == 4 or found < 2 * (2 * instances + 2)


@given(st.integers(0, 4), st.integers(0, 4), st.sampled_from([[], ["edge"], ["edge", "web-1"]]), st.randoms())
def test_whatever_the_placement(front: int, cache: int, accept: list[str], shuffle: random.Random) -> None:
    """Equal inputs give equal pictures; every remote listens where it is looked for, with its token."""
    services = {
        "front": {"replicas": front, "expose": [80], "depends_on": ["cache"]},
        "cache": {"replicas": cache, "expose": [6379, 80]},
    }
    router = {"hosts": accept} if accept else {}
    model = project(services, routes=ROUTES, router=router)
    hosts = inventory(*HOSTS)
    found = desired(model, hosts=hosts)
    mixed = list(hosts.hosts)
    shuffle.shuffle(mixed)
    turned = project(dict(reversed(services.items())), routes=ROUTES, router=router)
    again = desired(turned, hosts=replace(hosts, hosts=tuple(mixed)))
    assert again.routers == found.routers
    routers = dict(found.routers)
    on = {(instance.service, instance.host) for instance in found.instances}
    for host, config in routers.items():
        known = {backend.name: backend for backend in config.backends}
        for backend in config.backends:
            for remote in backend.remotes:
                other = routers[remote.host]
                assert (backend.name, remote.port) in {(mesh.backend, mesh.port) for mesh in other.mesh}
                assert (remote.token, remote.address) == (other.mesh_token, other.mesh_address)
                assert remote.host != host
                assert (backend.service, remote.host) in on
        used = {route.backend for listener in config.listeners for route in listener.routes}
        used |= {virtual.backend for virtual in config.virtuals} | {mesh.backend for mesh in config.mesh}
        assert used == known.keys()
        assert config.listeners == () or not accept or host in accept
    for service, host in on:
        reached = any(r.host == host for c in routers.values() for b in c.backends for r in b.remotes)
        if service == "front":
            assert host in routers
            assert "front_80" in names(routers[host])
        assert reached == bool(host in routers and routers[host].mesh)


def test_a_host_that_is_down_keeps_its_token() -> None:
    """What it demands is known from the last release, so that nothing changes on the others."""
    fleet = RoutedFleet(HOSTS)
    model = project(SHOP, routes=ROUTES)
    applied(model, fleet)
    before = dict(wanted(model, fleet).routers)
    fleet.hosts["db"].down = True
    after = dict(wanted(model, fleet).routers)
    assert after["web-1"] == before["web-1"]
