"""What is missing is said exactly, with what would bring it and what works without."""

from __future__ import annotations

import pytest

from orchestrator.errors import ToolMissing
from orchestrator.lab import needs
from orchestrator.lab.model import HostOptions

HOSTS = (HostOptions("web-1"),)


@pytest.fixture
def machine(monkeypatch):
    """A machine that has everything but the commands named, run by ``uid``."""

    def pretend(*absent: str, uid: int = 0) -> None:
        monkeypatch.setattr(needs.shutil, "which", lambda name, path=None: None if name in absent else name)
        monkeypatch.setattr(needs.os, "geteuid", lambda: uid)
        monkeypatch.setattr(needs, "_kernel", list)
        monkeypatch.setattr(needs, "_apparmor", lambda: True)

    return pretend


def test_a_complete_machine_lacks_nothing(machine):
    """Then a lab simply starts."""
    machine()
    assert needs.requirements() == ()
    needs.require(HOSTS)


def test_everything_missing_is_said_at_once(machine):
    """One message, one command to run, and what works without."""
    machine("dockerd", "sshd", uid=1000)
    with pytest.raises(ToolMissing) as failure:
        needs.require(HOSTS)
    assert failure.value.message == (
        "cannot start a lab: missing root, the command dockerd, the command sshd"
    )
    assert failure.value.hint == "install with: apt-get install docker.io openssh-server; run as root"
    assert "plan and apply on hosts of your own" in failure.value.context[0]


def test_needs_depend_on_the_hosts(machine):
    """No engine is needed for hosts without one, and debootstrap only for roots of their own."""
    machine("dockerd", "debootstrap")
    needs.require([HostOptions("a", kind="bare")])
    with pytest.raises(ToolMissing, match="debootstrap"):
        needs.require([HostOptions("a", kind="trixie")])


def test_an_engine_cannot_confine_without_the_parser(machine):
    """Where the kernel has AppArmor on, containers do not start without its parser."""
    machine("apparmor_parser")
    assert needs.packages_for(needs.requirements()) == ("apparmor",)


def test_sudo_is_optional(machine):
    """The lab starts without it; installing brings it."""
    machine("sudo")
    needs.require(HOSTS)
    assert needs.packages_for(needs.requirements()) == ("sudo",)


def test_installing_says_first_and_asks_for_what_is_missing(machine, monkeypatch):
    """Nothing is installed unannounced."""
    machine("sudo", "busybox")
    told: list[str] = []
    ran: list[list[str]] = []

    def call(argv, *, why):
        assert told
        ran.append(argv)
        machine()

    monkeypatch.setattr(needs, "call", call)
    monkeypatch.setattr(needs.Path, "exists", lambda self: True)
    assert needs.install_missing(told.append) == ("sudo", "busybox-static")
    assert told == ["installing from the distribution: sudo busybox-static"]
    assert ran[-1][-2:] == ["sudo", "busybox-static"]
    assert needs.install_missing(told.append) == ()
    assert len(told) == 1


def test_installing_cannot_replace_root(machine):
    """What no package brings is said before anything is done."""
    machine("sudo", uid=1000)
    with pytest.raises(ToolMissing, match="missing root") as failure:
        needs.install_missing(pytest.fail)
    assert failure.value.hint == "run as root"
