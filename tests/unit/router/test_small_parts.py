"""Ports held by others, requests that make no sense, the held release, jobs' marks, what a host reports."""

from __future__ import annotations

import dataclasses
import hmac as keyed
import socket
from pathlib import Path

import pytest

from orchestrator import images
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.handler import Refusal
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import BadNameError, Paths
from orchestrator.agent.router import binds, certificates, container, holding, jobs, requests
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.report import routing
from orchestrator.protocol.messages import Held, Operation, ReleaseRecord
from orchestrator.protocol.routing import Arm, Certificate, Check, Member, RouterConfig, Shift, Watch

IMAGE = "sha256:" + "0" * 64


class Engine:
    """Knows no containers."""

    def get(self, *_: object) -> list[object]:
        """Return an empty listing."""
        return []


@pytest.fixture
def journal(tmp_path):
    """An empty project."""
    return Journal(Paths(tmp_path), "shop")


def test_a_port_is_taken_where_the_addresses_overlap():
    """The same, or all of them; another address of the host is free."""
    with socket.create_server(("127.0.0.9", 0)) as server:
        port = server.getsockname()[1]
        assert "pid" in (binds.holder(Engine(), "127.0.0.9", port) or "")
        assert binds.holder(Engine(), "", port) is not None
        assert binds.holder(Engine(), "127.0.0.8", port) is None
    assert binds.holder(Engine(), "127.0.0.9", port) is None


def test_both_families_are_read(tmp_path):
    """As the kernel writes them: words in the machine's order."""
    head = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    )
    line = "   0: {} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n"
    net = tmp_path / "net"
    net.mkdir()
    (net / "tcp").write_text(head + line.format("0100007F:1F90"))
    assert binds.holder(Engine(), "127.0.0.1", 8080, tmp_path) == "another program on the host"
    (net / "tcp6").write_text(head + line.format("00000000000000000000000001000000:1F91"))
    assert binds.holder(Engine(), "::1", 8081, tmp_path) == "another program on the host"
    assert binds.holder(Engine(), "10.0.0.1", 8081, tmp_path) is None


MEMBERS = (Member(1, "r1"),)


@pytest.mark.parametrize(
    "operation",
    [
        Operation(0, "attach", service="web", slot=0, release="r1"),
        Operation(0, "attach", service="../x", slot=1, release="r1"),
        Operation(0, "drain", service="web", slot=1, release="r1", seconds=-1.0),
        Operation(0, "drain", service="web", slot=1, release="r1", seconds=float("nan")),
        Operation(0, "shift"),
        Operation(0, "shift", shift=Shift("web", (Member(1, "r1", 257),))),
        Operation(0, "shift", shift=Shift("web", (*MEMBERS, *MEMBERS))),
        Operation(0, "shift", shift=Shift("web;x", MEMBERS)),
        Operation(0, "watch", watch=Watch("web", MEMBERS, float("inf"))),
        Operation(0, "check", check=Check("web", 1, "r1")),
        Operation(0, "check", check=Check("web", 1, "r1", ("true",), "/")),
        Operation(0, "check", check=Check("web", 1, "r1", http="/", timeout=0.0)),
        Operation(0, "arm", arm=Arm("r1", 10.0)),
        Operation(0, "arm", arm=Arm("r1-x", 10.0)),
        Operation(0, "arm", arm=Arm("r1-1", 10.0, ("../x",))),
        Operation(0, "disarm"),
        Operation(0, "hold"),
        Operation(0, "job", service="web", slot=1, release="r1", name="a/b"),
        Operation(0, "job", service="web", slot=1, release="r1", name="migrate"),
    ],
)
def test_an_operation_that_makes_no_sense_is_refused(operation):
    """Before anything is done."""
    with pytest.raises((Refusal, BadNameError)):
        requests.check(operation, "shop")


@pytest.mark.parametrize(
    "operation",
    [
        Operation(0, "router"),
        Operation(0, "detach", service="web", slot=1, release="r1"),
        Operation(0, "shift", shift=Shift("web", MEMBERS)),
        Operation(0, "shift", shift=Shift("web")),
        Operation(0, "watch", watch=Watch("web", MEMBERS, 5.0)),
        Operation(0, "check", check=Check("web", 1, "r1", ("true",))),
        Operation(0, "arm", arm=Arm("r12-7", 10.0, ("a" * 64,))),
        Operation(0, "disarm", arm=Arm("r12-7", 0.0)),
        Operation(0, "unhold"),
    ],
)
def test_an_operation_that_makes_sense_is_let_through(operation):
    """Nothing is raised."""
    requests.check(operation, "shop")


def test_a_held_release_is_remembered_until_it_is_let_go(journal, capsys):
    """It survives whoever held it; a damaged file holds nothing, and is told."""
    held = Held(ReleaseRecord("r2", 1.0, "me", "x"), 5.0)
    assert holding.held(journal) is None
    holding.hold(journal, held)
    assert holding.held(journal) == held
    (journal.files.base / "held.json").write_text("[]")
    assert holding.held(journal) is None
    assert "damaged" in capsys.readouterr().err
    holding.unhold(journal)
    holding.unhold(journal)
    assert holding.held(journal) is None


def test_the_jobs_of_a_release_are_forgotten_with_it(journal):
    """And of no other, however much their names have in common."""
    folder = journal.files.base / "jobs"
    folder.mkdir(parents=True)
    for name in ("r1-a", "r1-b", "r10-a"):
        (folder / name).write_text("x")
    jobs.forget(journal, "r1")
    assert [path.name for path in folder.iterdir()] == ["r10-a"]


def test_certificates_come_and_go_with_the_picture(journal):
    """Only we can read them."""
    home = Home(journal.files)
    home.make()
    hmac = keyed.new(bytes.fromhex(journal.key()), b"PEM", "sha256").hexdigest()
    journal.put_secret(hmac, b"PEM")
    config = RouterConfig("shop", IMAGE, certificates=(Certificate("a", hmac),))
    certificates.write(home, journal, config)
    (path,) = home.certificates.iterdir()
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o777) == ("a.pem", b"PEM", 0o600)
    certificates.drop(home, RouterConfig("shop", IMAGE))
    assert list(home.certificates.iterdir()) == []
    lost = RouterConfig("shop", IMAGE, certificates=(Certificate("b", "0" * 64),))
    with pytest.raises(OperationFailed, match="no longer has certificate 'b'"):
        certificates.write(home, journal, lost)


def test_the_router_runs_with_no_more_than_it_needs(journal):
    """Read-only, two capabilities; another network makes another container, another port does not."""
    home = Home(journal.files)
    config = RouterConfig("shop", IMAGE)
    body = container.body(config, home, 0)
    host = body["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    assert host["CapAdd"] == ["NET_ADMIN", "NET_BIND_SERVICE"]
    assert [mount["Source"] for mount in host["Mounts"]] == [str(home.base)]
    first = container.identity(config, home, 0)
    assert body["Labels"]["deploy.router"] == first
    assert container.identity(dataclasses.replace(config, preview_port=81), home, 0) == first
    assert container.identity(dataclasses.replace(config, virtual_network="10.200.1.0/24"), home, 0) != first


def test_a_host_without_a_router_reports_none(journal):
    """And one whose router is gone says so."""
    assert routing(Engine(), journal) is None
    Home(journal.files).put_picture(RouterConfig("shop", IMAGE))
    report = routing(Engine(), journal)
    assert report is not None
    assert (report.running, report.error) == (False, "the router's container does not run")


def test_the_image_has_what_the_agent_starts():
    """HAProxy, and what makes the virtual addresses local."""
    text = (Path(images.__file__).parent / "router" / "Dockerfile").read_text()
    assert "haproxy" in text
    assert "iproute2" in text
