"""Real agent processes: their greeting, their lease, their end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.agent_process import REPOSITORY, AgentProcess
from support.agent_world import HTTP, HTTPD, PROJECT, SLEEP
from support.fake_engine import FakeEngine

from orchestrator.protocol.connection import Cancel, Data, EndOfData, Ping, Pong
from orchestrator.protocol.instance import Healthcheck, InstanceConfig
from orchestrator.protocol.messages import (
    METHODS,
    PROTOCOL_VERSION,
    Acquire,
    Acquired,
    Commit,
    Done,
    Exec,
    HostReport,
    Maintain,
    Observe,
    Operation,
    Perform,
    Performed,
    ReleaseLease,
    ReleaseRecord,
    RemoteFailure,
)


@pytest.fixture
def fake():
    """A fake engine."""
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def root(tmp_path):
    """A state directory."""
    return str(tmp_path / "state")


@pytest.fixture
def agent(fake, root):
    """An agent that has greeted."""
    with AgentProcess("serve", "--root", root, "--socket", fake.socket_path) as process:
        yield process


def acquire(epoch: int = 1, state: str = "") -> Acquire:
    """Ask for the lease."""
    return Acquire(PROJECT, epoch, "me@here", "apply", "r1", state)


def start(image: str, **changes) -> Perform:
    """Ask for one instance."""
    values = {"command": HTTPD, "healthcheck": HTTP, **changes}
    config = InstanceConfig(project=PROJECT, service="api", image=image, **values)
    return Perform(PROJECT, 1, (Operation(0, "start", (), "api", 1, "r1", config),))


def test_the_greeting_says_what_the_host_is(agent, root):
    """Protocol, engine, state directory: enough to plan, or to say what is missing."""
    hello = agent.hello
    assert hello.protocol == PROTOCOL_VERSION
    assert hello.root == root
    assert hello.engine.name == "docker"
    assert hello.engine.image_store == "classic"
    assert hello.engine.api == "1.43"
    assert hello.uid == os.getuid()
    assert abs(hello.clock - time.time()) < 60


def test_a_whole_apply(agent, fake):
    """Observe, acquire, perform, commit, release: as a controller does it, in five requests."""
    image = fake.host.add_image()
    report = agent.ask(Observe(PROJECT))
    assert isinstance(report, HostReport)
    assert agent.ask(acquire(report.epoch + 1, report.state)) == Acquired(1)
    stream = agent.request(start(image))
    progress: list = []
    performed = agent.answer(stream, progress)
    assert performed["outcomes"][0]["phase"] == "done"
    assert progress[0]["phase"] == "creating"
    assert agent.ask(Commit(PROJECT, 1, ReleaseRecord("r1", 0.0, "me", "x"))) == Done()
    assert agent.ask(ReleaseLease(PROJECT, 1)) == Done()
    after = agent.ask(Observe(PROJECT))
    assert after.containers[0].health == "healthy"
    assert [record.id for record in after.releases] == ["r1"]
    assert after.lease is None


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.needs_lease])
def test_nothing_is_changed_without_a_lease(agent, name):
    """Every method that needs the lease is refused without it."""
    params = {
        "release": ReleaseLease(PROJECT, 1),
        "perform": Perform(PROJECT, 1, ()),
        "commit": Commit(PROJECT, 1, ReleaseRecord("r1", 0.0, "me", "x")),
        "maintain": Maintain(PROJECT, 1, "site", on=True),
    }
    asked = params.get(name)
    stream = (
        agent.request(asked)
        if asked
        else agent.request(
            {"project": PROJECT, "epoch": 1, "image": f"sha256:{'a' * 64}", "config": "{}", "tag": ""}, name
        )
    )
    failure = agent.answer(stream)
    assert isinstance(failure, RemoteFailure)
    assert failure.code == "no-lease"


def test_the_lease_ends_with_the_session(agent, fake, root):
    """A killed controller closes the pipe: the next one gets the lease at once."""
    agent.ask(acquire())
    with AgentProcess("serve", "--root", root, "--socket", fake.socket_path) as other:
        held = other.ask(acquire(2))
        assert held.code == "lease-held"
        assert held.lease.owner == "me@here"
        assert other.ask(Observe(PROJECT)).lease.owner == "me@here"
        agent.process.stdin.close()
        assert agent.process.wait(10) == 0
        assert other.ask(acquire(1)).code == "stale-epoch"
        assert other.ask(acquire(2)) == Acquired(2)


def test_the_end_of_the_session_stops_work_at_once(agent, fake):
    """Even in the middle of a start: what is left is what the next run adopts or removes."""
    image = fake.host.add_image()
    agent.ask(acquire())
    never = Healthcheck(type="tcp", port=9, interval=0.05, deadline=60.0)
    agent.request(start(image, command=SLEEP, healthcheck=never))
    while getattr(agent.next(), "payload", {}).get("phase") != "checking":
        pass
    agent.process.stdin.close()
    started = time.monotonic()
    agent.process.wait(10)
    assert time.monotonic() - started < 5
    assert len(fake.host.containers) == 1


def test_a_silent_controller_counts_as_gone(fake, root):
    """No ping for too long: the process ends and the lease is free."""
    arguments = ("serve", "--root", root, "--socket", fake.socket_path)
    with AgentProcess(*arguments, silence_limit=0.3) as agent:
        agent.ask(acquire())
        assert agent.process.wait(10) == 0
        assert "no sign of life" in agent.errors()


def test_a_ping_is_answered(agent):
    """Signs of life go both ways."""
    agent.send(Ping())
    assert isinstance(agent.next(), Pong)


def test_a_cancelled_perform_is_undone_and_answered(agent, fake):
    """The answer comes, says ``cancelled``, and nothing is left."""
    image = fake.host.add_image()
    agent.ask(acquire())
    never = Healthcheck(type="tcp", port=9, interval=0.05, deadline=60.0)
    stream = agent.request(start(image, command=SLEEP, healthcheck=never))
    while getattr(agent.next(), "payload", {}).get("phase") != "checking":
        pass
    agent.send(Cancel(stream))
    outcome = agent.answer(stream)["outcomes"][0]
    assert outcome["failure"]["code"] == "cancelled"
    assert fake.host.containers == {}


def test_a_body_larger_than_a_window_goes_through_and_back(agent, fake):
    """Credit flows in both directions while a command copies its input to its output."""
    image = fake.host.add_image()
    agent.ask(acquire())
    agent.answer(agent.request(start(image)))
    (container,) = fake.host.containers
    stream = agent.request(Exec(PROJECT, container, ("/bin/busybox", "cat")))
    sent, body = b"0123456789abcdef" * 8192, []
    for _ in range(24):
        agent.send(Data(stream, sent))
    agent.send(EndOfData(stream))
    assert agent.answer(stream, body=body) == {"exit_code": 0}
    assert b"".join(body) == sent * 24


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("no-such-method", {}),
        ("observe", {}),
        ("observe", {"project": 7}),
        ("observe", {"project": "shop", "more": 1}),
        ("observe", {"project": "../../etc"}),
        ("observe", None),
        ("acquire", {"project": "a/b", "epoch": 1, "owner": "", "reason": "", "release": ""}),
        ("logs", {"project": "shop", "container": "../../containers"}),
    ],
)
def test_wrong_requests_are_refused_and_the_session_goes_on(agent, method, params):
    """A stable code, one request, and no more than that."""
    failure = agent.answer(agent.request(params, method))
    assert failure.code == "bad-request"
    assert isinstance(agent.ask(Observe(PROJECT)), HostReport)


def test_a_violation_of_the_protocol_ends_the_process(agent):
    """Nothing that broke the protocol is served any further."""
    agent.send_raw(b"\xff" * 9)
    assert agent.process.wait(10) == 76


def test_without_an_engine_the_agent_still_answers(root, tmp_path):
    """It says why, and refuses what needs one."""
    with AgentProcess("serve", "--root", root, "--socket", str(tmp_path / "nothing.sock")) as agent:
        assert agent.hello.engine is None
        assert "cannot find a container engine" in agent.hello.engine_error
        failure = agent.ask(Observe(PROJECT))
        assert failure.code == "no-engine"
        assert "playbooks/bootstrap.yaml --limit" in failure.hint
        assert "apt-get install docker.io" in failure.hint


def test_an_engine_that_goes_away_is_an_answer(agent, fake):
    """Not a dead session."""
    fake.fail("GET", "/containers/json", status=500, message="out of luck")
    failure = agent.ask(Observe(PROJECT))
    assert (failure.code, failure.message) == ("engine", "out of luck")
    assert isinstance(agent.ask(Observe(PROJECT)), HostReport)


def test_a_full_disk_has_a_code_of_its_own(agent, fake):
    """``no-space`` is what the user can do something about."""
    image = fake.host.add_image()
    agent.ask(acquire())
    fake.fail("POST", "/containers/create", message="mkdir /var/lib/x: no space left on device")
    outcome = agent.answer(agent.request(start(image)))["outcomes"][0]
    assert outcome["failure"]["code"] == "no-space"


STRAY = """
import os, sys
sys.path.insert(0, sys.argv[1])
from orchestrator.agent.serve import _claim_streams
incoming, outgoing = _claim_streams()
print("stray", flush=True)
os.write(outgoing, b"frame")
print(os.read(0, 10))
"""


def test_what_prints_does_not_reach_the_frames():
    """Stdout is for frames alone, and stdin is not for whoever reads it by chance."""
    words = [sys.executable, "-I", "-c", STRAY, str(REPOSITORY)]
    done = subprocess.run(words, input=b"for the controller", capture_output=True, check=True)
    assert done.stdout == b"frame"
    assert done.stderr == b"stray\nb''\n"


@pytest.mark.parametrize(
    "words", [[], ["observe"], ["serve", "--root"], ["serve", "--x", "y"], ["serve", "rm -rf"]]
)
def test_only_serve_is_understood(words):
    """A forced command cannot be talked into anything else."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from orchestrator.agent import __main__ as m; "
    code += "sys.exit(m.main())"
    environment = {**os.environ, "SSH_ORIGINAL_COMMAND": "cat /etc/shadow"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(REPOSITORY), *words],
        capture_output=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 64
    assert b"usage" in done.stderr


def test_it_dies_of_sigterm(agent):
    """A shutdown of the host does not wait for us."""
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(10) == -signal.SIGTERM


def _old_python() -> str:
    """Return a python 3.9, if there is one."""
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob("3.9.*/bin/python3"))
    return str(pyenv[-1]) if pyenv else shutil.which("python3.9") or ""


@pytest.mark.skipif(not _old_python(), reason="there is no python 3.9 here")
def test_python_39_is_enough(fake, root):
    """Hosts are older than the operator's machine."""
    image = fake.host.add_image()
    with AgentProcess("serve", "--root", root, "--socket", fake.socket_path, python=_old_python()) as agent:
        assert agent.hello.python.startswith("3.9.")
        assert agent.ask(acquire()) == Acquired(1)
        answer = agent.ask(start(image))
        assert isinstance(answer, Performed)
        assert answer.outcomes[0].failure is None, json.dumps(answer.outcomes[0].failure.__dict__)
        assert agent.ask(Observe(PROJECT)).containers[0].health == "healthy"
