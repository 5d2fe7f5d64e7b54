"""All kinds of hosts: how they are reached, as whom, and what is said when they cannot be used.

A message is judged as somebody would at three in the morning: which host, what is wrong, what to do.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.deploying import NOWHERE, Project, Run, finish, project_name, wait_for

from orchestrator.lab import HostOptions, Lab, busybox_image

_KINDS = {
    "bare": HostOptions("bare", kind="bare"),
    "no-python": HostOptions("no-python", python=False),
    "small": HostOptions("small", disk_mb=300),
    "trixie": HostOptions("trixie", kind="trixie"),
    "containerd": HostOptions("containerd", kind="trixie", containerd_store=True),
    "podman": HostOptions("podman", kind="podman"),
}


@pytest.fixture(scope="module")
def kinds(lab_base: Path) -> Iterator[Lab]:
    """One host of each kind."""
    with Lab(lab_base / "kinds", name="kinds", hosts=list(_KINDS.values())) as made:
        yield made


@pytest.fixture
def kind(kinds: Lab, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project on the host the test is parametrized with."""
    made = Project(tmp_path, kinds, project_name(request.node.name), [request.param])
    try:
        yield made
    finally:
        made.remove()


def _on(project: Project, host: str, **variables: Any) -> tuple[str, ...]:
    """Write an inventory of one host with variables of its own; the arguments that use it."""
    layout = project.lab.layout
    known: dict[str, Any] = {
        "ansible_host": project.lab.host(host).address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(layout.identity),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={layout.known_hosts} -o IdentityAgent=none",
        **variables,
    }
    children = {"web": {"hosts": {host: None}}}
    inventory = {"all": {"hosts": {host: known}, "children": children}}
    return "-i", str(project.file("other.yaml", json.dumps(inventory)))


def _refused(run: Run, host: str, *words: str) -> None:
    """Check that a run told which host, what and what next, to people and to machines."""
    finished = run.finished
    assert finished["error"].startswith(f"{host}: "), finished
    assert finished["hint"]
    told = "\n".join([finished["error"], finished["hint"], *finished["context"]])
    for word in words:
        assert word in told
    assert finished["error"] in run.stderr
    assert f"hint: {finished['hint']}" in run.stderr
    assert not run.named("step_started")
    assert not run.named("build_started")


def test_wrong_key(project: Project) -> None:
    """The keys that were refused are named."""
    key = project.folder / "other_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    done = project.apply(*_on(project, "web-1", ansible_ssh_private_key_file=str(key)), code=5)
    _refused(done, "web-1", "refused the user 'root'", "other_key", "ssh -p 22 root@")


def test_wrong_user(project: Project) -> None:
    """The user that was refused is named."""
    done = project.apply(*_on(project, "web-1", ansible_user="nobody-here"), code=5)
    _refused(done, "web-1", "refused the user 'nobody-here'", "nobody-here@")


def test_unknown_host_key(project: Project) -> None:
    """Nothing is trusted on first use; how to put the key on record is said, and works."""
    known = project.file("known", "")
    arguments = _on(
        project,
        "web-1",
        ansible_ssh_common_args=f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none",
    )
    done = project.apply(*arguments, code=5)
    _refused(done, "web-1", "unknown host key", "SHA256:", "ssh-keyscan")
    command = done.finished["hint"].split("`")[1]
    subprocess.run(["sh", "-c", command], check=True, capture_output=True)
    project.apply(*arguments)


def test_changed_host_key(project: Project) -> None:
    """Another key than the one on record is an alarm: the line on record, both fingerprints."""
    right = project.lab.layout.known_hosts.read_text()
    lines = {line.split()[0]: line for line in right.splitlines()}
    one, two = (project.lab.host(host).address for host in ("web-1", "web-2"))
    (mine,) = [line for name, line in lines.items() if one in name.split(",")]
    (other,) = [line for name, line in lines.items() if two in name.split(",")]
    known = project.file("known", " ".join([mine.split()[0], *other.split()[1:]]) + "\n")
    common = f"-o UserKnownHostsFile={known}"
    done = project.apply(*_on(project, "web-1", ansible_ssh_common_args=common), code=5)
    _refused(done, "web-1", "is not the one in", "known:1", "on record", "shown by the host", "in between")
    assert done.finished["context"][1] != done.finished["context"][3]


@pytest.mark.parametrize("user", ["deployer", "runner"])
def test_users_without_privileges(project: Project, user: str) -> None:
    """One becomes root by sudo, the other may use the engine: both deploy; as themselves otherwise not."""
    variables = {"ansible_user": user, "ansible_become": user == "deployer"}
    arguments = _on(project, "web-1", **variables)
    project.apply(*arguments)
    assert project.page("web[1]") == "one"
    project.image("web", "two")
    done = project.apply(*arguments)
    assert done.changes == {"web[1]": ["replace", "image web changed"]}
    assert done.shipped < 20_000
    assert project.apply(*arguments).changes == {}
    project.change("destroy", *arguments)


def test_user_who_may_do_nothing(project: Project) -> None:
    """No sudo asked for and no right to use the engine: both ways out are named."""
    done = project.apply(*_on(project, "web-1", ansible_user="deployer"), code=5)
    _refused(done, "web-1", "permission", "ansible_become")
    done = project.apply(*_on(project, "web-1", ansible_user="runner", ansible_become=True), code=5)
    _refused(done, "web-1", "cannot become root", "sudo")


@pytest.mark.parametrize("kind", ["no-python", "bare"], indirect=True)
def test_hosts_that_lack_something(kind: Project) -> None:
    """What is missing is named, and how to get it."""
    (host,) = kind.hosts
    done = kind.apply(code=5)
    if host == "bare":
        _refused(done, host, "container engine", "apt")
    else:
        _refused(done, host, "python3", "apt-get install python3")


@pytest.mark.parametrize("kind", ["small"], indirect=True)
def test_disk_full(kind: Project) -> None:
    """It fails before anything is changed, nothing is half-loaded, and with room again it works."""
    kind.apply()
    kind.image("web", "two")
    (kind.folder / "images/web/large").write_bytes(os.urandom(30 << 20))
    kind.file("images/web/Dockerfile", "FROM base\nCOPY index.html /srv/index.html\nCOPY large /large\n")
    before = kind.ids()
    images = kind.lab.docker("small", "images", "-aq").stdout
    kind.lab.fill_disk("small", leave_mb=12)
    try:
        done = kind.apply(code=3)
    finally:
        kind.lab.free_disk("small")
    assert re.fullmatch(
        r"cannot send the image \w+ on small: .* 31\.5 MB needed, 1\d\.\d MB free", done.finished["error"]
    )
    assert "deploy prune" in done.finished["hint"]
    assert done.finished["context"] == ["small: unchanged"]
    assert kind.ids() == before
    assert kind.lab.docker("small", "images", "-aq").stdout == images
    kind.apply()
    assert kind.page() == "two"
    assert kind.apply().changes == {}


def test_interrupted_transfer_goes_on(project: Project) -> None:
    """What had arrived when a run was killed is not sent again."""
    project.hosts = ("web-1",)
    (project.folder / "images/web/large").write_bytes(os.urandom(24 << 20))
    project.file("images/web/Dockerfile", "FROM base\nCOPY index.html /srv/index.html\nCOPY large /large\n")
    process = project.start("apply", "--yes", "--json")
    while True:
        line = wait_for(process, "step_progress", phase="sending")[-1]
        if line["done"] > 8 << 20:
            break
    process.kill()
    finish(process)
    done = project.apply()
    assert 0 < done.shipped < 20 << 20
    assert project.page() == "one"


@pytest.mark.parametrize("kind", ["trixie", "podman"], indirect=True)
def test_other_engines(kind: Project) -> None:
    """Debian 13's engine and Podman run the same spec; what is sent depends on what they can take."""
    (host,) = kind.hosts
    kind.apply()
    assert kind.page() == "one"
    before = kind.ids()
    kind.image("web", "two")
    done = kind.apply()
    assert kind.page() == "two"
    assert set(kind.ids().values()).isdisjoint(before.values())
    if host == "trixie":
        assert done.shipped < 20_000
    assert kind.apply().changes == {}
    assert kind.change("rollback").finished["release"] == "r3"
    assert kind.page() == "one"
    kind.change("destroy")
    assert kind.containers(everything=True) == {}


@pytest.mark.parametrize("kind", ["containerd"], indirect=True)
def test_engine_with_another_image_store(kind: Project) -> None:
    """It is refused in words, with the setting that helps, before anything is changed."""
    done = kind.apply(code=3)
    told = " ".join([done.finished["error"], done.finished["hint"], *done.finished["context"], done.stderr])
    assert "containerd" in told
    assert "daemon.json" in told
    assert kind.containers(everything=True) == {}


def test_built_on_a_host(project: Project) -> None:
    """A host of the inventory builds, the context travels there, and this machine needs no engine."""
    busybox_image(project.lab.engine_socket("web-1"))
    for page in ("one", "two"):
        project.image("web", page)
        done = project.run("apply", "--builder", "web-1", "--yes", "--json", DOCKER_HOST=NOWHERE)
        assert done.code == 0, done
        assert {line["builder"] for line in done.named("build_started")} <= {"web-1"}
        assert {line["image"] for line in done.named("build_finished")} == {"base", "web"}
        assert "localhost" not in done.finished["round_trips"]
        assert project.page("web[2]") == page


def test_this_machine(project: Project) -> None:
    """With ``connection: local`` there is no SSH; the engine is the one of DOCKER_HOST."""
    project.hosts = ("web-1",)
    socket = project.lab.engine_socket("web-1")
    busybox_image(socket)
    # The container's address is the host's own, and out of reach from here: look from inside.
    check = {"command": ["test", "-e", "/srv/index.html"], "interval": "50ms", "deadline": "5s"}
    project.spec["services"]["web"] = project.service(healthcheck=check)
    root = project.folder / "state"
    arguments = _on(project, "web-1", ansible_connection="local", deploy_root=str(root))
    done = project.apply(*arguments, DOCKER_HOST=f"unix://{socket}")
    assert done.changes == {"web[1]": ["create", "new"]}
    assert project.page() == "one"
    assert (root / "projects" / project.name / "releases/r1.json").exists()
    project.image("web", "two")
    project.apply(*arguments, DOCKER_HOST=f"unix://{socket}")
    assert project.page() == "two"
    assert project.apply(*arguments, DOCKER_HOST=f"unix://{socket}").changes == {}
