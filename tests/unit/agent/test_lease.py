"""One holder, takeover after death, fencing by the epoch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.agent.handler import Refusal
from orchestrator.agent.lease import Leases, epoch_of, holder_of
from orchestrator.agent.paths import Paths
from orchestrator.protocol.messages import Acquire

REPOSITORY = Path(__file__).parents[3]
HOLDER = """
import sys
from pathlib import Path
from orchestrator.agent.lease import Leases
from orchestrator.agent.paths import Paths
from orchestrator.protocol.messages import Acquire
leases = Leases(Paths(Path(sys.argv[1])))
leases.acquire(Acquire("shop", int(sys.argv[2]), "ann@ci", "apply", "r7"), lambda: "s")
print("held", flush=True)
sys.stdin.read()
"""


def request(epoch: int, state: str = "") -> Acquire:
    """Ask for the lease."""
    return Acquire("shop", epoch, "bob@laptop", "apply", "r8", state)


@pytest.fixture
def paths(tmp_path):
    """A state directory."""
    return Paths(tmp_path / "state")


@pytest.fixture
def leases(paths):
    """One session's leases."""
    found = Leases(paths)
    yield found
    found.close()


@pytest.fixture
def other(paths):
    """Another process that holds the lease under epoch 5."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(paths.root), "5"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def code(function, *args) -> str:
    """Return the code that ``function`` refuses with."""
    with pytest.raises(Refusal) as refused:
        function(*args)
    return refused.value.failure.code


def test_a_held_lease_says_by_whom(leases, other, paths):
    """Owner, reason and release are readable for those who have to wait."""
    with pytest.raises(Refusal) as refused:
        leases.acquire(request(6), lambda: "")
    failure = refused.value.failure
    assert failure.code == "lease-held"
    assert failure.lease.owner == "ann@ci"
    assert (failure.lease.release, failure.lease.epoch) == ("r7", 5)
    assert "ann@ci" in failure.message
    assert holder_of(paths.project("shop")).owner == "ann@ci"
    # Seen, but not shaken.
    assert code(leases.acquire, request(7), lambda: "") == "lease-held"


def test_death_frees_the_lease(leases, other, paths):
    """Whatever killed the holder, the next one gets it at once, and its epoch is what fences."""
    other.kill()
    other.wait()
    assert holder_of(paths.project("shop")) is None
    assert code(leases.acquire, request(5), lambda: "") == "stale-epoch"
    assert leases.acquire(request(6), lambda: "") == 6


def test_the_epoch_is_persisted_before_anything_can_be_done(leases, paths):
    """A later session knows of it, whatever becomes of this one."""
    assert epoch_of(paths.project("shop")) == 0
    leases.acquire(request(3), lambda: "")
    assert epoch_of(paths.project("shop")) == 3
    leases.release("shop", 3)
    for epoch in (0, 1, 3):
        assert code(leases.acquire, request(epoch), lambda: "") == "stale-epoch"


def test_a_changed_host_gives_no_lease(leases, paths):
    """The plan was made from something else; the lock is free again and no epoch is spent."""
    assert code(leases.acquire, request(3, "planned"), lambda: "now") == "state-changed"
    assert epoch_of(paths.project("shop")) == 0
    assert holder_of(paths.project("shop")) is None
    assert leases.acquire(request(3, "now"), lambda: "now") == 3


def test_only_the_holder_with_its_epoch_may_change_anything(leases):
    """No lease, a lower epoch and a higher one are all refused."""

    def use(project: str, epoch: int) -> None:
        with leases.use(project, epoch):
            pass

    assert code(use, "shop", 3) == "no-lease"
    leases.acquire(request(3), lambda: "")
    use("shop", 3)
    assert code(use, "shop", 2) == "stale-epoch"
    assert code(use, "shop", 4) == "stale-epoch"
    assert code(use, "other", 3) == "no-lease"
    leases.release("shop", 3)
    assert code(use, "shop", 3) == "no-lease"


def test_a_lease_in_use_is_not_given_back(leases):
    """Nobody else gets it while a change is still under way."""
    leases.acquire(request(3), lambda: "")
    with leases.use("shop", 3):
        assert code(leases.release, "shop", 3) == "bad-request"
    leases.release("shop", 3)


def test_a_damaged_epoch_is_not_guessed(leases, paths):
    """A guess could let a superseded run in."""
    leases.acquire(request(3), lambda: "")
    leases.release("shop", 3)
    paths.project("shop").epoch.write_text("?")
    assert code(leases.acquire, request(4), lambda: "") == "internal"


def test_two_projects_do_not_wait_for_each_other(leases, other):
    """The lease is the project's, not the host's."""
    assert leases.acquire(Acquire("blog", 1, "bob", "apply", "r1"), lambda: "") == 1


def test_a_project_name_is_no_path(leases):
    """Refused before anything is made."""
    with pytest.raises(ValueError, match="cannot use"):
        leases.acquire(Acquire("../../etc", 1, "bob", "apply", "r1"), lambda: "")
