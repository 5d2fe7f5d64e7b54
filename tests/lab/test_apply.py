"""What an apply does on real hosts: what it changes, what it leaves alone, what it costs."""

from __future__ import annotations

import pytest
from support.deploying import HEALTHCHECK, NOWHERE, Project
from support.seen import Container

SMALL = 20_000
"""Bytes for one host: a page and what goes with it, not the image under it."""


def test_first_apply_and_then_nothing(project: Project) -> None:
    """An empty fleet gets what the spec says; a second apply changes nothing and needs no engine here."""
    first = project.apply()
    assert first.changes == {"web[1]": ["create", "new"], "web[2]": ["create", "new"]}
    assert first.finished["changes"] == {"create": 2, "replace": 0, "remove": 0, "keep": 0}
    assert first.finished["release"] == "r1"
    assert project.page("web[1]") == project.page("web[2]") == "one"
    before = project.containers()
    assert {one.host for one in before.values()} == {"web-1", "web-2"}

    second = project.apply(DOCKER_HOST=NOWHERE)
    assert second.changes == {}
    assert second.finished["changes"] == {"create": 0, "replace": 0, "remove": 0, "keep": 2}
    assert second.finished["release"] == ""
    assert not second.named("step_started")
    assert not second.named("lease_taken")
    assert "localhost" not in second.finished["round_trips"]
    assert set(second.finished["round_trips"].values()) == {1}
    assert second.finished["bytes_sent"] < 1000
    assert project.ids() == {name: one.id for name, one in before.items()}


def test_change_of_one_file(project: Project) -> None:
    """A changed page rebuilds its image and what stands on it, replaces who uses it, and ships a layer."""
    project.image("api", "an api")
    project.make_unique()
    project.spec["images"]["api"] = project.built_on_base("api")
    project.spec["services"]["api"] = project.service("api")
    project.apply()
    before = project.ids()

    project.image("web", f"two {project.salt}")
    done = project.apply()
    assert done.built == ["web"]
    assert done.changes == {f"web[{slot}]": ["replace", "image web changed"] for slot in (1, 2)}
    assert done.shipped < 2 * SMALL
    after = project.ids()
    assert project.page() == f"two {project.salt}"
    assert {name for name in before if before[name] == after[name]} == {"api[1]", "api[2]"}

    project.file("images/base/start", (project.folder / "images/base/start").read_text() + "# base\n")
    done = project.apply()
    assert sorted(done.built) == ["api", "base", "web"]
    assert sorted(done.changes) == ["api[1]", "api[2]", "web[1]", "web[2]"]
    assert not set(project.ids().values()) & set(after.values())


def test_changes_of_configuration(project: Project) -> None:
    """A variable or a template replaces its own service only, builds nothing, and its value is not shown."""
    project.file("api.conf.j2", "level = {{ environment.LEVEL }}\nhost = {{ host.name }}\n")
    project.spec["services"] = {
        "api": project.service(
            environment={"LEVEL": "low"}, configs=[{"template": "api.conf.j2", "target": "/srv/api.conf"}]
        ),
        "web": project.service(environment={"GREETING": "hello-world"}),
    }
    project.apply()
    before = project.containers()

    project.spec["services"]["web"]["environment"] = {"GREETING": "good-morning"}
    done = project.apply(DOCKER_HOST=NOWHERE)
    assert done.changes == {f"web[{n}]": ["replace", "environment GREETING changed"] for n in (1, 2)}
    assert not done.built
    assert done.finished["bytes_sent"] < 2 * SMALL
    assert "good-morning" not in done.stdout + done.stderr
    after = project.containers()
    assert after["web[1]"].environment["GREETING"] == "good-morning"
    assert after["api[1]"].id == before["api[1]"].id

    project.file("api.conf.j2", "# new\nlevel = {{ environment.LEVEL }}\nhost = {{ host.name }}\n")
    done = project.apply(DOCKER_HOST=NOWHERE)
    assert done.changes == {f"api[{n}]": ["replace", "config /srv/api.conf changed"] for n in (1, 2)}
    served = project.page("api[2]", "api.conf")
    assert served == f"# new\nlevel = low\nhost = {project.containers()['api[2]'].host}\n"
    assert project.ids()["web[1]"] == after["web[1]"].id


def test_service_removed_and_instances_added(project: Project) -> None:
    """What is not in the spec any more stops, what is wanted more often is added; the rest goes on."""
    project.spec["services"]["api"] = project.service()
    project.apply()
    before = project.ids()

    project.spec["services"] = {"web": project.service(replicas=4)}
    done = project.apply()
    assert done.changes == {
        "api[1]": ["remove", "not in the spec any more"],
        "api[2]": ["remove", "not in the spec any more"],
        "web[3]": ["create", "new"],
        "web[4]": ["create", "new"],
    }
    after = project.containers()
    assert sorted(after) == ["web[1]", "web[2]", "web[3]", "web[4]"]
    assert [after[name].id for name in ("web[1]", "web[2]")] == [before["web[1]"], before["web[2]"]]
    assert sorted(one.host for one in after.values()) == ["web-1", "web-1", "web-2", "web-2"]

    project.spec["services"] = {"web": project.service(replicas=1)}
    done = project.apply()
    assert done.changes == {f"web[{n}]": ["remove", "fewer instances are wanted"] for n in (2, 3, 4)}
    assert project.ids() == {"web[1]": before["web[1]"]}


def test_new_host_from_a_machine_that_has_nothing(project: Project) -> None:
    """A host that joins gets its layers from another host: no builder, no cache, no earlier knowledge."""
    project.hosts = ("web-1",)
    project.apply()
    before = project.ids()

    project.hosts = ("web-1", "web-2")
    project.environ["XDG_CACHE_HOME"] = str(project.folder / "empty")
    done = project.apply(DOCKER_HOST=NOWHERE)
    assert not done.built
    assert done.changes == {"web[2]": ["create", "new"]}
    assert project.page("web[2]") == "one"
    assert project.containers()["web[2]"].host == "web-2"
    assert project.ids()["web[1]"] == before["web[1]"]


def test_dependencies_start_first(project: Project) -> None:
    """Over hosts too, a service starts when all it depends on is healthy, the first time and every time."""
    slow = {**HEALTHCHECK, "command": ["test", "-e", "/run/ready"]}
    del slow["http"], slow["port"]
    late = ["sh", "-c", "sleep 0.4; touch /run/ready; exec /bin/start"]
    project.spec["services"] = {
        "front": project.service(depends_on=["api"]),
        "api": project.service(replicas=1, depends_on=["cache"]),
        "cache": project.service(
            hosts=["db"], command=late, tmpfs=["/run"], healthcheck=slow, stop_grace_period="1s"
        ),
    }
    project.apply()
    assert _gaps(project.containers()) == [True, True]

    project.image("web", "two")
    project.apply()
    assert _gaps(project.containers()) == [True, True]


def _gaps(running: dict[str, Container]) -> list[bool]:
    """Whether the cache was up for its 0.4 s before the api started, and the api before any front."""
    starts = {name: one.started for name, one in running.items()}
    return [
        starts["api[1]"] - starts["cache[1]"] > 0.4,
        min(starts["front[1]"], starts["front[2]"]) > starts["api[1]"],
    ]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("stop", "--time", "1"), "container exited with status 0"),
        (("rm", "--force"), "its container is gone"),
        (("update", "--restart", "no"), "changed since it was created"),
    ],
)
def test_drift_is_healed_by_replacing(project: Project, command: tuple[str, ...], reason: str) -> None:
    """What was stopped, removed or changed by hand is replaced, with the reason; the others go on."""
    project.hosts = ("web-1",)
    project.spec["services"] = {"api": project.service(), "web": project.service()}
    project.apply()
    before = project.containers()
    project.lab.docker("web-1", *command, before["web[1]"].id)

    done = project.apply(DOCKER_HOST=NOWHERE)
    assert list(done.changes) == ["web[1]"]
    assert done.changes["web[1]"][1:] == [reason]
    after = project.containers()
    assert after["web[1]"].id != before["web[1]"].id
    assert after["api[1]"].id == before["api[1]"].id
    assert project.page() == "one"
    assert project.apply().changes == {}


def test_tags_on_hosts_do_not_matter(project: Project) -> None:
    """Containers run an image id: whoever moves a tag on a host changes nothing."""
    project.hosts = ("web-1",)
    project.apply()
    before = project.containers()["web[1]"]
    image = before.inspected["Image"]
    tags = project.lab.docker("web-1", "inspect", "--format", '{{join .RepoTags " "}}', image).stdout.split()
    other = project.lab.docker("web-1", "commit", before.id, "elsewhere:latest").stdout.strip()
    for tag in (*tags, "web:latest", f"{project.name}/web:latest"):
        project.lab.docker("web-1", "tag", other, tag)
    assert project.apply().changes == {}
    project.environ["XDG_CACHE_HOME"] = str(project.folder / "empty")
    assert project.apply(DOCKER_HOST=NOWHERE).changes == {}


def test_limit(project: Project) -> None:
    """With a limit only what it names changes; the rest follows when it is asked for."""
    project.spec["services"]["api"] = project.service()
    project.apply()
    before = project.ids()
    project.image("web", "two")

    assert sorted(project.apply("--limit", "web-1").changes) == ["api[1]", "web[1]"]
    assert project.page("web[1]") == "two"
    assert project.page("web[2]") == "one"
    assert sorted(project.apply("--limit", "service:web").changes) == ["web[2]"]
    assert project.page("web[2]") == "two"
    after = project.ids()
    assert after["api[2]"] == before["api[2]"]
    assert list(project.apply().changes) == ["api[2]"]
    assert project.apply().changes == {}
