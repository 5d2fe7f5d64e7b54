"""Starting the agent by one command, and every way in which a host may not be ready."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bundles import tiny_bundle

from orchestrator.errors import HostNotReady, HostUnreachable
from orchestrator.protocol.messages import Exec, Exited, Observe
from orchestrator.remote import local
from orchestrator.remote.bootstrap import MAX_NOISE, Started, command, start_agent
from orchestrator.remote.bundle import Bundle
from orchestrator.remote.local import ProcessTransport

TIMEOUT = 20


class Machine:
    """This machine as a host: its own state directory, PATH and login shell."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.provide("python3", f'exec {sys.executable} "$@"')
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder)}
        self.prefix = ""
        self.commands: list[str] = []
        self._started: list[Started] = []

    def provide(self, name: str, script: str) -> None:
        """Put a command in front of all others."""
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, text: str) -> ProcessTransport:
        """Run a command as the login shell would."""
        self.commands.append(text)
        return ProcessTransport(self.prefix + text, self.env)

    def start(self, bundle: Bundle, **options: object) -> Started:
        """Start the agent of ``bundle``."""
        started = start_agent("web-1", self.run, bundle, root=str(self.root), **options)
        self._started.append(started)
        return started

    def bundles(self) -> set[str]:
        """Return the digests of the installed bundles."""
        return {path.stem.removeprefix("agent-") for path in self.root.glob("agent-*.pyz")}

    def close(self) -> None:
        """End all agents."""
        for started in self._started:
            started.session.close()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine whose agents end with the test."""
    monkeypatch.setattr(local, "GRACE", 0.2)
    machine = Machine(tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Bundle]:
    """Make bundles."""
    return lambda version=1, change=("", ""): tiny_bundle(tmp_path, version=version, change=change)


def test_a_missing_agent_is_shipped_through_the_same_stream(machine: Machine, make: Callable) -> None:
    """One command, and the next start finds it there."""
    bundle = make()
    first = machine.start(bundle)
    assert first.shipped
    assert first.session.hello.agent == bundle.sha256
    assert first.session.request(Observe("shop")).result(TIMEOUT).epoch == 1
    assert first.session.bytes_sent > 1000
    second = machine.start(bundle)
    assert not second.shipped
    assert second.session.bytes_sent == 0
    assert len(machine.commands) == 2


def test_nothing_is_installed_before_leave_is_given(machine: Machine, make: Callable) -> None:
    """An agent that is there starts without; a missing one waits for it, and leaves no trace before."""
    bundle, asked = make(), []

    def leave() -> None:
        asked.append(machine.root.exists())

    assert machine.start(bundle, leave=leave).shipped
    assert asked == [False]
    assert not machine.start(bundle, leave=leave).shipped
    assert asked == [False]


def test_what_is_installed_is_private_and_durable(machine: Machine, make: Callable) -> None:
    """Nobody else reads or writes the agent; its bytecode lies beside it."""
    bundle = make()
    machine.start(bundle)
    assert machine.root.stat().st_mode & 0o777 == 0o700
    files = {path.name: path.stat().st_mode & 0o777 for path in machine.root.iterdir()}
    tag = sys.implementation.cache_tag
    assert files == {f"agent-{bundle.sha256}.pyz": 0o600, f"agent-{bundle.sha256}.{tag}.zip": 0o600}


def test_another_version_ships_itself_and_old_ones_go(machine: Machine, make: Callable) -> None:
    """The newest two stay, and those that a session still runs from."""
    bundles = [make(version) for version in range(5)]
    first = machine.start(bundles[0])
    os.utime(machine.root / f"agent-{bundles[0].sha256}.pyz", (1, 1))
    for age, bundle in enumerate(bundles[1:]):
        started = machine.start(bundle)
        assert started.shipped
        started.session.close()
        os.utime(machine.root / f"agent-{bundle.sha256}.pyz", (1000 + age, 1000 + age))
    assert machine.bundles() == {bundles[0].sha256, bundles[3].sha256, bundles[4].sha256}
    assert first.session.request(Observe("shop")).result(TIMEOUT)


@pytest.mark.parametrize("content", [b"", b"PK damaged", None], ids=["empty", "damaged", "other agent"])
def test_a_wrong_agent_under_the_right_name_is_replaced(
    machine: Machine, make: Callable, content: bytes | None
) -> None:
    """A name proves nothing: what does not start, or is another, is shipped again."""
    bundle = make(1)
    machine.root.mkdir()
    path = machine.root / f"agent-{bundle.sha256}.pyz"
    path.write_bytes(make(2).data if content is None else content)
    started = machine.start(bundle)
    assert started.shipped
    assert started.session.hello.agent == bundle.sha256
    assert path.read_bytes() == bundle.data


def test_an_agent_that_lies_about_itself_is_not_used(machine: Machine, make: Callable) -> None:
    """Even a fresh copy says it is something else."""
    bundle = make(change=("hashlib.sha256(Path(sys.argv[0]).read_bytes()).hexdigest()", "'f' * 64"))
    with pytest.raises(HostNotReady, match="not the one that was sent"):
        machine.start(bundle)


def test_noise_before_the_preface_is_skipped(machine: Machine, make: Callable) -> None:
    """A talkative shell start-up file does no harm, shipped or not."""
    machine.prefix = "echo 'Welcome to web-1'; printf 'last login: \\000today\\n'; "
    for _ in range(2):
        assert machine.start(make()).session.request(Observe("shop")).result(TIMEOUT)


def test_endless_noise_is_not_read_for_ever(machine: Machine, make: Callable) -> None:
    """Beyond a bound it is shown instead."""
    machine.prefix = f"head -c {MAX_NOISE * 2} /dev/zero | tr '\\000' 'x'; sleep 60; "
    with pytest.raises(HostNotReady, match="printed too much") as caught:
        machine.start(make())
    assert caught.value.context[0].startswith("xxx")
    assert sum(map(len, caught.value.context)) < 20_000


def test_no_python(machine: Machine, make: Callable) -> None:
    """The message says what to install, and where."""
    (machine.bin / "python3").unlink()
    for name in ("id", "sh"):
        (machine.bin / name).symlink_to(f"/usr/bin/{name}")
    machine.env["PATH"] = str(machine.bin)
    with pytest.raises(HostNotReady, match="web-1: cannot start the agent: there is no python3") as caught:
        machine.start(make())
    assert "playbooks/bootstrap.yaml --limit web-1`" in str(caught.value.hint)
    assert "by hand: `apt-get install python3`" in str(caught.value.hint)


def test_an_old_python(machine: Machine, make: Callable) -> None:
    """Found by the loader before anything is sent."""
    with pytest.raises(HostNotReady, match=r"older than 3\.9"):
        start_with(machine, make(), "import sys; sys.version_info = (3, 8, 10)")
    assert not machine.root.exists()


def start_with(machine: Machine, bundle: Bundle, first: str) -> Started:
    """Start the agent on a machine whose loader begins with a statement of the test's own."""

    def run(text: str) -> ProcessTransport:
        return machine.run(text.replace("import base64", f"{first}; import base64"))

    return start_agent("web-1", run, bundle, root=str(machine.root))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_no_permission(machine: Machine, make: Callable, tmp_path: Path) -> None:
    """A directory that belongs to somebody else is not used, and the hint says how to become root."""
    machine.root.mkdir()
    os.chown(machine.root, 12345, 12345)
    with pytest.raises(HostNotReady, match="may not write") as caught:
        machine.start(make())
    assert "ansible_become" in str(caught.value.hint)
    assert any("another user" in line for line in caught.value.context)


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "may not write")]
)
def test_a_disk_that_takes_nothing(machine: Machine, make: Callable, number: int, message: str) -> None:
    """Told from everything else by its number, before anything is sent."""
    fail = f"lambda *a, **k: (_ for _ in ()).throw(OSError({number}, str(7)))"
    with pytest.raises(HostNotReady, match=message):
        start_with(machine, make(), f"import pathlib; pathlib.Path.mkdir = {fail}")


@pytest.mark.parametrize(
    ("status", "message"),
    [(1, "sudo would ask for a password"), (127, "there is no sudo"), (9, "ended with status 9")],
)
def test_sudo_that_does_not_work(machine: Machine, make: Callable, status: int, message: str) -> None:
    """Decided by the exit status; what sudo said is shown."""
    machine.provide("sudo", f"echo 'sudo: \x1b[1mno\x1b[0m' >&2; exit {status}")
    with pytest.raises(HostNotReady, match=message) as caught:
        machine.start(make(), become=True)
    assert caught.value.context == ("sudo:  [1mno [0m",)


def test_sudo_that_works(machine: Machine, make: Callable) -> None:
    """The same command, behind ``sudo -n --``."""
    machine.provide("sudo", 'test "$1 $2" = "-n --" || exit 1; shift 2; exec "$@"')
    assert machine.start(make(), become=True).session.hello.uid == os.getuid()


def test_a_host_that_does_not_answer(machine: Machine, make: Callable) -> None:
    """Starting has a limit."""
    machine.prefix = "sleep 60; "
    with pytest.raises(HostUnreachable, match="did not start within"):
        machine.start(make(), timeout=0.1)


def test_the_default_directory_is_the_users(machine: Machine, make: Callable, tmp_path: Path) -> None:
    """Without a root the script chooses, by who runs it; it asks ``id``, not the environment."""
    machine.provide("id", "echo 1000")
    started = start_agent("web-1", machine.run, make())
    started.session.close()
    assert started.session.hello.root == str(tmp_path / ".local/share/deploy")


def test_every_word_of_the_command_is_quoted(tmp_path: Path) -> None:
    """A root with anything in it stays one word, and there is no line break for a shell to stumble on."""
    root = "/srv/a b'; touch $(pwd)/pwned; #"
    text = command(Bundle(b"", "0" * 64), root=root)
    assert "\n" not in text
    assert "!" not in text
    shown = text.replace("exec /bin/sh -c", "printf '%s\\n'", 1)
    words = subprocess.run(["sh", "-c", shown], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert root in words.stdout.splitlines()
    assert not (tmp_path / "pwned").exists()


def test_bodies_pass_over_pipes(machine: Machine, make: Callable) -> None:
    """Several megabytes through a real process and back."""
    call = machine.start(make()).session.request(Exec("shop", "c", ("cat",)))
    data = os.urandom(1024) * 3000
    call.send_body(data)
    call.end_body()
    assert b"".join(call.body()) == data
    assert call.result(TIMEOUT) == Exited(0)


def test_an_agent_that_dies_shows_its_last_words(machine: Machine, make: Callable) -> None:
    """What it wrote to stderr comes along, without what could harm a terminal."""
    session = machine.start(make()).session
    call = session.request(Exec("shop", "c", ("cat",)))
    os.kill(session.hello.pid, 9)
    with pytest.raises(HostUnreachable) as caught:
        call.result(TIMEOUT)
    assert caught.value.context == ("tiny agent  [31mruns",)
