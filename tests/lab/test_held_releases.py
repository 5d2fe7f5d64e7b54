"""Releases that are held: tried by those who ask for them, promoted or given up, from any machine."""

from __future__ import annotations

import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.deploying import Project
from support.seen import fetch
from support.traffic import Load, change, routed

from orchestrator.lab import Lab


@pytest.fixture(scope="module")
def shop(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A service on three hosts behind their routers."""
    made = routed(Project(tmp_path_factory.mktemp("held"), lab, "held"))
    try:
        change(made)
        yield made
    finally:
        made.remove()


def _want(shop: Project, version: str) -> None:
    shop.spec["services"]["shop"]["environment"]["VERSION"] = version


def _urls(shop: Project) -> list[str]:
    return [f"http://{host.address}/" for host in shop.lab.hosts]


def _pages(shop: Project) -> set[str]:
    return {fetch(url).strip() for url in _urls(shop)}


def _previews(shop: Project, release: str) -> set[str]:
    """What those get who ask for a release."""
    asked = [urllib.request.Request(url, headers={"x-deploy-preview": release}) for url in _urls(shop)]
    found = set()
    for request in asked:
        with urllib.request.urlopen(request, timeout=5) as answer:
            found.add(answer.read().decode().strip())
    return found


def _elsewhere(shop: Project, folder: Path) -> Project:
    """The same project on another machine: its files, and nothing that was kept."""
    other = Project(folder, shop.lab, shop.name)
    shutil.copytree(shop.folder / "images", folder / "images", dirs_exist_ok=True)
    other.spec = shop.spec
    return other


def test_hold_try_and_promote_elsewhere(shop: Project, tmp_path: Path) -> None:
    """The very instances that were tried get the traffic, from a machine that knows nothing of them."""
    (old,) = _pages(shop)
    before = shop.ids()
    _want(shop, "held-1")
    with Load([host.address for host in shop.lab.hosts]) as load:
        done = change(shop, "--hold")
        release = done.finished["release"]
        assert done.finished["held"]
        assert _pages(shop) == {old}
        assert _previews(shop, release) == {"held-1"}
        assert _previews(shop, "r999") == {old}
        tried = {one.id for one in shop.containers(everything=True).values()} - set(before.values())

        refused = change(shop, code=1)
        assert f"release {release} is held" in refused.finished["error"]
        assert f"deploy promote {release}" in refused.finished["hint"]

        promoted = change(_elsewhere(shop, tmp_path), "promote", release)
    assert load.failures() == []
    assert promoted.finished["release"] == release
    assert not promoted.built
    assert _pages(shop) == {"held-1"}
    assert set(shop.ids().values()) <= tried
    assert shop.run("plan", "--exit-code").code == 0


def test_abort(shop: Project, tmp_path: Path) -> None:
    """What was held ends, what serves is the same as before, and an apply may come again."""
    (old,) = _pages(shop)
    before = shop.ids()
    _want(shop, "held-2")
    with Load([host.address for host in shop.lab.hosts], ["keep-alive", "close"]) as load:
        release = change(shop, "--hold").finished["release"]
        change(_elsewhere(shop, tmp_path), "abort", release)
    assert load.failures() == []
    assert set(load.pages()) == {old}
    assert shop.ids() == before
    assert _previews(shop, release) == {old}
    change(shop)
    assert _pages(shop) == {"held-2"}


def test_replace_what_is_held(shop: Project) -> None:
    """Told so, an apply ends what is held and goes its own way."""
    _want(shop, "held-3")
    first = change(shop, "--hold").finished["release"]
    _want(shop, "held-4")
    with Load([host.address for host in shop.lab.hosts], ["keep-alive", "close"]) as load:
        second = change(shop, "--hold", "--replace-held").finished["release"]
        assert _previews(shop, second) == {"held-4"}
        assert "held-3" not in _previews(shop, first)
        change(shop, "promote")
    assert load.failures() == []
    assert _pages(shop) == {"held-4"}
