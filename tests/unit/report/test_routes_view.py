"""What routers serve next to what they should: the tables, the differences, the documents."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.golden import check_golden
from support.report_samples import NOW
from support.routing_samples import assigned, good, picture, remote, routed_record, running, troubled

from orchestrator.planning.types import Observed, ObservedHost
from orchestrator.protocol.messages import HostReport
from orchestrator.protocol.routing import RoutingReport
from orchestrator.report import routes_view
from orchestrator.report.serving import router_statuses

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(("name", "fleet"), [("routes", good()), ("routes-troubled", troubled())])
def test_the_routes_as_agreed(name, fleet):
    """Right and wrong, every difference is marked in its row and said below."""
    check_golden(GOLDEN / f"{name}.txt", routes_view.render_routes(fleet, now=NOW).splitlines())


def test_nothing_is_wrong_with_a_fleet_that_serves_what_it_should():
    """No false alarms: a confirmed guard and a route in maintenance are no differences."""
    assert all(router.good for router in router_statuses(good()))


def test_the_document_holds_the_same_facts():
    """It is JSON, and has full numbers and the differences as a list."""
    document = routes_view.routes_document(troubled(), now=NOW)
    assert json.loads(json.dumps(document)) == document
    assert (document["document"], document["version"], document["release"]) == ("routes", 1, "r4")
    assert document["held"] == [{"release": "r5", "since": NOW - 300, "hosts": ["web-1"]}]
    first = document["hosts"][0]
    assert first["router"]["guard"] == {"cutover": "r5-9", "state": "armed", "deadline": NOW + 30}
    assert first["servers"][0]["differences"] == ["down: gets no traffic"]
    assert document["hosts"][3] == {
        "host": "web-4",
        "reachable": False,
        "error": "no answer within 10 s",
        "router": None,
        "routes": [],
        "servers": [],
    }


def test_no_secret_of_the_mesh_is_shown():
    """Tokens are part of the picture and of nothing that is printed."""
    text = routes_view.render_routes(good(), now=NOW) + json.dumps(
        routes_view.routes_document(good(), now=NOW)
    )
    assert "token" not in text


def test_a_fleet_without_routers():
    """It is said in words."""
    fleet = Observed((ObservedHost("web-1", HostReport(epoch=1, key="")),))
    assert routes_view.render_routes(fleet, now=NOW) == "no router\n"


HERE = (running("api", 1), running("db", 1))


def one(*servers, containers=HERE, prefix="s"):
    """Return the differences of a host with these servers, without those of missing ones."""
    report = HostReport(
        epoch=1,
        key="",
        containers=containers,
        releases=(routed_record(picture()),),
        routing=RoutingReport(config=picture().digest, running=True, servers=servers),
    )
    (router,) = router_statuses(Observed((ObservedHost("web-1", report),)))
    return [server.differences for server in router.servers if server.server.startswith(prefix)]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (assigned(), ()),
        (assigned(state="no check"), ()),
        (assigned(state="DOWN 1/2"), ("down: gets no traffic",)),
        (assigned(state="DRAIN", weight=0), ("gets no traffic (DRAIN), and should",)),
        (assigned(state="MAINT (via x)", weight=0), ("gets no traffic (MAINT (via x)), and should",)),
        (assigned(recorded_weight=0), ("gets traffic, and should not", "in force, and drained")),
        (assigned(weight=64), ("weight 64 instead of 256",)),
        (assigned(container="gone"), ("its container is gone",)),
        (assigned(slot=9, release="r1", container="db1r4"), ("not part of the release in force",)),
    ],
)
def test_each_difference_of_a_server(server, said):
    """The router's word against the record, the record against the release in force."""
    assert one(server) == [said]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (remote("web-2", weight=256, recorded_weight=0), ()),
        (remote("web-2", state="DOWN"), ("down: gets no traffic",)),
        (remote("web-2", state="MAINT"), ("gets no traffic (MAINT), and should",)),
    ],
)
def test_each_difference_of_a_remote(server, said):
    """Its weight is the other host's business."""
    assert one(server, prefix="r_") == [said]


def test_a_stopped_container_that_should_serve():
    """The router may not have noticed yet."""
    stopped = replace(running("api", 1), state="exited")
    assert one(assigned(), containers=(stopped,)) == [("its container is exited",)]


def test_a_switch_says_what_it_came_to():
    """Switched, or as it was already; the document says which hosts changed."""
    said = routes_view.render_maintenance("shop", ("web-1", "web-2"), ("web-2",), on=True)
    assert said == "route shop is in maintenance on web-1, web-2\n"
    said = routes_view.render_maintenance("shop", ("web-1",), (), on=False)
    assert said == "route shop is served already on web-1\n"
    document = routes_view.maintenance_document("shop", ("web-1", "web-2"), ("web-2",), on=True)
    assert (document["document"], document["on"], document["changed"]) == ("maintenance", True, ["web-2"])
