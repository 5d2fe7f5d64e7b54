"""Targets: the inventory first, then OpenSSH's configuration, then defaults."""

import getpass
from pathlib import Path

import pytest

from orchestrator.errors import InventoryError
from orchestrator.remote.ssh_config import SshConfig, Target
from orchestrator.spec.inventory_types import Host


def resolve(tmp_path: Path, text: str = "", **host: object) -> Target:
    """Resolve a host by a configuration of ``text``."""
    file = tmp_path / "config"
    file.write_text(text)
    values: dict[str, object] = {"name": "web-1", "address": "web-1", **host}
    return SshConfig([file]).target(Host(**values))


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file: the name itself, port 22, the current user, the usual keys."""
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    target = SshConfig([tmp_path / "absent"]).target(Host("web-1", "10.0.0.1"))
    assert (target.address, target.port, target.user, target.key_name) == (
        "10.0.0.1",
        22,
        getpass.getuser(),
        "10.0.0.1",
    )
    assert target.identity_files[0] == Path("/home/u/.ssh/id_ed25519")
    assert not target.explicit_identities
    assert target.known_hosts[0] == Path("/home/u/.ssh/known_hosts")
    assert target.known_hosts[-1] == Path("/etc/ssh/ssh_known_hosts2")
    assert (target.agent, target.proxy_command, target.jump) == ("", "", None)


def test_the_configuration_completes_the_inventory(tmp_path: Path) -> None:
    """Everything it can say, with its tokens expanded."""
    text = """
    Host web-*
        HostName %h.example.org
        Port 2222
        User deploy
        IdentityFile /keys/%r
        CertificateFile /keys/c-cert.pub
        UserKnownHostsFile /known/a /known/b
        GlobalKnownHostsFile none
        IdentityAgent /run/agent
        IdentitiesOnly yes
        ConnectTimeout 3
        HostKeyAlias web
        ProxyCommand nc %h %p
    """
    target = resolve(tmp_path, text)
    assert target == Target(
        name="web-1",
        address="web-1.example.org",
        port=2222,
        user="deploy",
        key_name="web",
        identity_files=(Path("/keys/deploy"),),
        explicit_identities=True,
        certificate_files=(Path("/keys/c-cert.pub"),),
        identities_only=True,
        known_hosts=(Path("/known/a"), Path("/known/b")),
        timeout=3.0,
        agent="/run/agent",
        proxy_command="nc web-1.example.org 2222",
    )


def test_the_inventory_wins(tmp_path: Path) -> None:
    """Its port, user, keys and options; tokens of the configuration see them."""
    text = "Host *\n  Port 1\n  User a\n  IdentityFile /a\n  ConnectTimeout 1\n  ProxyCommand nc %h %p %r\n"
    options = (("ConnectTimeout", "7"),)
    target = resolve(tmp_path, text, port=22, user="root", identity_files=("/b",), options=options)
    assert (target.port, target.user, target.timeout) == (22, "root", 7.0)
    assert target.identity_files == (Path("/b"),)
    assert target.proxy_command == "nc web-1 22 root"


def test_included_files_count_where_they_are_included(tmp_path: Path) -> None:
    """Relative to the file, by pattern, and the block goes on after them."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "1.conf").write_text("Host web-1\n  User one\nHost other\n  Port 9\n")
    (tmp_path / "conf.d" / "2.conf").write_text("Host web-1\n  User two\n")
    target = resolve(tmp_path, "Include conf.d/*.conf\nHost web-1\n  Port 5\n  User three\n")
    assert (target.user, target.port) == ("one", 5)
    inside = resolve(tmp_path, "Host web-1\n  Include conf.d/*.conf\n  Port 6\n")
    assert (inside.user, inside.port) == ("one", 6)


def test_a_file_that_includes_itself_ends(tmp_path: Path) -> None:
    """As in OpenSSH, at a depth."""
    (tmp_path / "config").write_text("")
    assert resolve(tmp_path, "Include config\nPort 7\n").port == 7


def test_jump_hosts_have_configurations_of_their_own(tmp_path: Path) -> None:
    """A list is a chain: the last one is next to the target."""
    text = "Host b\n  HostName 10.0.0.2\n  User jumper\nHost web-1\n  ProxyJump me@a:2201,b\n"
    target = resolve(tmp_path, text, user="root")
    assert target.jump is not None
    assert (target.jump.address, target.jump.user) == ("10.0.0.2", "jumper")
    first = target.jump.jump
    assert first is not None
    assert (first.address, first.user, first.port, first.jump) == ("a", "me", 2201, None)
    six = resolve(tmp_path, "", options=(("ProxyJump", "ssh://u@[fe80::1]:24"),)).jump
    assert six is not None
    assert (six.address, six.user, six.port) == ("fe80::1", "u", 24)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host *\n  ProxyJump a\n", "through itself: web-1 -> a -> a"),
        ("Host web-1\n  ProxyJump a\nHost a\n  ProxyJump web-1\n", "through itself"),
        ("Host *\n  ProxyJump a@b:c\n", "cannot understand the jump host 'a@b:c'"),
        ("Host *\n  Port many\n", "Port must be a number, not 'many'"),
    ],
)
def test_what_makes_no_sense_is_said(tmp_path: Path, text: str, message: str) -> None:
    """With the host it concerns."""
    with pytest.raises(InventoryError) as caught:
        resolve(tmp_path, text)
    assert message in str(caught.value.problems[0])
    assert caught.value.problems[0].path


def test_match_exec_is_honoured(tmp_path: Path) -> None:
    """The one thing that paramiko needs another library for."""
    assert resolve(tmp_path, 'Match exec "true"\n  Port 77\n').port == 77
    assert resolve(tmp_path, 'Match exec "false"\n  Port 77\n').port == 22


def test_the_agent_may_be_switched_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ``none``, or named by the environment."""
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/a")
    assert resolve(tmp_path).agent == "/run/a"
    assert resolve(tmp_path, "IdentityAgent none\n").agent == ""
    assert resolve(tmp_path, "IdentityAgent SSH_AUTH_SOCK\n").agent == "/run/a"
