"""Status, history and show: the fleet on one screen, and as documents."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.golden import check_golden
from support.report_samples import NOW, config, container, observed, record
from support.routing_samples import good, troubled

from orchestrator.planning.types import Observed, ObservedHost
from orchestrator.protocol.instance import Config, Mount, Port, SecretRef
from orchestrator.protocol.messages import HostReport, ReleasedInstance
from orchestrator.report import status_view
from orchestrator.report.fleet import ReleaseChanges, fleet_status, release_changes, release_number, releases
from orchestrator.report.style import ansi
from orchestrator.report.table import Cell, table

GOLDEN = Path(__file__).parent / "golden"


def test_the_status_as_agreed():
    """Good, unhealthy, missing, changed and foreign instances, a host that is down and a lease."""
    check_golden(GOLDEN / "status.txt", status_view.render_status(observed(), now=NOW).splitlines())


def test_the_status_of_a_routed_fleet_as_agreed():
    """A held release and its instances, guards that are armed and that went off, routers that do not run."""
    shown = status_view.render_status(troubled(), now=NOW).splitlines()
    check_golden(GOLDEN / "status-routed.txt", shown)
    assert status_view.render_status(good(), now=NOW).splitlines()[-1] == (
        "release r4, 3 of 3 instances healthy, 2 of 2 routers running"
    )


def test_the_status_document_of_a_routed_fleet():
    """Held instances are marked, and each router has its guard and what is wrong with it."""
    document = status_view.status_document(troubled(), now=NOW)
    assert json.loads(json.dumps(document)) == document
    assert [i["release"] for i in document["instances"] if i["held"]] == ["r5"]
    assert document["held"] == [{"release": "r5", "since": NOW - 300, "hosts": ["web-1"]}]
    states = {r["host"]: r["guard"] and r["guard"]["state"] for r in document["routers"]}
    assert states == {"web-1": "armed", "web-2": "reverted", "web-3": None}


def test_the_status_document():
    """The document holds the same facts with full ids and exact seconds."""
    document = status_view.status_document(observed(), now=NOW)
    assert json.loads(json.dumps(document)) == document
    assert (document["document"], document["version"], document["release"]) == ("status", 1, "r4")
    assert [(i["service"], i["slot"], i["state"]) for i in document["instances"]] == [
        ("api", 1, "running"),
        ("api", 2, "running"),
        ("cache", 1, "missing"),
        ("job", 1, "running"),
    ]
    assert document["hosts"][2] == {"host": "web-3", "reachable": False, "error": "no answer within 10 s"}
    assert document["kept"] == 1


def test_nothing_deployed():
    """An empty fleet is said in words."""
    empty = Observed((ObservedHost("web-1", HostReport(epoch=0, key="")),))
    assert status_view.render_status(empty, now=NOW) == "nothing is deployed\n"


def test_an_instance_on_a_host_that_is_down_is_unknown():
    """What cannot be seen is neither called running nor missing."""
    rows = (ReleasedInstance("web-1", "api", 1, "d"), ReleasedInstance("web-2", "api", 2, "d"))
    up = HostReport(epoch=1, key="", releases=(record(instances=rows),))
    fleet = fleet_status(Observed((ObservedHost("web-1", up), ObservedHost("web-2", error="down"))), NOW)
    assert [(i.slot, i.state) for i in fleet.instances] == [(1, "missing"), (2, "unknown")]


def test_hosts_that_were_not_asked_say_nothing():
    """With --limit, instances of other hosts are neither missing nor unknown."""
    fleet = observed()
    limited = fleet_status(Observed(fleet.hosts[:1]), NOW)
    assert {i.host for i in limited.instances} == {"web-1"}


def test_a_stopped_instance_of_the_release_in_force_is_shown():
    """What should run and does not is on the screen, with its exit code."""
    host = HostReport(
        epoch=1,
        key="",
        containers=(container(state="exited", exit_code=137),),
        releases=(record(instances=(ReleasedInstance("web-1", "api", 1, "digest-api-1"),)),),
    )
    text = status_view.render_status(Observed((ObservedHost("web-1", host),)), now=NOW)
    assert "exited (137)" in text
    assert "0 of 1 instance healthy" in text


def test_the_history_as_agreed():
    """Newest last, the one in force marked, and what each release changed."""
    added = (*record(3).instances, ReleasedInstance("web-1", "web", 1, "w"))
    moved = (replace(added[0], digest="new"), added[2])
    records = (record(5, instances=moved), record(3), record(4, instances=added))
    text = status_view.render_history(records, current="r5", now=NOW)
    check_golden(GOLDEN / "history.txt", text.splitlines())
    document = status_view.history_document(records, current="r5")
    assert [r["release"] for r in document["releases"]] == ["r3", "r4", "r5"]
    assert [r["changes"] for r in document["releases"]] == [
        None,
        {"create": 1, "replace": 0, "remove": 0},
        {"create": 0, "replace": 1, "remove": 1},
    ]


def test_no_history_yet():
    """No release is said in words."""
    assert status_view.render_history((), current="", now=NOW) == "no releases yet\n"


def test_a_release_as_agreed():
    """Everything a release remembers but values: hosts' own configurations are brought together."""
    api = config(
        environment=(("LOG_LEVEL", "info"),),
        secrets=(SecretRef("DB", "/run/secrets/DB", "mac"),),
        configs=(Config("/etc/api.conf", "sha"),),
        mounts=(Mount("volume", "/data", "shop_data"),),
        ports=(Port(8080, 80),),
    )
    records = (record(4, configs=(api,)), record(4, configs=(config("cache"), api)))
    text = status_view.render_release(records)
    check_golden(GOLDEN / "show.txt", text.splitlines())
    document = status_view.release_document(records)
    assert [entry["service"] for entry in document["configs"].values()] == ["api", "cache"]
    assert json.loads(json.dumps(document)) == document


def test_the_first_release_creates_everything():
    """A release without a parent is compared with nothing."""
    assert release_changes(record(1), ()) == ReleaseChanges(created=2)


def test_releases_are_ordered_by_number():
    """r10 comes after r9, and each release is there once whoever remembers it."""
    hosts = tuple(
        ObservedHost(name, HostReport(epoch=1, key="", releases=(record(9), record(10))))
        for name in ("a", "b")
    )
    assert [r.id for r in releases(Observed(hosts))] == ["r9", "r10"]
    assert release_number("x") == -1


@given(st.lists(st.lists(st.text(" abc", max_size=9), min_size=3, max_size=3), min_size=1))
def test_columns_line_up_with_and_without_colour(rows):
    """Colours take no room: the same columns in both."""
    cells = [[Cell(text, "good") for text in row] for row in rows]
    plain = table(("A", "B", "C"), cells)
    assert len(plain) == len(rows) + 1
    bare = [line.replace("\x1b[32m", "").replace("\x1b[1m", "").replace("\x1b[0m", "") for line in
            table(("A", "B", "C"), cells, ansi)]  # fmt: skip
    assert [line.rstrip() for line in bare] == list(plain)


def test_no_rows_no_table():
    """An empty table prints no headers."""
    assert table(("A",), ()) == ()
