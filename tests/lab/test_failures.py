"""What an apply that cannot work leaves behind: the old instances, serving, and an explanation."""

from __future__ import annotations

import json

import pytest
from support.deploying import HEALTHCHECK, Project
from support.seen import Poller, Run

LATE = "trap 'exit 0' TERM; echo 'cannot reach the database'; sleep 1000 & wait"
"""Runs, and listens to nobody."""


def test_old_one_serves_while_a_sick_one_is_tried(project: Project) -> None:
    """A client of the old instance sees nothing; the output tells what was tried, and the last lines."""
    project.hosts = ("web-1",)
    project.apply()
    before = project.ids()

    project.image("web", "two", start=LATE)
    project.spec["services"]["web"]["healthcheck"]["deadline"] = "700ms"
    with Poller(project.url()) as client:
        done = project.apply(code=3)
    assert client.failures == []
    assert set(client.pages) == {"one"}
    assert len(client.pages) > 20
    assert project.ids() == before

    failure = _failure(done)
    assert failure["code"] == "unhealthy"
    assert failure["message"] == "not healthy within 0.7 s"
    assert failure["seconds"] == pytest.approx(0.7, abs=0.5)
    assert any("connection refused" in probe for probe in failure["probes"])
    assert failure["logs"] == ["cannot reach the database"]
    assert done.finished["error"] == "cannot start web[1] on web-1: not healthy within 0.7 s"
    assert done.finished["hint"]
    assert done.finished["changes"] == {"create": 0, "replace": 0, "remove": 0, "keep": 0}

    text = project.run("apply", "--yes")
    assert text.code == 3
    shown = text.stdout + text.stderr
    for part in ("not healthy within 0.7 s", "connection refused", "cannot reach the database"):
        assert part in shown, shown
    assert project.look("history")["current"] == "r1"

    project.image("web", "three")
    project.apply()
    assert project.page() == "three"
    assert {one.release for one in project.containers(everything=True).values()} >= {"r1"}


def test_one_that_ends_at_once(project: Project) -> None:
    """It is told at once, not at the deadline; what went well on another host is taken back."""
    project.apply()
    before = project.ids()
    project.image(
        "web", "two", start='test "$(hostname)" != web-2 || sleep 0.5; echo "no licence" >&2; exit 7'
    )
    project.spec["services"]["web"]["healthcheck"]["deadline"] = "30s"
    done = project.apply(code=3)
    assert done.finished["seconds"] < 20
    failure = _failure(done)
    assert failure["code"] == "exited"
    # Whichever is seen first: the end of the process, or that the engine has started it again.
    told = ("the process ended with exit status 7", "the process ended and was restarted")
    assert failure["message"].startswith(told)
    # The engine may have started it a second time before it was stopped.
    assert set(failure["logs"]) == {"no licence"}
    assert project.ids() == before
    assert project.page("web[1]") == project.page("web[2]") == "one"


def test_what_went_well_elsewhere_is_taken_back(project: Project) -> None:
    """One service fails on one host: what had been replaced by then runs again as it was, everywhere."""
    project.spec["services"]["api"] = project.service()
    project.apply()
    before = project.ids()
    project.spec["services"]["api"]["environment"] = {"NEW": "1"}
    project.spec["services"]["web"] = project.service(command=["false"], depends_on=["api"])
    done = project.apply(code=3)
    assert {step["step"]["service"] for step in done.named("step_started") if "service" in step["step"]} == {
        "api",
        "web",
    }
    assert project.ids() == before
    assert done.named("restore_finished")[0]["ok"]
    assert set(done.named("restore_finished")[0]["states"].values()) == {"restored: what ran before runs"}
    assert project.apply(code=3).changes.keys() == done.changes.keys()


def test_port_held_by_a_stranger(project: Project) -> None:
    """A process of somebody else has the port: nothing starts, and the message says who it is."""
    project.hosts = ("web-1",)
    project.apply()
    before = project.ids()
    stranger = project.lab.run(
        "web-1", ["sh", "-c", "busybox httpd -f -p 7070 >/dev/null 2>&1 & echo $!"]
    ).stdout.strip()
    try:
        project.spec["services"]["api"] = project.service(ports=["7070:8080"])
        done = project.apply(code=3)
    finally:
        project.lab.run("web-1", ["kill", stranger])
    failure = _failure(done)
    assert failure["code"] == "conflict"
    assert "7070" in failure["message"]
    assert project.ids() == before
    project.apply()
    assert sorted(project.ids()) == ["api[1]", "web[1]"]


def test_build_that_fails(project: Project) -> None:
    """No host is touched, and the builder's last lines are shown, by machine and by eye."""
    project.hosts = ("web-1",)
    project.apply()
    before = project.states()
    dockerfile = project.folder / "images/web/Dockerfile"
    dockerfile.write_text(f"{dockerfile.read_text()}RUN echo {project.salt}; echo no compiler here; exit 9\n")
    done = project.apply(code=3)
    assert "image web" in done.finished["error"]
    assert any("no compiler here" in line for line in done.finished["context"])
    assert not done.named("lease_taken")
    assert done.finished["round_trips"]["web-1"] == 1
    assert project.states() == before
    text = project.run("apply", "--yes")
    assert text.code == 3
    assert "no compiler here" in text.stdout + text.stderr


def test_volume_is_never_shared_and_its_data_stays(project: Project) -> None:
    """Of a service with a volume the old one stops first; when the new one fails it is started again."""
    project.hosts = ("web-1",)
    start = "trap 'exit 0' TERM; touch /data/$(cat /srv/index.html); httpd -f -p 8080 -h /data & wait"
    project.image("web", "one", start=start)
    check = {**HEALTHCHECK, "http": "/one"}
    project.spec["services"]["web"] = project.service(volumes=["data:/data"], healthcheck=check)
    project.apply()
    first = project.containers()["web[1]"]

    project.image("web", "two", start=start)
    done = project.apply()
    assert done.changes == {"web[1]": ["replace-stop-first", "image web changed"]}
    second = project.containers()["web[1]"]
    stopped = project.containers(everything=True)["web[1] r1"]
    assert stopped.id == first.id
    assert stopped.finished < second.started
    assert project.page(path="one") == project.page(path="two") == ""

    project.image("web", "three", start=LATE)
    project.spec["services"]["web"]["healthcheck"] = {**check, "deadline": "500ms"}
    project.apply(code=3)
    again = project.containers()["web[1]"]
    assert again.id == second.id
    assert again.started > second.started
    assert project.page(path="two") == ""


def _failure(done: Run) -> dict[str, object]:
    """The first failed step's failure; the events around it hold no surprise for a reader of JSON."""
    assert json.loads(done.stdout.splitlines()[-1]) == done.finished
    assert not done.finished["ok"]
    failure = done.named("step_failed")[0]["failure"]
    assert isinstance(failure, dict)
    return failure
