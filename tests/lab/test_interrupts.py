"""Runs that are cut off: Ctrl-C, kill -9 and others in the way, each at a known point of the run.

The point is found in the run's own JSON lines; what is slow (a build, a large layer, a late start, a
long farewell) makes sure that the run is still there when the blow falls.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import time

import pytest
from support.deploying import NOWHERE, Project, Run, fetch, finish, wait_for

_SERVE = "httpd -f -p 8080 -h /srv & wait"
_SLOW_STOP = f"trap 'sleep 0.7; exit 0' TERM\n{_SERVE}"
_SLOW_START = f"trap 'exit 0' TERM\nsleep 1\n{_SERVE}"
_BOTH = ("web[1]", "web[2]")
_POINTS = {
    "build": ("build_started", {"image": "web"}),
    "ship": ("step_progress", {"phase": "sending"}),
    "start": ("step_progress", {"phase": "checking"}),
    "stop": ("step_progress", {"phase": "stopping"}),
    "commit": ("step_started", {"kind": "commit"}),
}
"""Kind of step -> the event that says a run is in the middle of one."""


@pytest.fixture
def changed(project: Project) -> Project:
    """Page ``one`` runs on two hosts and takes its time to stop; page ``two`` is to be built and shipped."""
    project.image("web", "one", start=_SLOW_STOP)
    project.apply()
    project.image("web", "two", start=_SLOW_START)
    (project.folder / "images/web/large").write_bytes(os.urandom(6 << 20))
    dockerfile = project.folder / "images/web/Dockerfile"
    dockerfile.write_text(dockerfile.read_text() + "COPY large /large\n")
    return project


def _strike(project: Project, kind: str, *signals: signal.Signals) -> Run:
    """Apply, send ``signals`` in the middle of a step of a kind, and return the run that ended."""
    process = project.start("apply", "--yes", "--json")
    event, fields = _POINTS[kind]
    wait_for(process, event, **fields)
    for number in signals:
        process.send_signal(number)
    return finish(process)


def _serving(project: Project) -> set[str]:
    """The instances of which some container serves, the old or the new."""
    served = set()
    for one in project.containers(everything=True).values():
        if one.state == "running":
            with contextlib.suppress(OSError):
                fetch(f"http://{project.lab.host(one.host).address}:{one.port}/")
                served.add(one.instance)
    return served


def _healed(project: Project) -> None:
    """One more apply, and everything is as if there had never been another."""
    project.apply()
    assert [project.page(name) for name in _BOTH] == ["two", "two"]
    every = project.containers(everything=True).values()
    assert sorted((one.instance, one.state, one.release == "r1") for one in every) == [
        (name, *state) for name in _BOTH for state in (("exited", True), ("running", False))
    ]
    assert project.apply(DOCKER_HOST=NOWHERE).changes == {}
    for host in project.hosts:
        left = project.lab.run(
            host, ["find", "/var/lib/deploy", "-path", "*/layers/*", "-size", "+0"], check=False
        )
        assert left.stdout == ""


@pytest.mark.parametrize("kind", _POINTS)
def test_ctrl_c(changed: Project, kind: str) -> None:
    """The old state runs, or the new one wholly if it was in force already; every host's state is told."""
    before = changed.ids()
    done = _strike(changed, kind, signal.SIGINT)
    assert done.code == 130
    finished = done.finished
    assert finished["ok"] is False
    if finished["release"]:
        assert kind in ("stop", "commit")
        assert "is in force" in finished["error"]
        assert [changed.page(name) for name in _BOTH] == ["two", "two"]
    else:
        assert changed.ids() == before
        told = [line.split(":")[0] for line in finished["context"]]
        assert told == (["web-1", "web-2"] if kind != "build" else [])
        assert ("nothing was changed" in finished["error"]) == (kind in ("build", "ship"))
    _healed(changed)


@pytest.mark.parametrize("kind", ["ship", "start", "stop", "commit"])
def test_killed_controller(changed: Project, kind: str) -> None:
    """Killed in the middle of any step, a run leaves what one more apply heals; old or new serves."""
    done = _strike(changed, kind, signal.SIGKILL)
    assert done.code == -signal.SIGKILL
    assert _serving(changed) == set(_BOTH)
    _healed(changed)


def test_second_ctrl_c(project: Project) -> None:
    """It waits for nothing, says what was left, and the next apply heals."""
    project.spec["services"]["web"] = project.service(stop_grace_period="8s")
    project.image("web", "one", start=_SLOW_STOP.replace("0.7", "6"))
    project.apply()
    project.image("web", "two", start=_SLOW_START)
    process = project.start("apply", "--yes", "--json")
    wait_for(process, "step_progress", phase="stopping")
    pressed = time.monotonic()
    process.send_signal(signal.SIGINT)
    wait_for(process, "step_skipped")
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert time.monotonic() - pressed < 4
    assert done.code == 130
    assert "without putting anything back" in done.finished["error"]
    assert "apply again" in done.stderr
    assert _serving(project) == set(_BOTH)
    _healed(project)


def test_ctrl_c_in_a_destroy(project: Project) -> None:
    """What is stopped comes back; once it is being deleted, that is said, and one more destroy ends it."""
    project.image("web", "one", start=_SLOW_STOP)
    project.apply()
    before = project.ids()
    process = project.start("destroy", "--yes", "--json")
    wait_for(process, "step_progress", phase="stopping")
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    assert done.finished["error"] == "interrupted; what ran before runs"
    assert project.ids() == before

    process = project.start("destroy", "--yes", "--json")
    wait_for(process, "step_progress", phase="removing")
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 130
    assert done.finished["error"] == "interrupted while cleaning up; nothing is put back"
    assert not any("unchanged" in line for line in done.finished["context"])
    project.change("destroy")
    assert project.containers(everything=True) == {}


def test_somebody_else_is_at_it(changed: Project) -> None:
    """A second run is told who, since when and why; once the first is killed it gets through at once."""
    changed.image("web", "two", start=_SLOW_START.replace("sleep 1", "sleep 4"))
    first = changed.start("apply", "--yes", "--json")
    wait_for(first, "step_progress", phase="checking")
    second = changed.apply(code=4)
    told = second.finished["error"]
    assert re.fullmatch(
        r"\S+@\S+ holds the lease on web-1 for apply \(r2\), taken \d+ seconds? ago \([0-9 :-]+ UTC\)", told
    )
    assert told in second.stderr
    assert "wait until that run ends" in second.stderr
    assert not second.named("step_started")
    looked = changed.look("status")
    assert "apply" in json.dumps(looked)

    first.kill()
    finish(first)
    changed.image("web", "two", start=_SLOW_START)
    _healed(changed)
