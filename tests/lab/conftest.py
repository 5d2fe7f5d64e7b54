"""Real hosts for the tests of this folder: one fleet shared by all, and others made to measure.

A run that was killed leaves hosts behind; the next one removes them before it starts its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from support.deploying import Project, project_name

from orchestrator.lab import HostOptions, Lab, LabHost, down, requirements

_BASE = Path(tempfile.gettempdir(), "deploy-lab-tests")
_HERE = Path(__file__).parent

Ssh = Callable[..., "subprocess.CompletedProcess[str]"]
MakeLab = Callable[..., Lab]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here runs on real hosts."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab_base() -> Iterator[Path]:
    """The folder for this run's labs. Skips when the machine cannot run any; sweeps killed runs' labs."""
    missing = [one for one in requirements() if not one.optional]
    if missing:
        pytest.skip("no lab: missing " + ", ".join(one.what for one in missing))
    for run in _BASE.glob("*"):
        if not Path("/proc", run.name).exists():
            _remove(run)
    mine = _BASE / str(os.getpid())
    mine.mkdir(parents=True)
    try:
        yield mine
    finally:
        _remove(mine)


def _remove(run: Path) -> None:
    for root in run.iterdir():
        down(root)
    shutil.rmtree(run)


@pytest.fixture(scope="session")
def lab(lab_base: Path) -> Iterator[Lab]:
    """Three hosts with engines, ``web-1``, ``web-2`` and ``db-1``, for the whole run.

    A test that changes a host puts it back; one that wants more than that uses ``make_lab``.
    """
    with Lab(lab_base / "shared", name="tests") as shared:
        yield shared


@pytest.fixture(scope="session")
def builder(lab: Lab) -> Path:
    """Socket of an engine that builds, with the machine's network."""
    return lab.builder_socket()


@pytest.fixture
def make_lab(lab_base: Path) -> Iterator[MakeLab]:
    """Start a lab of your own: ``make_lab(2)``, ``make_lab([HostOptions("a", disk_mb=200)])``."""
    labs: list[Lab] = []
    numbers = itertools.count(1)

    def make(hosts: int | Sequence[str | HostOptions] = 1) -> Lab:
        free = (lab_base / f"own-{number}" for number in numbers)
        made = Lab(next(root for root in free if not root.exists()), hosts=hosts)
        labs.append(made)
        made.up()
        return made

    try:
        yield make
    finally:
        for made in labs:
            made.down()


@pytest.fixture(scope="session")
def ssh() -> Ssh:
    """Run a shell command on a host over the OpenSSH client: ``ssh(lab, "web-1", "id", user="deployer")``."""

    def run(
        lab: Lab, host: str | LabHost, command: str, *, user: str = "root", options: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        name = lab.host(host).name
        config = ["-F", str(lab.layout.ssh_config), "-o", "BatchMode=yes", *options]
        return subprocess.run(
            ["ssh", *config, "-l", user, name, command],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run


@pytest.fixture
def project(lab: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A small project for the shared lab, named after the test, and removed from its hosts after it."""
    made = Project(tmp_path, lab, project_name(request.node.name))
    try:
        yield made
    finally:
        made.remove()
