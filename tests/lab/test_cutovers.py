"""Cutovers on three hosts while clients that never retry keep asking: no request is lost.

``DEPLOY_CUTOVERS`` sets how many blue/green cutovers follow each other (20).
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deploying import Project, wait_for
from support.seen import fetch
from support.traffic import FAST, Load, change, changed, moments, routed

from orchestrator import images
from orchestrator.lab import Lab

CUTOVERS = int(os.environ.get("DEPLOY_CUTOVERS", "20"))
ROUTER = (Path(images.__file__).parent / "router" / "Dockerfile").read_text()
_versions = map("v{}".format, itertools.count(1))


@pytest.fixture(scope="module")
def shop(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A service on three hosts behind their routers, deployed once for all tests here."""
    made = routed(Project(tmp_path_factory.mktemp("cutovers"), lab, "cutovers"))
    made.file("images/router/Dockerfile", ROUTER)
    made.spec["images"]["router"] = {"build": "images/router"}
    try:
        change(made)
        yield made
    finally:
        made.remove()


def _addresses(shop: Project) -> list[str]:
    return [host.address for host in shop.lab.hosts]


def _version(shop: Project, **update: object) -> str:
    """Ask for a version that was never there, and for how to come to it."""
    version = next(_versions)
    service = shop.spec["services"]["shop"]
    service["environment"]["VERSION"] = version
    service["update"] = {**FAST, **update}
    return version


def _serves(shop: Project, version: str) -> None:
    for address in _addresses(shop):
        assert fetch(f"http://{address}/").strip() == version


def test_many_blue_green_cutovers(shop: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other; nothing is lost, and nobody gets the old version once the new one is there."""
    with Load(_addresses(shop)) as load:
        time.sleep(3)
        began = time.time()
        for _ in range(CUTOVERS):
            version = _version(shop)
            change(shop)
        ended = time.time()
        time.sleep(0.5)
    assert load.failures() == []
    assert set(load.pages(since=ended, kind="keep-alive")) == {version}
    before, during = load.p99(until=began), load.p99(since=began, until=ended)
    with capsys.disabled():
        print(  # noqa: T201 - the measurement is what the test is run for
            f"\n{CUTOVERS} cutovers in {ended - began:.0f} s, {len(load.samples)} requests, 0 failed;"
            f" p99 before {before * 1000:.1f} ms, during {during * 1000:.1f} ms"
        )
    assert len(load.pages()) == CUTOVERS + 2  # and the tunnel's


def test_all_hosts_change_at_once(shop: Project) -> None:
    """From the first host's move to the last one's is a moment; then no host serves the old version."""
    version = _version(shop)
    with Load(_addresses(shop), ["keep-alive", "close"]) as load:
        change(shop)
    assert load.failures() == []
    first = min(one.at for one in load.samples if one.page == version)
    last = max(one.at for one in load.samples if one.page != version)
    assert last - first < 1


def test_rolling(shop: Project) -> None:
    """One host after the other, each with nobody missing."""
    version = _version(shop, strategy="rolling")
    with Load(_addresses(shop)) as load:
        done = change(shop)
    assert load.failures() == []
    starts = moments(done, "step_started", "start ")
    shifts = moments(done, "step_finished", "shift ")
    assert len(starts) == len(shifts) == len(shop.hosts)
    assert sorted([*starts, *shifts])[::2] == sorted(starts)
    _serves(shop, version)


def test_canary_shares(shop: Project) -> None:
    """The new version gets the share that was asked for, step by step."""
    steps = [{"weight": 20, "bake": "2s"}, {"weight": 50, "bake": "2s"}]
    version = _version(shop, strategy="canary", canary=steps)
    with Load(_addresses(shop), ["keep-alive", "close"]) as load:
        done = change(shop)
    assert load.failures() == []
    _serves(shop, version)
    began = moments(done, "step_started", "watch web-1 ")
    ended = moments(done, "step_finished", "watch web-1 ")
    for step, since, until in zip(steps, began, ended, strict=False):
        pages = load.pages(since=since + 0.3, until=until - 0.1)
        assert 100 * pages[version] / pages.total() == pytest.approx(step["weight"], abs=5)


def test_fewer_and_more(shop: Project) -> None:
    """A host loses its only instance, and gets one again: the other routers' requests go elsewhere."""
    _version(shop)
    service = shop.spec["services"]["shop"]
    shop.spec["router"]["hosts"] = ["web", "db"]
    del service["per_host"]
    try:
        with Load(_addresses(shop), ["keep-alive", "close", "long"]) as load:
            for replicas in (2, 3):
                service["replicas"] = replicas
                change(shop)
        assert load.failures() == []
    finally:
        service.pop("replicas")
        service["per_host"] = 1


def test_recreate_tells_its_outage(shop: Project) -> None:
    """What cannot exist twice is away for as long as the report says, and the others answer meanwhile."""
    version = _version(shop, strategy="recreate")
    with Load(_addresses(shop), ["close"]) as load:
        done = change(shop)
    _serves(shop, version)
    notes = [line["note"] for line in done.named("step_finished") if " was away for " in line["note"]]
    assert sorted(note.split()[0] for note in notes) == ["shop[1]", "shop[2]", "shop[3]"]
    away = sum(float(note.split()[-2]) for note in notes)
    assert 0 < away < done.finished["seconds"]
    # Until the next check of the others a router may still send them somebody.
    assert len(load.failures()) < len(load.samples) / 10


def test_rollback_to_a_kept_release(shop: Project) -> None:
    """The instances are still there: traffic is back at once, and no request is lost."""
    old = _version(shop, keep_old="10m")
    change(shop)
    new = _version(shop, keep_old="10m")
    change(shop)
    kept = {one.id for one in shop.containers(everything=True).values() if one.state == "running"}
    with Load(_addresses(shop)) as load:
        time.sleep(0.3)
        done = change(shop, "rollback")
    assert load.failures() == []
    assert set(load.pages(kind="keep-alive")) == {old, new}
    _serves(shop, old)
    assert set(shop.ids().values()) <= kept
    shifts = moments(done, "step_started", "shift ") + moments(done, "step_finished", "shift ")
    assert max(shifts) - min(shifts) < 1


def test_the_router_is_replaced(shop: Project) -> None:
    """Another image: the new one listens beside the old one, which finishes what it has."""
    shop.file("images/router/Dockerfile", f"{ROUTER}LABEL changed={next(_versions)}\n")
    before = _routers(shop)
    with Load(_addresses(shop)) as load:
        time.sleep(0.5)
        change(shop)
        time.sleep(0.5)
    assert load.failures() == []
    changed(lambda: not _routers(shop) & before, seconds=40)  # it waits for clients that are idle
    assert len(_routers(shop)) == len(shop.hosts)


def test_a_router_that_crashes(shop: Project) -> None:
    """Killed, it comes back with what it served, weights included, and a cutover meanwhile is not lost."""
    version = _version(shop)
    change(shop)
    (router,) = _routers(shop, "web-1")
    shop.lab.run("web-1", ["sh", "-c", "kill -9 $(pidof haproxy)"])
    changed(lambda: fetch(f"http://{shop.lab.host('web-1').address}/").strip() == version)
    assert _routers(shop, "web-1") == {router}
    changed(lambda: not _differences(shop))
    following = _version(shop)
    change(shop)
    _serves(shop, following)


def test_a_router_that_crashes_in_the_middle(shop: Project) -> None:
    """Between the start of the new instances and the confirm: all hosts end with one version."""
    old = shop.spec["services"]["shop"]["environment"]["VERSION"]
    version = _version(shop, bake="1s")
    process = shop.start("apply", "--yes", "--json")
    wait_for(process, "step_finished", step="shift web-1 shop")
    shop.lab.run("web-1", ["sh", "-c", "kill -9 $(pidof haproxy)"])
    process.communicate()
    changed(lambda: fetch(f"http://{shop.lab.host('web-1').address}/").strip() in (old, version))
    pages = {fetch(f"http://{address}/").strip() for address in _addresses(shop)}
    assert pages == {version if process.returncode == 0 else old}
    change(shop)
    _serves(shop, version)


def _differences(shop: Project) -> list[str]:
    """What routers serve that they should not."""
    hosts = shop.look("routes")["hosts"]
    servers = [server for host in hosts for server in host["servers"]]
    return [text for one in (*servers, *(host["router"] for host in hosts)) for text in one["differences"]]


def _routers(shop: Project, *hosts: str) -> set[str]:
    """Ids of the routers' running containers."""
    found: list[str] = []
    for host in hosts or shop.hosts:
        label = [f"--filter=label=deploy.project={shop.name}", "--filter=label=deploy.router"]
        found += shop.lab.docker(host, "ps", "--quiet", "--no-trunc", *label).stdout.split()
    return set(found)
