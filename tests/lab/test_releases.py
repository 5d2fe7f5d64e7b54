"""Releases on real hosts: back to one, what is remembered, saved plans, and the end of a project."""

from __future__ import annotations

import json

import pytest
from support.deploying import NOWHERE, Project
from support.seen import Run


@pytest.fixture
def shop(project: Project) -> Project:
    """One instance with everything that a release has to bring back, in its first release."""
    project.hosts = ("web-1",)
    project.file("page.j2", "level {{ environment.LEVEL }}")
    project.spec["services"]["web"] |= {
        "environment": {"LEVEL": "low"},
        "configs": [{"template": "page.j2", "target": "/srv/level"}],
        "secrets": [{"name": "TOKEN", "from": {"env": "SHOP_TOKEN"}}],
    }
    project.environ["SHOP_TOKEN"] = "first-token"
    project.apply()
    return project


def _change_everything(shop: Project) -> None:
    shop.image("web", "two")
    shop.file("page.j2", "LEVEL {{ environment.LEVEL }}")
    shop.spec["services"]["web"]["environment"] = {"LEVEL": "high"}
    shop.environ["SHOP_TOKEN"] = "second-token"


def _served(shop: Project) -> tuple[str, str, str]:
    token = shop.run("exec", "web", "--", "cat", "/run/secrets/TOKEN").stdout
    return shop.page(), shop.page(path="level"), token


OLD = ("one", "level low", "first-token")
NEW = ("two", "LEVEL high", "second-token")


def test_rollback_brings_its_own_time_back(shop: Project) -> None:
    """Image, variable, config and secret as they were, whatever the spec and the secrets are today."""
    first = shop.containers()["web[1]"]
    _change_everything(shop)
    shop.apply()
    assert _served(shop) == NEW
    second = shop.containers()["web[1]"]

    shop.file("page.j2", "{{ this is no template")
    shop.spec["services"]["web"]["environment"] = {"LEVEL": "none"}
    del shop.environ["SHOP_TOKEN"]
    back = shop.change("rollback", DOCKER_HOST=NOWHERE)
    assert back.changes == {"web[1]": ["resume", *_reasons(back)]}
    assert back.changes["web[1]"][1] == "rollback to r1"
    assert back.finished["release"] == "r3"
    assert shop.ids() == {"web[1]": first.id}
    assert shop.containers()["web[1]"].environment["LEVEL"] == "low"
    assert shop.page() == "one"
    assert shop.page(path="level") == "level low"

    again = shop.change("rollback", "r2", DOCKER_HOST=NOWHERE)
    assert again.finished["release"] == "r4"
    assert shop.ids() == {"web[1]": second.id}
    assert shop.page(path="level") == "LEVEL high"

    shop.lab.docker("web-1", "rm", "--force", first.id)
    shop.change("rollback", "r1", DOCKER_HOST=NOWHERE)
    _change_everything(shop)
    assert _served(shop) == OLD
    done = shop.apply()
    assert done.changes["web[1]"][0] == "replace"
    assert {"environment LEVEL changed", "config /srv/level changed", "secret TOKEN changed"} < set(
        done.changes["web[1]"]
    )
    assert _served(shop) == NEW


def _reasons(run: Run) -> list[str]:
    return run.changes["web[1]"][1:]


def test_rollback_that_fails_leaves_what_runs(shop: Project) -> None:
    """The old release is proven like a new one: when it is sick today, or unknown, nothing changes."""
    flag = f"/srv/{shop.name}"
    shop.lab.run("web-1", ["sh", "-c", f"mkdir -p {flag} && touch {flag}/ok"])
    web = shop.spec["services"]["web"]
    web["volumes"] = [{"type": "bind", "source": flag, "target": "/srv/flag"}]
    web["healthcheck"] |= {"http": "/flag/ok", "deadline": "1s"}
    shop.apply()
    web["healthcheck"] |= {"http": "/"}
    shop.apply()
    before = shop.ids()

    shop.lab.run("web-1", ["rm", f"{flag}/ok"])
    sick = shop.change("rollback", code=3)
    assert sick.named("step_failed")[0]["failure"]["code"] == "unhealthy"
    assert shop.ids() == before
    assert shop.look("history")["current"] == "r3"

    unknown = shop.change("rollback", "r9", code=1)
    assert "r9" in unknown.finished["error"]
    assert "r1" in unknown.finished["hint"]
    assert shop.ids() == before
    shop.lab.run("web-1", ["rm", "-r", flag])


def test_what_is_remembered(shop: Project) -> None:
    """History, one release, and the state of now, as documents and as text."""
    _change_everything(shop)
    shop.apply()
    shop.change("rollback")
    history = shop.look("history")
    assert history["current"] == "r3"
    assert [one["release"] for one in history["releases"]] == ["r1", "r2", "r3"]
    assert [one["reason"] for one in history["releases"]] == ["apply", "apply", "rollback to r1"]
    assert [one["changes"]["replace"] for one in history["releases"]] == [0, 1, 1]

    release = shop.look("show", "r2")
    (config,) = release["configs"].values()
    assert config["environment"] == ["LEVEL"]
    assert config["secrets"] == ["TOKEN"]
    assert release["images"]["web"] == config["image"]
    assert [one["service"] for one in release["instances"]] == ["web"]

    status = shop.look("status")
    (instance,) = status["instances"]
    assert (instance["service"], instance["slot"], instance["host"]) == ("web", 1, "web-1")
    assert (instance["state"], instance["health"], instance["release"]) == ("running", "healthy", "r1")
    assert status["release"] == "r3"
    assert status["kept"] == 1
    assert status["hosts"] == [{"host": "web-1", "reachable": True, "error": ""}]
    for words in (("status",), ("history",), ("show", "r1")):
        text = shop.run(*words)
        assert text.code == 0
        assert "web" in text.stdout or "r1" in text.stdout
        assert "low" not in text.stdout


def test_saved_plan(shop: Project) -> None:
    """It is carried out as it is, and refused, with the reason, when anything it stands on has changed."""
    assert shop.run("plan", "--exit-code").code == 0
    shop.image("web", "two")
    assert shop.run("plan", "--exit-code", "--out", "plan.json").code == 2
    done = shop.change("apply", "plan.json")
    assert done.changes == {"web[1]": ["replace", "image web changed"]}
    assert shop.page() == "two"
    expected = {"the state of host web-1 has changed", "the next release is r3, not r2"}
    assert expected <= set(_refused(shop))

    _plan(shop)
    shop.spec["services"]["web"]["environment"] = {"LEVEL": "high"}
    assert "the spec has changed" in _refused(shop)

    shop.image("web", "three")
    _plan(shop)
    shop.image("web", "four")
    assert "image web has changed" in _refused(shop)

    _plan(shop)
    shop.lab.docker("web-1", "stop", "--time", "1", shop.ids()["web[1]"])
    assert "the state of host web-1 has changed" in _refused(shop)
    shop.apply()
    assert shop.page() == "four"
    shop.file("plan.json", "[]")
    assert "not a saved plan" in shop.run("apply", "plan.json").stderr


def _plan(shop: Project) -> None:
    assert shop.run("plan", "--out", "plan.json").code == 0


def _refused(shop: Project) -> list[str]:
    before = shop.states()
    done = shop.change("apply", "plan.json", code=1)
    assert done.finished["error"] == "the saved plan is out of date; nothing was changed"
    assert shop.states() == before
    return list(done.finished["context"])


def test_prune(shop: Project) -> None:
    """Old releases go with their containers and images; what runs and its data stay."""
    shop.make_unique()
    shop.spec["services"]["web"]["volumes"] = ["data:/data"]
    for page in "abc":
        shop.image("web", page)
        shop.apply()
    running = shop.ids()
    assert len(shop.containers(everything=True)) == 4
    images = _images(shop)

    done = shop.change("prune", "--keep", "1")
    assert sorted(shop.containers(everything=True)) == ["web[1] r3", "web[1] r4"]
    assert shop.ids() == running
    assert len(_images(shop)) < len(images)
    assert [one["release"] for one in shop.look("history")["releases"]] == ["r3", "r4"]
    assert done.finished["release"] == ""
    assert shop.change("prune", "--keep", "1").finished["bytes_sent"] < 1000
    shop.change("rollback")
    assert shop.page() == "b"
    shop.change("prune", "--keep", "0")
    assert list(shop.containers(everything=True)) == ["web[1] r3"]
    assert shop.page() == "b"


def _images(shop: Project) -> list[str]:
    options = ["--all", "--quiet", "--filter", "label=deploy.build"]
    return shop.lab.docker("web-1", "image", "ls", *options).stdout.split()


def test_destroy(shop: Project) -> None:
    """Everything goes but volumes, and those when asked for; another project on the host goes on."""
    shop.spec["services"]["web"]["volumes"] = ["data:/data"]
    shop.apply()
    other = shop.lab.docker(
        "web-1", "run", "--detach", "--network", "none", _images(shop)[0], "/bin/busybox", "sleep", "60"
    ).stdout.strip()
    shop.lab.docker("web-1", "exec", shop.ids()["web[1]"], "touch", "/data/kept")
    assert shop.run("destroy", "--json").code == 1
    assert len(shop.ids()) == 1

    done = shop.change("destroy", DOCKER_HOST=NOWHERE)
    assert [change[0] for change in done.changes.values()] == ["remove"]
    assert shop.containers(everything=True) == {}
    assert _volumes(shop) == [f"{shop.name}_data"]
    networks = shop.lab.docker("web-1", "network", "ls", "--format", "{{.Name}}").stdout.split()
    assert shop.name not in networks
    assert shop.lab.docker("web-1", "inspect", "--format", "{{.State.Status}}", other).stdout == "running\n"

    shop.apply()
    shop.lab.docker("web-1", "exec", shop.ids()["web[1]"], "test", "-e", "/data/kept")
    shop.change("destroy", "--volumes")
    assert shop.containers(everything=True) == {}
    assert _volumes(shop) == []
    left = shop.lab.run("web-1", ["ls", "-A", f"/var/lib/deploy/projects/{shop.name}/secrets"], check=False)
    assert left.stdout.split() == []
    assert json.loads(shop.run("status", "--json").stdout)["instances"] == []
    shop.lab.docker("web-1", "rm", "--force", other)


def _volumes(shop: Project) -> list[str]:
    label = f"label=deploy.project={shop.name}"
    return shop.lab.docker("web-1", "volume", "ls", "--quiet", "--filter", label).stdout.split()
