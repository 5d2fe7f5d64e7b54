"""Hosts that fail in the middle of a run: agents, networks, engines and disks that give way.

Whatever happens, what ran before goes on until the new one is proven, the run says which host is in
which state, and one more apply makes everything right.
"""

from __future__ import annotations

import signal
import time

import pytest
from support.deploying import NOWHERE, Project, finish, wait_for

from orchestrator.lab import Lab

_SERVE = "httpd -f -p 8080 -h /srv & wait"
_SLOW_START = f"trap 'exit 0' TERM\nsleep 2\n{_SERVE}"
_BOTH = ("web[1]", "web[2]")


@pytest.fixture
def changed(project: Project) -> Project:
    """Page ``one`` runs on two hosts; page ``two`` takes two seconds to start."""
    project.apply()
    project.image("web", "two", start=_SLOW_START)
    return project


def _healed(project: Project) -> None:
    """One more apply, and everything is as wanted."""
    project.apply()
    assert [project.page(name) for name in project.containers()] == ["two"] * len(project.containers())
    assert len(project.containers()) == len(_BOTH)
    assert project.apply(DOCKER_HOST=NOWHERE).changes == {}


def _kill_agents(lab: Lab, host: str) -> None:
    """Kill -9 every agent on a host."""
    lab.run(
        host, ["sh", "-c", "grep -la 'agent-[0-9a-f]' /proc/[0-9]*/cmdline | cut -d/ -f3 | xargs kill -9"]
    )


def test_agent_killed(changed: Project) -> None:
    """A session lost in the middle: the host is reached anew, and put back with the others."""
    before = changed.ids()
    process = changed.start("apply", "--yes", "--json")
    wait_for(process, "step_progress", phase="checking", host="web-2")
    _kill_agents(changed.lab, "web-2")
    done = finish(process)
    assert done.code == 3
    assert "web-2" in done.finished["error"]
    assert done.finished["context"] == [
        "web-1: restored: what ran before runs",
        "web-2: restored: what ran before runs",
    ]
    assert changed.ids() == before
    _healed(changed)


def test_network_cut_for_a_moment(changed: Project) -> None:
    """What is lost on the way is sent again: the run goes on as if nothing had been."""
    process = changed.start("apply", "--yes", "--json")
    wait_for(process, "step_progress", phase="checking", host="web-2")
    changed.lab.cut("web-2")
    try:
        time.sleep(3)  # longer than the start takes
    finally:
        changed.lab.heal("web-2")
    assert finish(process).code == 0
    assert [changed.page(name) for name in _BOTH] == ["two", "two"]


def test_network_cut_for_good(changed: Project) -> None:
    """The others are put back, the host that is gone is named with what it may have done."""
    before = changed.ids()
    process = changed.start("apply", "--yes", "--json")
    wait_for(process, "step_progress", phase="checking", host="web-2")
    changed.lab.cut("web-2")
    try:
        done = finish(process, timeout=90)
    finally:
        changed.lab.heal("web-2")
    assert done.code == 6
    one, two = done.finished["context"]
    assert one == "web-1: restored: what ran before runs"
    assert two.startswith("web-2: unknown: no sign of life for 20 seconds; what it did or may have done: ")
    assert "start web[2]" in two
    assert "apply again" in done.finished["hint"]
    assert changed.containers()["web[1]"].id == before["web[1]"]
    _healed(changed)


def test_host_down_before(changed: Project) -> None:
    """It is planned around as long as nothing on it changes; else nothing is begun anywhere."""
    changed.lab.stop("db-1")
    try:
        done = changed.apply()
        assert [failed["host"] for failed in done.named("host_failed")] == ["db-1"]
        changed.spec["services"]["cache"] = changed.service(hosts=["db"])
        refused = changed.apply(code=5)
    finally:
        changed.lab.start("db-1")
    assert "db-1" in refused.finished["error"]
    assert "cache[1]" in refused.finished["error"] + "".join(refused.finished["context"])
    assert refused.finished["hint"]
    assert not refused.named("step_started")
    assert not refused.named("build_started")
    assert [changed.page(name) for name in _BOTH] == ["two", "two"]
    changed.apply()
    assert changed.containers()["cache[1]"].host == "db-1"


def test_ctrl_c_while_connecting(changed: Project) -> None:
    """Nobody waits for a host that does not answer."""
    changed.lab.cut("db-1")
    try:
        process = changed.start("apply", "--yes", "--json")
        wait_for(process, "host_connected", host="web-2")
        pressed = time.monotonic()
        process.send_signal(signal.SIGINT)
        done = finish(process)
        assert time.monotonic() - pressed < 3
    finally:
        changed.lab.heal("db-1")
    assert done.code == 130
    assert done.finished["error"] == "interrupted; nothing was changed"


def test_engine_dies_in_the_middle(changed: Project) -> None:
    """The start fails in words that name the engine; with the engine back, an apply heals."""
    process = changed.start("apply", "--yes", "--json")
    wait_for(process, "step_progress", phase="checking", host="web-2")
    changed.lab.kill_engine("web-2")
    done = finish(process)
    changed.lab.start_engine("web-2")
    assert done.code in (3, 6)
    assert "web-2" in done.finished["error"]
    assert changed.page("web[1]") == "one"
    _healed(changed)


def test_far_away(changed: Project) -> None:
    """A tenth of a second each way costs a few of them, not one for every step."""
    for host in changed.hosts:
        changed.lab.slow(host, 100)
    try:
        done = changed.apply()
        assert changed.apply(DOCKER_HOST=NOWHERE).changes == {}
    finally:
        for host in changed.hosts:
            changed.lab.fast(host)
    assert max(done.finished["round_trips"].values()) <= 5
    assert [changed.page(name) for name in _BOTH] == ["two", "two"]
