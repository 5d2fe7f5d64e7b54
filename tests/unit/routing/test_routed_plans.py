"""Plans of a fleet with routers: what changes, why, and that it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.planning import image_id, project
from support.routed_fleet import ModelRouter, RoutedFleet, applied, carried_out, planned, router_lines

from orchestrator.planning.destroy import destroy
from orchestrator.planning.limit import Limit
from orchestrator.planning.observed import Index
from orchestrator.planning.prune import prune
from orchestrator.planning.rollback import rollback
from orchestrator.planning.saved import differences, plan_document
from orchestrator.planning.types import Plan, Strategy
from orchestrator.protocol.messages import ReleaseRecord
from orchestrator.protocol.routing import Guard, RouterConfig
from orchestrator.spec.model import Project

HOSTS = ("web-1", "web-2", "web-3")
ROUTES: dict[str, Any] = {"shop": {"service": "front", "port": 80}}


def shop(*, level: str = "info", routes: dict[str, Any] | None = None, **fields: Any) -> Project:
    """Return a front with a route that uses an api, one instance each on two hosts."""
    front = {"hosts": ["web-1", "web-2"], "per_host": 1, "expose": [80, 81], "depends_on": ["api"]}
    api = {"hosts": ["web-2"], "expose": [8080], "environment": {"LEVEL": level}, **fields}
    return project({"front": front, "api": api}, routes=ROUTES if routes is None else routes)


@pytest.fixture
def fleet() -> RoutedFleet:
    """Return three hosts on which the shop runs."""
    made = RoutedFleet(HOSTS)
    applied(shop(), made)
    return made


def record(fleet: RoutedFleet, host: str) -> ReleaseRecord:
    """Return the newest record of a host."""
    return list(fleet.hosts[host].releases.values())[-1]


def test_a_first_apply() -> None:
    """Routers come with the first release, their image is shipped, and it is all on record."""
    fleet = RoutedFleet(HOSTS)
    plan = applied(shop(), fleet)
    assert router_lines(plan) == ["web-1: a router is needed", "web-2: a router is needed"]
    assert ("web-1", image_id("router")) in plan.ships
    assert plan.routed == (("web-1", "api"), ("web-1", "front"), ("web-2", "api"), ("web-2", "front"))
    assert fleet.serving("web-1", "front") == {(1, "r1"): 256}
    for host in ("web-1", "web-2"):
        assert record(fleet, host).router == fleet.routers[host].picture
        assert record(fleet, host).endpoints == plan.desired.endpoints != ()
        assert dict(record(fleet, host).routers) == {
            name: router.picture.digest for name, router in fleet.routers.items()
        }
    assert planned(shop(), fleet).empty


@pytest.mark.parametrize(
    ("after", "reasons"),
    [
        (
            shop(routes={**ROUTES, "api": {"service": "front", "port": 80, "path": "/api"}}),
            "route api added",
        ),
        (
            shop(routes={**ROUTES, "api": {"service": "api", "port": 8080, "path": "/api"}}),
            "route api added; mode of backend api_8080 changed",
        ),
        (shop(routes={"shop": {"service": "front", "port": 80, "path": "/x"}}), "route shop changed"),
        (
            shop(routes={"shop": {"service": "front", "port": 80, "bind": 8080}}),
            "listener 80 removed; listener 8080 added; route shop changed",
        ),
        (
            shop(routes={"new": {"service": "front", "port": 81}}),
            (
                "route new added; route shop removed; backend front_80 removed; backend front_81 added; "
                "mesh port front_80 removed; mesh port front_81 added"
            ),
        ),
        (
            shop(routes={"shop": {"service": "front", "port": 80, "sticky": True}}),
            "sticky cookie of backend front_80 changed",
        ),
        (shop(replicas=3), "backend api_8080 has 3 instances on web-2"),
        (shop(hosts=["web-3"]), "backend api_8080 loses host web-2; backend api_8080 gets host web-3"),
        (shop(level="debug"), ""),
    ],
)
def test_reasons(fleet: RoutedFleet, after: Project, reasons: str) -> None:
    """One clause for each thing that changes about a router; none when only containers change."""
    plan = planned(after, fleet)
    assert dict(line.split(": ", 1) for line in router_lines(plan)).get("web-1", "") == reasons
    carried_out(plan, fleet)
    assert planned(after, fleet).empty


def test_what_has_happened_to_a_router(fleet: RoutedFleet) -> None:
    """One that is gone, stopped, or serves something else is put right."""
    good = fleet.routers["web-1"]
    damaged: list[tuple[ModelRouter | None, str]] = [
        (None, "web-1: a router is needed"),
        (replace(good, running=False), "web-1: router does not run"),
        (replace(good, picture=replace(good.picture, preview_port=9)), "web-1: the router changed"),
    ]
    for router, line in damaged:
        fleet.routers.pop("web-1")
        if router is not None:
            fleet.routers["web-1"] = router
        plan = planned(shop(), fleet)
        assert router_lines(plan) == [line]
        carried_out(plan, fleet)
        assert planned(shop(), fleet).empty
        assert fleet.serving("web-1", "front") == {(1, "r1"): 256}


def test_traffic_that_is_not_where_it_should_be(fleet: RoutedFleet) -> None:
    """An instance that runs and has no traffic is given it, without being replaced."""
    fleet.routers["web-2"].seats[("api", 1, "r1")] = 0
    plan = planned(shop(), fleet)
    assert (plan.unserved, plan.routers, plan.empty) == ((("web-2", "api"),), (), False)
    carried_out(plan, fleet)
    assert fleet.serving("web-2", "api") == {(1, "r1"): 256}
    assert planned(shop(), fleet).empty


def test_a_guard_that_was_left_armed(fleet: RoutedFleet) -> None:
    """Somebody has to settle it."""
    seen = fleet.observed()
    host = seen.host("web-1")
    assert host.report is not None
    assert host.report.routing is not None
    routing = replace(host.report.routing, guard=Guard("r1-1", "armed", 5.0))
    again = replace(host, report=replace(host.report, routing=routing))
    index = Index(replace(seen, hosts=(again, *seen.hosts[1:])))
    fleet.observed = lambda: index.observed  # type: ignore[method-assign]
    assert planned(shop(), fleet).armed == (("web-1", "r1-1"),)


def test_a_new_image_of_the_router(fleet: RoutedFleet) -> None:
    """It is built when nobody knows it yet, shipped, and the old one goes with its last record."""
    unbuilt = planned(shop(), fleet, images={"router": ""})
    assert [artifact.name for artifact in unbuilt.builds] == ["router"]
    assert router_lines(unbuilt) == [f"{host}: router image changed" for host in ("web-1", "web-2")]
    new = image_id("router 2")
    plan = carried_out(planned(shop(), fleet, images={"router": new}), fleet)
    assert plan.ships == (("web-1", new), ("web-2", new))
    assert image_id("router") in fleet.hosts["web-1"].images
    for level in ("a", "b", "c", "d"):
        applied(shop(level=level), fleet, images={"router": new})
    assert image_id("router") not in fleet.hosts["web-1"].images
    assert new in fleet.hosts["web-1"].images


def test_rollback_serves_what_was_served(fleet: RoutedFleet) -> None:
    """A release brings its own picture back, with today's certificates."""
    before = {host: router.picture for host, router in fleet.routers.items()}
    applied(shop(level="debug", routes={"new": {"service": "front", "port": 81}}), fleet)
    assert {host: router.picture for host, router in fleet.routers.items()} != before
    plan = carried_out(rollback("shop", fleet.observed()), fleet)
    assert {host: router.picture for host, router in fleet.routers.items()} == before
    assert router_lines(plan)[0].startswith("web-1: route new removed; route shop added")
    assert not plan.hold
    assert {policy.bake for _, policy in plan.desired.updates} == {0.0}, "it has served before"
    assert planned(shop(), fleet).empty


def test_no_more_routes() -> None:
    """Routers go when nothing needs them, and with them what is on record."""
    fleet = RoutedFleet(HOSTS)
    plain = {"front": {"expose": [80]}}
    applied(project(plain, routes=ROUTES), fleet)
    plan = applied(project(plain), fleet)
    assert [change.desired for change in plan.routers] == [None]
    assert fleet.routers == {}
    assert record(fleet, "web-1").router is None
    assert planned(project(plain), fleet).empty


def test_destroy(fleet: RoutedFleet) -> None:
    """Everything means the routers and their images too; some services leave them alone."""
    some = destroy("shop", fleet.observed(), limit=Limit(services=frozenset({"api"})))
    assert some.routers == ()
    plan = destroy("shop", fleet.observed())
    assert [(change.host, change.desired) for change in plan.routers] == [("web-1", None), ("web-2", None)]
    assert ("web-1", image_id("router")) in plan.images


def test_prune_leaves_routers_alone(fleet: RoutedFleet) -> None:
    """The image that runs stays."""
    applied(shop(level="debug"), fleet)
    plan = prune("shop", fleet.observed(), keep=0)
    assert plan.routers == ()
    assert image_id("router") not in {image for _, image in plan.images}


def test_hold(fleet: RoutedFleet) -> None:
    """Only when something that wants it gets new instances."""
    held = {"hold": True, "strategy": "blue-green"}
    assert not planned(shop(update=held), fleet).hold
    assert planned(shop(update=held, level="debug"), fleet).hold


def test_a_limit_leaves_other_routers_alone(fleet: RoutedFleet) -> None:
    """Hosts outside keep what they serve, and the record says so."""
    after = shop(routes={**ROUTES, "api": {"service": "api", "port": 8080, "path": "/api"}})
    plan = planned(after, fleet, limit=Limit(hosts=frozenset({"web-1"})))
    assert [change.host for change in plan.routers] == ["web-1"]
    carried_out(plan, fleet)
    recorded = dict(record(fleet, "web-1").routers)
    assert recorded == {host: router.picture.digest for host, router in fleet.routers.items()}


def test_a_saved_plan_knows_its_routers(fleet: RoutedFleet) -> None:
    """Without tokens; and it is held to them."""
    routes = {**ROUTES, "api": {"service": "api", "port": 8080, "path": "/api"}}
    saved = plan_document(planned(shop(routes=routes), fleet))
    assert [item["host"] for item in saved["routers"]] == ["web-1", "web-2"]
    tokens = {router.picture.mesh_token for router in fleet.routers.values()} - {""}
    assert tokens
    assert not any(token in str(saved) for token in tokens)
    assert differences(saved, saved) == ()
    routes["api"] = {**routes["api"], "path": "/b"}
    other = plan_document(planned(shop(routes=routes), fleet))
    assert "the router of web-1 would be changed in another way" in differences(saved, other)


@st.composite
def specs(draw: st.DrawFn) -> Project:
    """Return any project with routes, discovered services and strategies."""
    services: dict[str, dict[str, Any]] = {}
    for name in draw(st.lists(st.sampled_from(["api", "cache", "db", "front"]), unique=True, min_size=1)):
        service: dict[str, Any] = {
            "replicas": draw(st.integers(0, 3)),
            "environment": {"LEVEL": draw(st.sampled_from(["info", "debug"]))},
            "depends_on": draw(st.lists(st.sampled_from(sorted(services)), unique=True)) if services else [],
            "expose": draw(st.sampled_from([[], [80], [80, 81]])),
            "keep_releases": draw(st.integers(0, 2)),
        }
        if draw(st.booleans()):
            service["volumes"] = [f"{name}:/data"]
        else:
            kinds = [Strategy.ROLLING, Strategy.BLUE_GREEN, Strategy.RECREATE]
            service["update"] = draw(st.sampled_from(kinds)).value
        services[name] = service
    exposed = sorted((name, port) for name, service in services.items() for port in service["expose"])
    routes = {}
    for name, port in draw(st.lists(st.sampled_from(exposed), unique=True)) if exposed else []:
        routes[f"{name}-{port}"] = {"service": name, "port": port, "path": f"/{name}/{port}"}
    router = draw(st.sampled_from([None, {}, {"hosts": ["web-1"]}, {"hosts": ["web-2", "web-3"]}]))
    return project(services, routes=routes, router=router)


def serves_what_runs(fleet: RoutedFleet, plan: Plan) -> None:
    """Every instance of a routed service has all the traffic of its slot, and nothing else has any."""
    routed = set(plan.routed)
    for host in HOSTS:
        for service in ("api", "cache", "db", "front"):
            on = {
                (container.slot, container.release)
                for container in fleet.hosts[host].containers.values()
                if container.service == service and container.state == "running"
            }
            assert fleet.serving(host, service).keys() == (on if (host, service) in routed else set())


@given(st.lists(specs(), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_every_history_ends(history: list[Project]) -> None:
    """After an apply there is nothing left to do, every instance serves, and no address has moved."""
    fleet = RoutedFleet(HOSTS)
    for spec in history:
        before = Index(fleet.observed()).current
        plan = applied(spec, fleet)
        serves_what_runs(fleet, plan)
        assert planned(spec, fleet).empty
        old = {(item.service, item.port): item for item in (before.endpoints if before else ())}
        for item in plan.desired.endpoints:
            known = old.get((item.service, item.port), item)
            assert item.mesh == known.mesh
            assert not (item.virtual and known.virtual) or item.virtual == known.virtual


@given(specs(), specs())
@settings(max_examples=40, deadline=None)
def test_every_rollback_ends(first: Project, second: Project) -> None:
    """A rollback brings the pictures of its release back, and a second one has nothing to do."""
    fleet = RoutedFleet(HOSTS)
    applied(first, fleet)
    pictures = {host: router.picture for host, router in fleet.routers.items()}
    records = len(Index(fleet.observed()).records)
    applied(second, fleet)
    index = Index(fleet.observed())
    if not records or len(index.records) < 2:
        return
    plan = carried_out(rollback("shop", fleet.observed(), index.records[1].id), fleet)
    assert {host: router.picture for host, router in fleet.routers.items()} == pictures
    serves_what_runs(fleet, plan)


@given(specs(), specs(), st.sets(st.sampled_from(["api", "cache", "db", "front"]), min_size=1))
@settings(max_examples=60, deadline=None)
def test_a_limit_leaves_other_services_alone(first: Project, second: Project, names: set[str]) -> None:
    """What a router has for services outside the limit stays to the letter, and the plan ends."""
    fleet = RoutedFleet(HOSTS)
    applied(first, fleet)
    before = {host: router.picture for host, router in fleet.routers.items()}
    serving = traffic(fleet, names)
    limit = Limit(services=frozenset(names))
    unchanged = planned(first, fleet, limit=limit)
    assert unchanged.routers == ()
    plan = planned(second, fleet, limit=limit)
    carried_out(plan, fleet)
    assert planned(second, fleet, limit=limit).empty
    for host in before.keys() | fleet.routers.keys():
        old, new = before.get(host), fleet.routers[host].picture if host in fleet.routers else None
        assert others(old, names) == others(new, names)
    assert traffic(fleet, names) == serving


def traffic(fleet: RoutedFleet, names: set[str]) -> dict[tuple[str, str], Any]:
    """Return who has the traffic of services outside ``names``."""
    left = {"api", "cache", "db", "front"} - names
    return {(host, name): fleet.serving(host, name) for host in HOSTS for name in left}


def others(picture: RouterConfig | None, names: set[str]) -> list[object]:
    """Return everything of a picture that is about services outside ``names``."""
    if picture is None:
        return []
    backends = [backend for backend in picture.backends if backend.service not in names]
    mine = {backend.name for backend in backends}
    routes = [
        (listener.port, route)
        for listener in picture.listeners
        for route in listener.routes
        if route.backend in mine
    ]
    addresses = [item for item in (*picture.virtuals, *picture.mesh) if item.backend in mine]
    return [*backends, *sorted(routes, key=repr), *addresses]
