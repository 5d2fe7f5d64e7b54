"""SSH connections against a server in this process: trust, keys, drops, jumps, and whole sessions."""

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest
from support.bundles import tiny_bundle
from support.ssh_server import SshServer, new_key, write_key

from orchestrator.errors import AuthenticationFailed, HostError, HostKeyError, HostUnreachable
from orchestrator.events import HostConnected, HostConnecting, HostFailed
from orchestrator.protocol.messages import Exec, Exited, Observe
from orchestrator.remote import ssh
from orchestrator.remote.bundle import Bundle
from orchestrator.remote.fleet import SshFleet
from orchestrator.remote.known_hosts import fingerprint
from orchestrator.remote.ssh import Connector
from orchestrator.remote.ssh_config import SshConfig
from orchestrator.spec.inventory_types import Host

TIMEOUT = 20


@dataclasses.dataclass
class World:
    """A user with a key and a server that accepts it."""

    folder: Path
    user_key: paramiko.PKey
    server: SshServer
    known_hosts: Path
    closing: list[Callable[[], None]]

    def host(self, name: str = "web-1", **changes: object) -> Host:
        """Return the server as a host of the inventory."""
        values = {
            "address": "127.0.0.1",
            "port": self.server.port,
            "user": "deploy",
            "identity_files": (str(self.folder / "id"),),
            "options": (("UserKnownHostsFile", str(self.known_hosts)), ("IdentityAgent", "none")),
            "vars": {"deploy_root": str(self.folder / "root")},
        }
        return Host(name, **{**values, **changes})

    def connect(self, host: Host | None = None, config: str = "") -> ssh.SshConnection:
        """Connect as the fleet would."""
        connector = Connector()
        self.closing.append(connector.close)
        connection = connector.connect(self.config(config).target(host or self.host()))
        self.closing.append(connection.close)
        return connection

    def config(self, text: str = "") -> SshConfig:
        """Return an OpenSSH configuration of ``text``."""
        path = self.folder / "ssh_config"
        path.write_text(text)
        return SshConfig([path])

    def add_server(self, **options: object) -> SshServer:
        """Start another server; it accepts the user."""
        server = SshServer(new_key(), (self.user_key,), self.server.env, **options)
        self.closing.append(server.close)
        return server


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A user and a server that know each other."""
    monkeypatch.setattr(ssh, "_BACKOFF", 0.001)
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    env = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    user_key = new_key()
    write_key(tmp_path / "id", user_key)
    server = SshServer(new_key(), (user_key,), env)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("# keys\n" + server.known_hosts_line())
    world = World(tmp_path, user_key, server, known_hosts, [server.close])
    yield world
    for close in reversed(world.closing):
        close()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """The tiny agent."""
    return tiny_bundle(tmp_path)


# --- who the host is ------------------------------------------------------------------------------


def test_an_unknown_host_key_is_shown_and_not_trusted(world: World) -> None:
    """The hint is the exact command, after the advice to compare the fingerprint that is shown."""
    world.known_hosts.write_text("")
    with pytest.raises(HostKeyError, match="unknown host key") as caught:
        world.connect()
    shown = fingerprint(world.server.host_key.asbytes())
    assert shown in caught.value.message
    command = f"ssh-keyscan -p {world.server.port} 127.0.0.1 >> {world.known_hosts}"
    assert command in str(caught.value.hint)
    assert world.server.tried == [], "no key is offered to a stranger"


@pytest.mark.parametrize("other", [paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)])
def test_a_changed_host_key_names_the_line_of_the_old_one(world: World, other: paramiko.PKey) -> None:
    """Also when the new key is of another type than the one on record."""
    name = f"[127.0.0.1]:{world.server.port}"
    world.known_hosts.write_text(f"# keys\n\n{name} {other.get_name()} {other.get_base64()}\n")
    with pytest.raises(HostKeyError, match=f"not the one in {world.known_hosts}:3") as caught:
        world.connect()
    assert any(fingerprint(other.asbytes()) in line for line in caught.value.context)
    assert fingerprint(world.server.host_key.asbytes()) in caught.value.context[-1]


def test_a_revoked_key_is_refused(world: World) -> None:
    """Even when it is on record as good as well."""
    line = world.server.known_hosts_line()
    world.known_hosts.write_text(f"{line}@revoked {line}")
    with pytest.raises(HostKeyError, match=r"revoked .*:2"):
        world.connect()


def test_only_key_types_on_record_are_asked_for(world: World) -> None:
    """A host with several keys shows the one that is known, not the one it likes best."""
    rsa = paramiko.RSAKey.generate(2048)
    world.server.host_key = rsa
    ecdsa = new_key()
    server = world.add_server()
    server.host_key = rsa
    name = f"[127.0.0.1]:{server.port}"
    for key in (rsa, ecdsa):
        server.host_key = key
        world.known_hosts.write_text(f"{name} {key.get_name()} {key.get_base64()}\n")
        world.connect(world.host(port=server.port))


def test_known_hosts_of_the_alias_count(world: World) -> None:
    """HostKeyAlias names the entry, whatever address is connected to."""
    world.known_hosts.write_text(world.server.known_hosts_line("the-alias"))
    world.connect(config="Host *\n  HostKeyAlias the-alias\n")


# --- who we are -----------------------------------------------------------------------------------


def test_a_refused_key(world: World) -> None:
    """Which keys were tried is in the context."""
    world.server.accepted.clear()
    with pytest.raises(AuthenticationFailed, match="refused the user 'deploy'") as caught:
        world.connect()
    assert caught.value.context == (f"refused: {world.folder / 'id'}",)


def test_a_refused_user(world: World) -> None:
    """The message names the user."""
    with pytest.raises(AuthenticationFailed, match="'somebody'"):
        world.connect(world.host(user="somebody"))


def test_a_server_that_takes_no_keys(world: World) -> None:
    """Passwords are never asked for; the message says what the server wants instead."""
    world.server.methods = "password"
    world.server.accepted.clear()
    with pytest.raises(AuthenticationFailed, match="only password"):
        world.connect()


def test_a_missing_identity_file(world: World) -> None:
    """Nothing to try is another message than everything refused."""
    with pytest.raises(AuthenticationFailed, match="no key to log in with") as caught:
        world.connect(world.host(identity_files=("/nonexistent/id",)))
    assert caught.value.context == ("/nonexistent/id does not exist",)


def test_an_encrypted_identity_file(world: World) -> None:
    """It is not asked for, the agent is named."""
    write_key(world.folder / "locked", new_key(), password="secret")
    with pytest.raises(AuthenticationFailed) as caught:
        world.connect(world.host(identity_files=(str(world.folder / "locked"),)))
    path = world.folder / "locked"
    assert caught.value.context == (f"{path} needs a passphrase: load it by `ssh-add {path}`",)
    assert "ssh-agent" in str(caught.value.hint)


def test_what_is_no_key_at_all(world: World) -> None:
    """A file that is not a key is a problem of that file alone."""
    (world.folder / "junk").write_text("junk")
    files = (str(world.folder / "junk"), str(world.folder / "id"))
    world.connect(world.host(identity_files=files))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[Path], str]]:
    """Start OpenSSH's own agent; call it with a key to load, and get its socket."""
    socket = tmp_path / "agent.sock"
    try:
        process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip("needs OpenSSH's ssh-agent")

    def add(key: Path) -> str:
        while not socket.exists():
            assert process.poll() is None
        env = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        subprocess.run(["ssh-add", "-q", key], env=env, check=True)
        return str(socket)

    yield add
    process.terminate()
    process.wait()


def test_the_ssh_agent_signs(world: World, agent: Callable[[Path], str]) -> None:
    """For many connections at once, also when a key file without passphrase does not exist."""
    options = (("UserKnownHostsFile", str(world.known_hosts)), ("IdentityAgent", agent(world.folder / "id")))
    host = world.host(identity_files=("/nonexistent",), options=options)
    connector, target = Connector(), world.config().target(host)
    with ThreadPoolExecutor(6) as pool:
        connections = list(pool.map(lambda _: connector.connect(target), range(6)))
    for connection in connections:
        connection.close()
    connector.close()


def test_identities_only_keeps_other_keys_to_ourselves(world: World, agent: Callable[[Path], str]) -> None:
    """Of the agent's keys only those whose public file is named; that one is tried without passphrase."""
    stranger = write_key(world.folder / "stranger", new_key())
    agent(stranger)
    socket = agent(world.folder / "id")
    locked = write_key(world.folder / "locked", world.user_key, password="secret")
    options = (
        ("UserKnownHostsFile", str(world.known_hosts)),
        ("IdentityAgent", socket),
        ("IdentitiesOnly", "yes"),
    )
    world.connect(world.host(identity_files=(str(locked),), options=options))
    assert {blob for _, blob in world.server.tried} == {world.user_key.asbytes()}


# --- the way there --------------------------------------------------------------------------------


def test_nobody_listens(world: World) -> None:
    """A refused connection is reported at once."""
    world.server.close()
    with pytest.raises(HostUnreachable, match=r"cannot connect to 127\.0\.0\.1 port .* refused"):
        world.connect()


def test_dropped_connections_are_tried_again(world: World) -> None:
    """An sshd beyond its MaxStartups closes before it greets: that is worth another try."""
    server = world.add_server(drop=3)
    world.known_hosts.write_text(server.known_hosts_line())
    world.connect(world.host(port=server.port))
    assert server.connections == 4


def test_dropped_connections_are_not_tried_for_ever(world: World) -> None:
    """After some tries the hint names MaxStartups."""
    server = world.add_server(drop=1000)
    with pytest.raises(HostUnreachable, match="dropped the connection 6 times") as caught:
        world.connect(world.host(port=server.port))
    assert "MaxStartups" in str(caught.value.hint)


def test_a_jump_host_is_used_and_shared(world: World) -> None:
    """Two hosts behind one jump host cost one connection to it."""
    jump = world.add_server()
    with world.known_hosts.open("a") as file:
        file.write(jump.known_hosts_line())
    config = world.config(
        f"Host bastion\n  HostName 127.0.0.1\n  Port {jump.port}\n  User deploy\n"
        f"  IdentityFile {world.folder / 'id'}\n  UserKnownHostsFile {world.known_hosts}\n"
        "  IdentityAgent none\n"
    )
    connector = Connector()
    world.closing.append(connector.close)
    for name in ("web-1", "web-2"):
        host = world.host(name)
        target = config.target(dataclasses.replace(host, options=(*host.options, ("ProxyJump", "bastion"))))
        world.closing.append(connector.connect(target).close)
    assert jump.connections == 1
    assert jump.forwarded == [("127.0.0.1", world.server.port)] * 2


def test_a_proxy_command_is_used(world: World) -> None:
    """Its output is the connection; tokens are the target's."""
    script = world.folder / "relay.py"
    script.write_text(
        "import os,socket,sys,threading\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n"
        "  while d:=os.read(0,65536): s.sendall(d)\n"
        "threading.Thread(target=up,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    command = f"{sys.executable} {script} %h %p"
    world.connect(config=f"Host *\n  ProxyCommand {command}\n")
    assert world.server.connections == 1


def test_no_more_sessions(world: World) -> None:
    """A server that opens no session is a host that cannot be used."""
    world.server.sessions = False
    with pytest.raises(HostUnreachable, match="cannot run a command") as caught:
        world.connect().run("true")
    assert "MaxSessions" in str(caught.value.hint)


def test_what_a_command_says_is_kept_for_people(world: World) -> None:
    """Exit status and stderr of a command over SSH."""
    transport = world.connect().run("echo oops >&2; exit 3")
    assert transport.recv(10, TIMEOUT) == b""
    assert transport.exit_status(TIMEOUT) == 3
    assert transport.last_words() == ("oops",)
    transport.close()


# --- whole sessions -------------------------------------------------------------------------------


def fleet(world: World, bundle: Bundle, *hosts: Host) -> tuple[SshFleet, list[object]]:
    """Return a fleet of ``hosts`` and the list of its events."""
    events: list[object] = []
    found = {host.name: host for host in hosts}
    result = SshFleet(found.get, events.append, bundle=lambda: bundle, config=world.config())
    world.closing.append(result.close)
    return result, events


def test_a_session_over_ssh(world: World, bundle: Bundle) -> None:
    """The agent is shipped, asked, and sent more than a window of data."""
    connected, events = fleet(world, bundle, world.host())
    session = connected.session("web-1")
    assert session is connected.session("web-1")
    assert session.request(Observe("shop")).result(TIMEOUT).epoch == 1
    call = session.request(Exec("shop", "c", ("cat",)))
    data = os.urandom(1 << 20) * 2
    call.send_body(data)
    call.end_body()
    assert b"".join(call.body()) == data
    assert call.result(TIMEOUT) == Exited(0)
    assert session.round_trips == 2
    assert session.bytes_sent > len(data)
    assert events[0] == HostConnecting("web-1")
    assert isinstance(events[1], HostConnected)
    assert events[1].shipped_agent
    assert len(world.server.commands) == 1, "one command does everything"


def test_a_connection_that_breaks_ends_its_session(world: World, bundle: Bundle) -> None:
    """Every call is told."""
    connected, _ = fleet(world, bundle, world.host())
    call = connected.session("web-1").request(Exec("shop", "c", ("cat",)))
    world.server.disconnect()
    with pytest.raises(HostUnreachable):
        call.result(TIMEOUT)


def test_a_lost_session_is_opened_anew(world: World, bundle: Bundle) -> None:
    """With the counts of the lost one carried over; a host that cannot be reached again stays lost."""
    connected, events = fleet(world, bundle, world.host())
    lost = connected.session("web-1")
    call = lost.request(Exec("shop", "c", ("cat",)))
    world.server.disconnect()
    with pytest.raises(HostUnreachable):
        call.result(TIMEOUT)
    again = connected.session("web-1")
    assert again is not lost
    assert again.request(Observe("shop")).result(TIMEOUT).epoch == 1
    assert connected.sessions == {"web-1": again}
    assert again.round_trips == 2
    assert sum(isinstance(event, HostConnected) for event in events) == 2
    world.server.close()
    with pytest.raises(HostUnreachable):
        again.request(Exec("shop", "c", ("cat",))).result(TIMEOUT)
    for _ in range(2):
        with pytest.raises(HostUnreachable, match="refused"):
            connected.session("web-1")
    assert connected.sessions == {"web-1": again}, "what it has cost still counts"
    assert sum(isinstance(event, HostFailed) for event in events) == 1


def test_a_fresh_session_has_a_connection_of_its_own(world: World, bundle: Bundle) -> None:
    """It does not stand in for the host's session, and proves that the host can be reached now."""
    connected, _ = fleet(world, bundle, world.host())
    first = connected.session("web-1")
    fresh = connected.fresh("web-1")
    assert fresh is not first
    assert fresh.request(Observe("shop")).result(TIMEOUT).epoch == 1
    fresh.close()
    assert connected.session("web-1") is first
    assert first.request(Observe("shop")).result(TIMEOUT).epoch == 1
    world.server.close()
    with pytest.raises(HostUnreachable):
        connected.fresh("web-1")
    connected.close()
    with pytest.raises(HostUnreachable, match="the run is over"):
        connected.fresh("web-1")


def test_a_fleet_connects_each_host_once_and_reports_each(world: World, bundle: Bundle) -> None:
    """Failures are values beside the sessions, and are not tried again."""
    local = Host("here", "here", connection="local", vars={"deploy_root": str(world.folder / "here")})
    stranger = world.host(
        "stranger", options=(("UserKnownHostsFile", "/dev/null"), ("IdentityAgent", "none"))
    )
    circular = world.host("circular", options=(("ProxyJump", "127.0.0.1"),))
    bad_root = world.host("bad-root", vars={"deploy_root": "relative"})
    connected, events = fleet(world, bundle, world.host(), local, stranger, circular, bad_root)
    names = ["web-1", "here", "stranger", "circular", "bad-root", "absent"]
    found = connected.connect_all(names)
    assert list(found) == names
    assert found["web-1"] is connected.session("web-1")
    assert isinstance(found["stranger"], HostKeyError)
    assert "circular" in str(found["circular"])
    assert "absolute path" in str(found["bad-root"])
    assert "no such host" in str(found["absent"])
    with pytest.raises(HostKeyError):
        connected.session("stranger")
    assert set(connected.sessions) == {"web-1", "here"}
    assert sum(isinstance(event, HostConnecting) for event in events) == len(names)
    assert sum(isinstance(event, HostFailed) for event in events) == 4


def test_a_closed_fleet_connects_nobody(world: World, bundle: Bundle) -> None:
    """Its sessions are gone as well."""
    connected, _ = fleet(world, bundle, world.host())
    session = connected.session("web-1")
    connected.close()
    connected.close()
    with pytest.raises(HostError):
        session.request(Observe("shop"))
    with pytest.raises(HostUnreachable, match="over"):
        connected.session("web-2")


def test_many_hosts_behind_one_address_connect_at_once(world: World, bundle: Bundle) -> None:
    """No more handshakes at a time than sshd's default takes, and all of them succeed."""
    hosts = [
        world.host(f"web-{number}", vars={"deploy_root": str(world.folder / f"root-{number}")})
        for number in range(12)
    ]
    connected, _ = fleet(world, bundle, *hosts)
    found = connected.connect_all([host.name for host in hosts])
    assert [name for name, session in found.items() if isinstance(session, HostError)] == []
