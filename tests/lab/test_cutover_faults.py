"""Cutovers that go wrong, on three hosts, under load: the old release serves, and an apply heals.

Every test ends with another apply, after which there is nothing to do.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from subprocess import Popen
from typing import Any

import pytest
from support.deploying import Project, finish, wait_for
from support.seen import Container, Run, fetch
from support.traffic import FAST, Load, change, changed, open_tunnel, routed, start_hasty

from orchestrator.lab import Lab

HOST = "web-2"
"""Where things go wrong."""
_versions = map("v{}".format, itertools.count(1))


@pytest.fixture(scope="module")
def deployed(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A service on three hosts behind their routers."""
    made = routed(Project(tmp_path_factory.mktemp("faults"), lab, "cutover-faults"))
    made.spec["services"]["shop"]["healthcheck"]["deadline"] = "2s"
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def shop(deployed: Project) -> Iterator[Project]:
    """The service in a version of its own; after the test, one more apply makes everything right."""
    deployed.spec["services"]["shop"]["update"] = dict(FAST)
    _want(deployed)
    change(deployed)
    yield deployed
    deployed.spec["services"]["shop"]["update"] = dict(FAST)
    version = _want(deployed)
    change(deployed)
    assert _pages(deployed) == {version}
    assert deployed.run("plan", "--exit-code").code == 0


def _want(shop: Project, version: str = "", **update: Any) -> str:
    version = version or next(_versions)
    service = shop.spec["services"]["shop"]
    service["environment"]["VERSION"] = version
    service["update"].update(update)
    return version


def _pages(shop: Project) -> set[str]:
    return {fetch(f"http://{host.address}/").strip() for host in shop.lab.hosts}


def _load(shop: Project) -> Load:
    return Load([host.address for host in shop.lab.hosts])


def _green(shop: Project, host: str) -> Container:
    """The newest container of the service on a host."""
    found = [one for one in shop.containers(everything=True).values() if one.host == host]
    return max(found, key=lambda one: int(one.release.removeprefix("r")))


def _failure(done: Run, kind: str) -> dict[str, Any]:
    """What the run says of the first step that failed."""
    failed = [line for line in done.named("step_failed") if line["step"].startswith(kind)]
    assert failed, done.stdout[-4000:]
    return failed[0]["failure"]


# --- what is wrong with the new release ----------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "update", "step", "says"),
    [
        ("exits", {}, "start", "no licence"),
        ("sick", {}, "start", "not healthy within 2 s"),
        ("fails-a-check", {"checks": [{"command": ["false"]}]}, "check", "exit status 1"),
        ("fails-a-path", {"checks": [{"http": "/nothing", "port": 8080}]}, "check", "404"),
        ("fails-a-job", {"jobs": {"before_cutover": [["sh", "-c", "exit 4"]]}}, "job", "exit status 4"),
    ],
)
def test_never_gets_traffic(
    shop: Project, version: str, update: dict[str, Any], step: str, says: str
) -> None:
    """Found before the cutover: nobody ever sees it, and the old instances are the same as before."""
    before = shop.ids()
    (old,) = _pages(shop)
    _want(shop, version, **update)
    with _load(shop) as load:
        done = change(shop, code=3)
    assert load.failures() == []
    assert set(load.pages()) == {old, "tunnel"}
    assert says in json.dumps(_failure(done, step))
    assert shop.ids() == before


def test_unhealthy_in_the_bake(shop: Project) -> None:
    """It had the traffic already: the old instances have it back."""
    before = shop.ids()
    (old,) = _pages(shop)
    _want(shop, bake="8s")
    process = shop.start("apply", "--yes", "--json")
    wait_for(process, "step_started", kind="watch", host=HOST)
    shop.lab.docker(HOST, "exec", _green(shop, HOST).id, "killall", "httpd")
    done = finish(process)
    assert done.code == 3, done.stdout[-4000:]
    assert "watch" in str(done.named("step_failed"))
    assert _pages(shop) == {old}
    assert shop.ids() == before


def test_drain_ends_at_its_limit(shop: Project) -> None:
    """Sessions that do not end are ended after the limit, and told; the release stands."""
    version = _want(shop, drain="500ms")
    tunnels = [open_tunnel(host.address) for host in shop.lab.hosts]
    try:
        done = change(shop)
        assert [tunnel.recv(1) for tunnel in tunnels] == [b""] * len(tunnels)
    finally:
        for tunnel in tunnels:
            tunnel.close()
    notes = [line["note"] for line in done.named("step_finished") if line["step"].startswith("drain ")]
    assert any("sessions after 0.5 s" in note for note in notes), notes
    assert _pages(shop) == {version}


# --- what goes wrong around it -------------------------------------------------------------------


def _during_bake(shop: Project) -> Popen[str]:
    """Start a cutover and stop reading when all traffic is on the new release, unconfirmed."""
    _want(shop, bake="3s")
    process = start_hasty(shop)
    for _ in shop.hosts:
        wait_for(process, "step_started", kind="watch")
    return process


def test_agent_killed(shop: Project) -> None:
    """The session is lost with all traffic on the new release: it goes back, everywhere."""
    (old,) = _pages(shop)
    before = shop.ids()
    with _load(shop) as load:
        process = _during_bake(shop)
        agents = "grep -la 'agent-[0-9a-f]' /proc/[0-9]*/cmdline | cut -d/ -f3 | xargs kill -9"
        shop.lab.run(HOST, ["sh", "-c", agents])
        done = finish(process)
    assert done.code == 3, done.stdout[-4000:]
    assert {one.kind for one in load.failures()} <= {"upgrade", "long"}  # of the new release, which ends
    assert _pages(shop) == {old}
    assert shop.ids() == before


def test_controller_killed(shop: Project) -> None:
    """Nobody confirms: every host goes back by itself within the deadline, and no request is lost."""
    (old,) = _pages(shop)
    with _load(shop) as load:
        process = _during_bake(shop)
        process.kill()
        process.communicate()
        assert old not in _pages(shop)
        changed(lambda: _pages(shop) == {old}, seconds=60)
        time.sleep(0.5)
        ended = time.time()
    assert load.failures() == []
    assert set(load.pages(since=ended - 0.3, kind="close")) == {old}


def test_engine_dies(shop: Project) -> None:
    """The routers and instances go on without it; what ran before serves."""
    (old,) = _pages(shop)
    with _load(shop) as load:
        process = _during_bake(shop)
        shop.lab.kill_engine(HOST)
        try:
            done = finish(process)
        finally:
            shop.lab.start_engine(HOST)
    assert done.code in (3, 6), done.stdout[-4000:]
    # Its containers start anew with it: what was on its way through them is lost, and nothing else.
    elsewhere = [one for one in load.samples if one.address != shop.lab.host(HOST).address]
    lost = [one for one in elsewhere if one.error and one.kind in ("close", "keep-alive")]
    assert len(lost) <= len(elsewhere) / 100, lost
    changed(lambda: _pages(shop) == {old}, seconds=60)


def test_network_cut(shop: Project) -> None:
    """A host is cut off in the middle: the fleet ends wholly old, and the run names the host."""
    (old,) = _pages(shop)
    with Load([shop.lab.host(name).address for name in shop.hosts if name != HOST], ["close"]) as load:
        process = _during_bake(shop)
        shop.lab.cut(HOST)
        try:
            done = finish(process, timeout=120)
            alone = {fetch(f"http://{shop.lab.host(name).address}/").strip() for name in ("web-1", "db-1")}
            time.sleep(1)
        finally:
            shop.lab.heal(HOST)
    assert done.code == 6, done.stdout[-4000:]
    assert HOST in done.finished["error"] + str(done.finished["context"])
    assert alone == {old}
    assert [one for one in load.failures() if "timed out" not in one.error] == []
    changed(lambda: _pages(shop) == {old}, seconds=60)
