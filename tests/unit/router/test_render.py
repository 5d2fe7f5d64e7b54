"""The configuration HAProxy is given: no picture can say more than it should, and HAProxy takes them all."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import haproxy_process
from support.haproxy_process import HAPROXY, IMAGE

from orchestrator.agent.paths import BadNameError, ProjectPaths
from orchestrator.agent.router import backends as backend_sections
from orchestrator.agent.router import pages, render
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.picture import bound, check_picture
from orchestrator.agent.router.steering import write_maps
from orchestrator.agent.router.table import ATTACHED, DRAINING, SERVING, Seat, Table
from orchestrator.agent.router.words import Site
from orchestrator.protocol.routing import (
    Backend,
    Certificate,
    Listener,
    Mesh,
    Remote,
    Route,
    RouterConfig,
    Virtual,
)

SITE = Site("/router", ("172.18.0.0/16",))
WEB = Backend("web", 80)
HEADS = ("global", "defaults", "frontend ", "backend ")

nasty = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    [
        "a\nbackend evil",
        "x # y",
        "' quit",
        '"',
        "%[src]",
        "$HOME",
        "\\",
        "web_80",
        "*.b.example",
        "r1",
        "a b",
        "tok",
    ]
)
names = st.sampled_from(["web", "db", "a.b", "x-1"]) | nasty
ports = st.sampled_from([80, 443, 5432, 0, 65536]) | st.integers(1, 65535)
headers = st.tuples(
    st.sampled_from(["X-A", "Forwarded"]) | nasty, nasty | st.text("'\"\\%${}# ;", max_size=8)
)
paths = st.sampled_from(["/", "/api", "/api/", "/a-b/c.d"]) | nasty
routes = st.builds(
    Route, names, st.sampled_from(["web_80", "db_5432"]) | nasty,
    st.sampled_from(["", "a.example", "*.b.example"]) | nasty, paths, st.booleans(), st.booleans(),
    st.integers(-1, 10**6), st.integers(-1, 100), st.lists(headers, max_size=2).map(tuple),
)  # fmt: skip
listeners = st.builds(
    Listener, ports, st.sampled_from(["", "10.0.0.1", "::1"]) | nasty,
    st.sampled_from(["http", "tcp"]) | nasty, st.just(value=False), st.lists(routes, max_size=2).map(tuple),
)  # fmt: skip
remotes = st.builds(
    Remote, names, st.just("10.0.0.2") | nasty, ports, st.just("tok") | nasty, st.integers(-1, 3)
)
backends = st.sampled_from(
    [WEB, Backend("db", 5432, "tcp"), Backend("web", 80, check_path="/health?x=1", cookie="S", maxconn=3)]
) | st.builds(
    Backend, names, ports, st.sampled_from(["http", "tcp"]) | nasty, st.just("roundrobin") | nasty, paths,
    st.floats(0.1, 2) | st.floats(), st.integers(0, 3), st.integers(0, 3), st.integers(0, 4),
    nasty | st.just("SID"),
    st.floats(1, 100) | st.floats(), st.integers(-1, 5), st.lists(remotes, max_size=1).map(tuple),
)  # fmt: skip
pictures = st.builds(
    RouterConfig, names, st.just(IMAGE) | nasty, st.lists(backends, max_size=3).map(tuple),
    st.lists(listeners, max_size=2).map(tuple),
    virtual_network=st.sampled_from(["", "10.200.1.0/24"]) | nasty,
    virtuals=st.lists(st.builds(Virtual, st.just("10.200.1.2") | nasty, names, ports), max_size=1).map(tuple),
    mesh=st.lists(st.builds(Mesh, st.just("web_80") | nasty, ports), max_size=1).map(tuple),
    mesh_address=st.just("10.0.0.1") | nasty, mesh_token=st.just("tok") | nasty,
    preview_port=st.just(0) | ports,
    drain_header=st.just("x-deploy-preview") | nasty,
)  # fmt: skip


def sensible(**changes) -> RouterConfig:
    """A picture with some of everything."""
    web = Backend(
        "web",
        80,
        check_path="/health?x=1",
        cookie="SID",
        maxconn=9,
        remotes=(Remote("db-1", "10.0.0.2", 7001, "tok", 3),),
    )
    routes = (
        Route("any", "web_80"),
        Route("shop", "web_80", "*.example.com", "/api", rate=10, max_body=1000, redirect_https=True),
        Route("exact", "web_80", "a.example.com", set_headers=(("X-A", "it's %[src] $HOME \\ # \"q"),)),
    )
    values = {
        "backends": (web, Backend("db", 5432, "tcp")),
        "listeners": (
            Listener(80, routes=routes),
            Listener(5432, mode="tcp", routes=(Route("db", "db_5432"),)),
        ),
        "virtual_network": "10.200.1.0/24",
        "virtuals": (Virtual("10.200.1.2", "web_80", 80), Virtual("10.200.1.3", "db_5432", 5432)),
        "mesh": (Mesh("web_80", 7001), Mesh("db_5432", 7002)),
        "mesh_address": "10.0.0.1",
        "mesh_token": "tok",
        "preview_port": 8081,
        **changes,
    }
    return RouterConfig("shop", IMAGE, **values)


def shape(config: RouterConfig) -> list[str]:
    """The heads of all sections a picture should lead to, computed apart from the renderer."""
    heads = ["global", "defaults"]
    heads += [f"frontend in:{n}:{one.port}" for n, one in enumerate(config.listeners)]
    heads += [f"frontend virtual:{one.backend}:{one.port}" for one in config.virtuals]
    for mesh in config.mesh:
        heads += [f"frontend mesh:{mesh.backend}", f"backend probed:{mesh.backend}"]
    heads += ["frontend preview"] if config.preview_port else []
    for one in config.backends:
        heads.append(f"backend {one.name}")
        heads += [f"backend {one.name}_mesh"] if any(m.backend == one.name for m in config.mesh) else []
        heads.append(f"backend {one.name}_preview")
        heads += [f"backend remote:{one.name}"] if one.remotes else []
    rated = sorted({r.name for one in config.listeners for r in one.routes if r.rate})
    return heads + [f"backend rate:{name}" for name in rated]


def haproxy_says(config: RouterConfig, table: Table, folder: Path) -> tuple[int, str]:
    """Have the real HAProxy check a configuration."""
    home = Home(ProjectPaths(folder))
    home.make()
    home.page.write_bytes(pages.MAINTENANCE)
    write_maps(home, config, table)
    home.config.write_text(render.render(config, table, Site(str(home.base), ("172.18.0.0/16",))))
    done = subprocess.run(
        [HAPROXY, "-c", "-f", str(home.config)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@settings(max_examples=400, deadline=None)
@given(pictures)
def test_a_picture_says_what_it_should_or_is_refused(config):
    """No text from outside adds a section or a line, or ends one early."""
    try:
        text = render.render(config, Table(), SITE)
    except BadNameError:
        return
    lines = text.splitlines()
    assert [line for line in lines if line and not line.startswith("    ")] == shape(config)
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert text.count("\n    server ") == sum(
        (2 + (any(m.backend == one.name for m in config.mesh))) * one.slots + 2 * len(one.remotes)
        for one in config.backends
    )


@pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
@given(pictures)
def test_haproxy_takes_whatever_is_not_refused(tmp_path_factory, config):
    """Fuzzed pictures, checked by the program itself."""
    try:
        check_picture(config)
    except BadNameError:
        return
    status, said = haproxy_says(config, Table(), tmp_path_factory.mktemp("fuzz"))
    assert status == 0, said


@pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")
def test_haproxy_takes_a_route_on_two_ports_and_the_longest_of_everything(tmp_path):
    """One counter for both; lines as long as they can be."""
    longest = Route("r", "web_80", "a.example", "/" + "x" * 1023, rate=1, set_headers=(("X-A", "%" * 1000),))
    listeners = tuple(Listener(port, routes=(longest, Route("s", "web_80"))) for port in (80, 81))
    checked = dataclasses.replace(WEB, check_path="/" + "".join(map(chr, range(33, 127))) * 10, cookie="-_x")
    config = sensible(listeners=listeners, backends=(checked, Backend("db", 5432, "tcp")))
    status, said = haproxy_says(config, Table(), tmp_path)
    assert status == 0, said


values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")
@settings(max_examples=25, deadline=None)
@given(
    values,
    st.sampled_from(["/", "/a", "/api/v1.0", "/x~y"]),
    st.sampled_from(["", "*.a.example", "b.example"]),
)
def test_haproxy_takes_every_header_value_that_passes(tmp_path_factory, value, path, host):
    """Quoting holds for all printable characters."""
    route = Route("r", "web_80", host, path, set_headers=(("X-A", value),))
    config = sensible(listeners=(Listener(80, routes=(route,)),))
    status, said = haproxy_says(config, Table(), tmp_path_factory.mktemp("value"))
    assert status == 0, said


@pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")
@pytest.mark.parametrize("balance", ["leastconn", "roundrobin", "random", "source"])
def test_haproxy_takes_a_picture_with_everything(tmp_path, balance):
    """Seats in every state, and no warning but the one about what a first start cannot have."""
    config = sensible()
    config = dataclasses.replace(
        config, backends=tuple(dataclasses.replace(one, balance=balance) for one in config.backends)
    )
    seats = [Seat("web", n, "r1", "c", "10.1.1.1", n, state, w) for n, (state, w) in enumerate(
        [(SERVING, 256), (ATTACHED, 0), (DRAINING, 0)], 1)]  # fmt: skip
    status, said = haproxy_says(config, Table(tuple(seats)), tmp_path)
    assert status == 0, said
    warnings = [line for line in said.splitlines() if "WARNING" in line and "server state file" not in line]
    assert warnings == []


@pytest.mark.parametrize(
    "config",
    [
        sensible(mesh_token=""),
        sensible(mesh_token="other"),
        sensible(mesh_address=""),
        sensible(virtual_network="10.0.0.0/4"),
        sensible(virtual_network=""),
        sensible(virtuals=(Virtual("10.9.9.9", "web_80", 80),)),
        sensible(preview_port=5432),
        sensible(listeners=(Listener(443, tls=True, routes=(Route("a", "web_80"),)),)),
        sensible(listeners=(Listener(80, mode="tcp"),)),
        sensible(listeners=(Listener(80, routes=(Route("a", "web_80"), Route("a", "web_80", "b.example"))),)),
        sensible(listeners=(Listener(80, routes=(Route("a", "db_5432"),)),)),
        sensible(certificates=(Certificate("../x", "0" * 64),)),
        sensible(backends=(WEB, WEB)),
        sensible(backends=(dataclasses.replace(WEB, balance="static-rr"),)),
    ],
)
def test_a_contradiction_is_refused(config):
    """Not left for HAProxy to find, nor to misunderstand."""
    with pytest.raises(BadNameError):
        check_picture(config)


def test_no_secret_is_told_in_a_refusal():
    """A token that cannot be used is not shown."""
    with pytest.raises(BadNameError) as refused:
        check_picture(sensible(mesh_token="se cret"))
    assert "se cret" not in str(refused.value)


def test_the_structure_is_the_same_whoever_sits_where():
    """Moves are no reason to reload; another listener, another certificate or more slots are."""
    config = sensible()
    seat = Seat("web", 1, "r1", "c", "10.1.1.1", 1, SERVING, 256)
    empty = render.structure(config, Table(), SITE)
    assert render.structure(config, Table((seat,)), SITE) == empty
    changed = [
        (sensible(preview_port=8082), Table()),
        (sensible(certificates=(Certificate("a", "0" * 64),)), Table()),
        (config, Table((dataclasses.replace(seat, server=9),))),
    ]
    assert empty not in {render.structure(*pair, SITE) for pair in changed}
    renewed = [sensible(certificates=(Certificate("a", digit * 64),)) for digit in "01"]
    assert render.structure(renewed[0], Table(), SITE) == render.structure(renewed[1], Table(), SITE)


def test_routes_are_tried_from_the_most_to_the_least_specific():
    """Exact hosts, wildcards, any host; long prefixes first."""
    text = render.render(sensible(), Table(), SITE)
    assert re.findall(r"set-var\(txn.route\) str\((\w+)\)", text)[:3] == ["exact", "shop", "any"]


def test_a_remote_with_many_instances_weighs_as_much_as_they_do():
    """256 is the most HAProxy knows: the largest remote has it, all others in proportion."""
    web = sensible().backends[0]
    assert backend_sections.scaled(web, 256) == 85
    text = render.render(sensible(), Table(), SITE)
    assert "server r_db-1 10.0.0.2:7001 weight 256" in text


def test_every_port_is_known_before_it_is_bound():
    """What conflicts are looked for on."""
    assert ("", 80) in bound(sensible())
    assert ("10.0.0.1", 7002) in bound(sensible())
    assert ("10.200.1.3", 5432) in bound(sensible())


def test_maps_hold_what_is_attached_and_what_is_in_maintenance():
    """A route that is gone is not in them."""
    seat = Seat("web", 1, "r2", "c", "10.1.1.1", 1, ATTACHED)
    table = Table((seat,), ("any", "gone"))
    assert render.preview_entries(sensible(), table) == (
        ("*/web_80", "web_80_preview"), ("r2/web_80", "web_80_preview")
    )  # fmt: skip
    assert render.map_text(render.maintenance_entries(sensible(), table)) == "any 1\n"


def test_no_way_in_lets_a_request_that_changes_something_be_sent_twice():
    """Listeners, virtual addresses and the mesh: each asks HAProxy not to repeat anything but a GET."""
    text = render.render(sensible(), Table(), SITE)
    for section in text.split("\n\n"):
        if section.startswith("frontend") and "\n    mode http\n" in section:
            assert "http-request disable-l7-retry if !METH_GET" in section, section
