"""Routes, the router and updates: what short forms mean, and the rules over the whole project."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from support.specs import load, problems

from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.references import check_hosts
from orchestrator.spec.routing import ROUTER_CONTEXT
from orchestrator.spec.routing_fields import Headers, Prefix
from orchestrator.spec.routing_rules import discovered, listeners, routed

HERE = Path(__file__).parent
BASE = "project: p\nimages: {a: {build: x}}\n"
WEB = "services: {web: {image: a, expose: 80}}\n"


def test_every_form():
    """Short and long forms are one."""
    project = load((HERE / "good" / "routed.yaml").read_text()).project
    router, shop, cache = project.routing, project.routes["shop"], project.services["cache"]
    assert (router.image, router.hosts, router.network) == ("proxy", ("edge",), "10.200.7.0/24")
    assert (shop.host, shop.timeout, shop.max_body, shop.sticky) == (
        "shop.example.com", 120.0, 10 << 20, "deploy-instance",
    )  # fmt: skip
    assert (project.routes["api"].path, shop.headers) == ("/api", (("X-Shop", "1"),))
    update = project.services["shop"].update
    assert (update.max_parallel, update.max_unavailable) == ("25%", "0")
    assert [job.command for job in update.jobs.before_cutover] == [
        ("migrate", "--all"), ("seed", "1"), ("index",),
    ]  # fmt: skip
    assert [job.timeout for job in update.jobs.before_cutover] == [600.0, 600.0, 3600.0]
    assert (cache.expose, cache.update.strategy) == ((6379,), "recreate")
    assert [(item.name, item.port, item.kind, item.redirect) for item in listeners(project)] == [
        ("shop", 8443, "https", False),
        ("shop", 8080, "http", True),
        ("api", 8080, "http", False),
        ("api", 9000, "http", False),
        ("cache", 6379, "tcp", False),
        ("down", 8080, "http", False),
    ]
    assert discovered(project) == {"cache": (6379,)}
    assert routed(project) == {"shop", "cache"}


@pytest.mark.parametrize(
    ("text", "context"),
    [
        ("routes: {r: {service: web, port: 80}}\n", str(ROUTER_CONTEXT)),
        ("router: {}\n", str(ROUTER_CONTEXT)),
        ("router: {image: a}\n", None),
        ("images: {router: {build: mine}}\nrouter: {}\n", "mine"),
        ("", None),
    ],
)
def test_the_router_has_an_image(text, context):
    """It is built in where it is needed, unless the spec brings one."""
    project = load(BASE + WEB, text).project
    found = project.images.get("router")
    assert (found.build.context if found else None) == context
    assert (project.routing is None) == (text == "")


def test_ports_of_the_router_differ():
    """One port cannot be two things."""
    (problem,) = problems(BASE + "router: {http_port: 443}")
    assert "router: expected http_port, https_port and preview_port to differ" in problem


def test_there_is_something_to_build():
    """The context is part of the package."""
    assert ROUTER_CONTEXT.is_absolute()
    assert ROUTER_CONTEXT.parts[-3:] == ("orchestrator", "images", "router")


def test_files_merge_headers():
    """A later file adds to them in either form."""
    routes = "routes: {r: {service: web, port: 80, headers: %s}}\n"
    project = load(BASE + WEB + routes % "[A=1, B=1]", routes % "{B: 2}").project
    assert project.routes["r"].headers == (("A", "1"), ("B", "2"))


def test_hosts_of_the_router():
    """They are looked up in the inventory."""
    loaded = load(BASE + "router: {hosts: [edge, egde]}")
    (problem,) = check_hosts(loaded.project, Inventory((Host("edge", "edge"),)), loaded.positions)
    assert "router.hosts[1]: no host or group is called 'egde' in the inventory (did you mean" in str(problem)


def test_references():
    """The image and the services are said to be missing where they are written."""
    found = problems(BASE + WEB + "router: {image: aa}\nroutes: {r: {service: wbe, port: 80}}\n")
    assert found == [
        "0.yaml:4:17: router.image: there is no image called 'aa' (did you mean 'a'?)",
        "0.yaml:5:23: routes.r.service: there is no service called 'wbe' (did you mean 'web'?)",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "routes: {one: {service: web, port: 80, path: /a}, two: {service: web, port: 80, path: /ab}}\n",
        "routes: {one: {service: web, port: 80}, two: {service: web, port: 80, host: a.b}}\n",
        "routes: {one: {service: web, port: 80}, two: {service: web, port: 80, bind: 81}}\n",
        "routes: {one: {service: web, port: 80, host: a.b}, two: {service: web, port: 80, host: '*.b'}}\n",
    ],
)
def test_routes_that_do_not_clash(text):
    """Another path, host or port is another route."""
    assert len(load(BASE + WEB + text).project.routes) == 2


@given(st.text())
def test_nothing_with_a_meaning_reaches_a_configuration(text):
    """Whatever is let through as a path or a header is one word, or one line."""
    try:
        path = TypeAdapter(Prefix).validate_python(f"/{text}")
    except ValidationError:
        pass
    else:
        assert not set(path) & set(" \t\r\n\0\"'\\#{}$%;&|<>")
    try:
        ((name, value),) = TypeAdapter(Headers).validate_python({text or "x": text})
    except ValidationError:
        return
    assert name.replace("-", "").isalnum()
    assert value.isprintable() or not set(value) & set("\r\n\0")
