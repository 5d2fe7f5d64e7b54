"""Connecting ahead: who is connected to, and who hears of it when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.errors import HostError
from orchestrator.events import Event, HostFailed
from orchestrator.headstart import head_start
from orchestrator.options import Options

NOBODY = "all: {hosts: {web-1: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n"
"""A host where nothing listens: it fails at once."""


def options(folder: Path, inventory: str = NOBODY, limit: tuple[str, ...] = ()) -> Options:
    """Return the options of a run in ``folder``."""
    (folder / "inventory.yaml").write_text(inventory)
    return Options(specs=(folder / "spec.yaml",), limit=limit)


def test_what_happened_before_is_told_to_whoever_adopts_the_fleet(tmp_path: Path) -> None:
    """Nobody hears of it before, and nothing is lost."""
    told: list[Event] = []
    failed = threading.Event()

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, HostFailed):
            failed.set()

    with head_start(options(tmp_path)) as ahead:
        assert ahead is not None
        assert not told
        fleet = ahead.adopt(listen)
        with pytest.raises(HostError):
            fleet.session("web-1")
        assert failed.wait(5)
    assert [type(event).__name__ for event in told] == ["HostConnecting", "HostFailed"]


def test_a_limit_may_name_services_so_the_spec_comes_first(tmp_path: Path) -> None:
    """Hosts that the user left out are left alone."""
    with head_start(options(tmp_path, limit=("web-1",))) as ahead:
        assert ahead is None


@pytest.mark.parametrize("text", ["all: [", "all: {hosts: {'a b': {}}}", "x: ["])
def test_an_inventory_that_is_wrong_is_left_to_whoever_reads_the_spec(tmp_path: Path, text: str) -> None:
    """Its problems come after those of the spec, and once."""
    with head_start(options(tmp_path, text)) as ahead:
        assert ahead is None


def test_without_an_inventory_there_is_nobody_to_connect_to(tmp_path: Path) -> None:
    """Specs may name localhost alone."""
    with head_start(Options(specs=(tmp_path / "spec.yaml",))) as ahead:
        assert ahead is None


def test_the_connections_end_with_the_block(tmp_path: Path) -> None:
    """Also when nobody adopted them: the spec was wrong."""
    with head_start(options(tmp_path)) as ahead:
        assert ahead is not None
    with pytest.raises(HostError):
        ahead.adopt(lambda _event: None).session("web-2")


def test_nothing_is_installed_before_the_fleet_is_adopted(tmp_path: Path) -> None:
    """A spec that turns out wrong has touched nothing, not even with an agent."""
    root = tmp_path / "state"
    local = f"all: {{hosts: {{here: {{ansible_connection: local, deploy_root: {root}}}}}}}\n"
    with head_start(options(tmp_path, local)) as ahead:
        assert ahead is not None
        fleet = ahead._fleet
    assert not root.exists()
    with pytest.raises(HostError):
        fleet.session("here")
    assert not root.exists()
    with head_start(options(tmp_path, local)) as ahead:
        assert ahead is not None
        assert ahead.adopt(lambda _event: None).session("here").hello.root == str(root)
    assert list(root.glob("agent-*.pyz"))
