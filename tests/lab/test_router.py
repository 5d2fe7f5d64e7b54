"""The router on a real host: its container, its replacement, the guard, a reboot; spoken to directly."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator import images
from orchestrator.lab import Lab, LabHost, base_image, busybox_image
from orchestrator.lab.engine import client_environment, docker_client
from orchestrator.protocol.instance import Healthcheck, InstanceConfig
from orchestrator.protocol.messages import (
    Acquire,
    Confirm,
    HostReport,
    Maintain,
    Observe,
    Operation,
    OperationProgress,
    Perform,
)
from orchestrator.protocol.routing import (
    Arm,
    Backend,
    Check,
    Listener,
    Member,
    Route,
    RouterConfig,
    Shift,
    Virtual,
    Watch,
)
from orchestrator.remote.fleet import SshFleet
from orchestrator.spec.inventory import load_inventory

PROJECT = "shop"
PAGE = '#!/bin/sh\nmkdir -p /tmp/w; echo "$PAGE" > /tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w\n'


def build(socket: Path, folder: Path, tag: str) -> None:
    """Build an image with the builder."""
    words = [docker_client(), "--host", f"unix://{socket}", "build", "--network", "host", "-q", "-t", tag]
    done = subprocess.run(
        [*words, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=client_environment(),
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def archives(lab_base: Path, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The images as archives: two routers that differ, and a web service whose page is a variable."""
    folder = tmp_path_factory.mktemp("images")
    socket = lab.builder_socket()
    base_image(socket)
    busybox_image(socket)
    build(socket, Path(images.__file__).parent / "router", "deploy-router:a")
    for name, text in {
        "b": "FROM deploy-router:a\nLABEL second=yes\n",
        "web": 'FROM busybox:static\nCOPY start /bin/start\nCMD ["/bin/start"]\n',
    }.items():
        (folder / name).mkdir()
        (folder / name / "Dockerfile").write_text(text)
        (folder / name / "start").write_text(PAGE)
        (folder / name / "start").chmod(0o755)
        build(socket, folder / name, f"deploy-router:{name}")
    tags = [f"deploy-router:{name}" for name in ("a", "b", "web")]
    words = [docker_client(), "--host", f"unix://{socket}", "save", "-o", str(folder / "all.tar"), *tags]
    subprocess.run(words, check=True, env=client_environment())
    return folder / "all.tar"


class Host:
    """One host, its images, and sessions with its agent."""

    def __init__(self, lab: Lab, host: LabHost) -> None:
        self.lab = lab
        self.host = host
        self.images = {
            name: lab.docker(
                host, "image", "inspect", "-f", "{{.Id}}", f"deploy-router:{name}"
            ).stdout.strip()
            for name in ("a", "b", "web")
        }
        self.address = host.address
        self.epoch = 0
        self._fleets: list[SshFleet] = []
        self.open()

    def open(self) -> None:
        """Make a new session."""
        fleet = SshFleet(load_inventory(self.lab.layout.inventory).get, lambda _: None)
        self._fleets.append(fleet)
        self.session = fleet.session(self.host.name)

    def ask(self, params: Any) -> Any:
        """Make a request."""
        return self.session.request(params).result(60)

    def acquire(self) -> None:
        """Take the lease, under a new epoch."""
        self.epoch = self.ask(Observe(PROJECT)).epoch + 1
        self.ask(Acquire(PROJECT, self.epoch, "me", "test", "r1"))

    def perform(self, *operations: Operation) -> list[OperationProgress]:
        """Carry out operations one after the other; return their outcomes."""
        chain = [replace(op, id=n, after=(n - 1,) if n else ()) for n, op in enumerate(operations)]
        return list(self.ask(Perform(PROJECT, self.epoch, tuple(chain))).outcomes)

    def do(self, *operations: Operation) -> list[OperationProgress]:
        """Carry out operations that have to work."""
        outcomes = self.perform(*operations)
        assert [one.failure for one in outcomes] == [None] * len(outcomes)
        return outcomes

    def observe(self) -> HostReport:
        """Observe the project."""
        report = self.ask(Observe(PROJECT))
        assert isinstance(report, HostReport)
        return report

    def config(self, page: str, **changes: Any) -> InstanceConfig:
        """A service that serves ``page``."""
        check = Healthcheck(type="http", port=8080, path="/", interval=0.1)
        values = {"environment": (("PAGE", page),), "healthcheck": check, "stop_grace_period": 1.0, **changes}
        return InstanceConfig(PROJECT, "web", self.images["web"], read_only=False, **values)

    def start(self, release: str) -> Operation:
        """Start an instance that serves the name of its release."""
        return Operation(0, "start", service="web", slot=1, release=release, config=self.config(release))

    def picture(self, image: str = "a", **changes: Any) -> RouterConfig:
        """A router with one route."""
        backend = Backend("web", 8080, check_path="/", inter=0.1, slots=4)
        values = {
            "backends": (backend,),
            "listeners": (Listener(80, routes=(Route("site", backend.name),)),),
            "virtual_network": "10.200.7.0/24",
            "virtuals": (Virtual("10.200.7.5", backend.name, 80),),
            **changes,
        }
        return RouterConfig(PROJECT, self.images[image], **values)

    def get(self, port: int = 80) -> str:
        """Ask the router from outside."""
        connection = http.client.HTTPConnection(self.address, port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", "/")
            answer = connection.getresponse()
            return f"{answer.status} {answer.read().decode().strip()}"

    def await_answer(self, wanted: str, seconds: float = 20.0) -> None:
        """Wait until the router answers so."""
        give_up = time.monotonic() + seconds
        while True:
            try:
                answer = self.get()
            except (OSError, http.client.HTTPException) as error:
                answer = repr(error)
            if answer == wanted:
                return
            assert time.monotonic() < give_up, answer
            time.sleep(0.05)

    def close(self) -> None:
        """End all sessions."""
        for fleet in self._fleets:
            fleet.close()


def router(config: RouterConfig | None) -> Operation:
    """Serve a picture."""
    return Operation(0, "router", router=config)


def attach(release: str) -> Operation:
    """Attach."""
    return Operation(0, "attach", service="web", slot=1, release=release)


def shift(*releases: str) -> Operation:
    """Shift all traffic."""
    return Operation(0, "shift", shift=Shift("web", tuple(Member(1, release) for release in releases)))


def drain(release: str) -> Operation:
    """Drain and take out."""
    return Operation(0, "drain", service="web", slot=1, release=release, seconds=5)


@pytest.fixture
def host(make_lab: Callable[..., Lab], archives: Path) -> Iterator[Host]:
    """A host with the images, one session and the lease."""
    lab = make_lab(1)
    (only,) = lab.hosts
    words = [
        docker_client(),
        "--host",
        f"unix://{lab.engine_socket(only)}",
        "load",
        "-q",
        "-i",
        str(archives),
    ]
    subprocess.run(words, check=True, env=client_environment(), stdout=subprocess.DEVNULL)
    made = Host(lab, only)
    made.acquire()
    yield made
    made.close()


@contextlib.contextmanager
def load(host: Host) -> Iterator[list[str]]:
    """Ask without a pause, never retrying; what went wrong is in the list."""
    failures: list[str] = []
    stop = threading.Event()

    def run(*, keep: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not stop.is_set():
            try:
                connection = connection or http.client.HTTPConnection(host.address, 80, timeout=10)
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failures.append(f"status {answer.status}")
                if not keep or answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                failures.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=run, kwargs={"keep": keep}) for keep in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_the_life_of_a_router(host: Host) -> None:
    """Created, moved, reloaded, replaced by another image, all under load without a failure; then removed."""
    host.do(host.start("r1"), router(host.picture()), attach("r1"), shift("r1"))
    assert host.get() == "200 r1"
    report = host.observe()
    assert report.routing is not None
    assert report.routing.config == host.picture().digest
    assert [(one.server, one.release, one.state) for one in report.routing.servers] == [("s1", "r1", "UP")]
    assert [one.service for one in report.containers] == ["web"]
    with load(host) as failures:
        host.do(
            host.start("r2"),
            attach("r2"),
            Operation(0, "check", check=Check("web", 1, "r2", http="/", port=8080)),
        )
        host.do(
            shift("r2"), Operation(0, "watch", watch=Watch("web", (Member(1, "r2"),), 1.0, 0.01)), drain("r1")
        )
        assert host.get() == "200 r2"
        changed = host.picture(preview_port=8088)
        assert host.do(router(changed))[0].detail == "reloaded"
        assert host.do(router(changed))[0].detail == ""
        replaced = host.picture("b", preview_port=8088)
        assert host.do(router(replaced))[0].detail == "replaced"
        assert host.get() == "200 r2"
    assert failures == []
    names = host.lab.docker(
        host.host, "ps", "-a", "--format", "{{.Names}}", "--filter", "label=deploy.router"
    )
    assert len(names.stdout.split()) == 1
    host.ask(Maintain(PROJECT, host.epoch, "site", on=True))
    assert host.get().startswith("503 ")
    host.ask(Maintain(PROJECT, host.epoch, "site", on=False))
    assert host.get() == "200 r2"
    host.do(router(None))
    with pytest.raises(ConnectionRefusedError):
        host.get()
    assert host.observe().routing is None


def test_a_service_is_found_by_its_virtual_address_from_the_project_alone(host: Host) -> None:
    """From a container of the project it is reached; from the host's other networks it is not."""
    host.do(host.start("r1"), router(host.picture()), attach("r1"), shift("r1"))
    inside = host.lab.docker(
        host.host,
        "run",
        "--rm",
        "--network",
        PROJECT,
        host.images["web"],
        "wget",
        "-qO-",
        "http://10.200.7.5/",
    )
    assert inside.stdout.strip() == "r1"
    outside = host.lab.docker(
        host.host,
        "run",
        "--rm",
        host.images["web"],
        "wget",
        "-T",
        "2",
        "-qO-",
        "http://10.200.7.5/",
        check=False,
    )
    assert outside.returncode != 0


def test_a_port_that_is_taken_is_a_conflict_with_a_name(host: Host) -> None:
    """Before anything is started or reloaded; what was served is served still."""
    host.lab.docker(host.host, "run", "-d", "--name", "other", "-p", "80:8080", host.images["web"])
    failure = host.perform(router(host.picture()))[0].failure
    assert failure is not None
    assert failure.code == "conflict"
    assert "container other" in failure.message
    host.lab.docker(host.host, "rm", "-f", "other")
    host.do(host.start("r1"), router(host.picture()), attach("r1"), shift("r1"))
    host.lab.docker(host.host, "run", "-d", "--name", "other", "-p", "81:8080", host.images["web"])
    taken = host.picture(
        listeners=(*host.picture().listeners, Listener(81, routes=(Route("x", "web_8080"),)))
    )
    failure = host.perform(router(taken))[0].failure
    assert failure is not None
    assert failure.code == "conflict"
    assert host.get() == "200 r1"


def test_an_unconfirmed_cutover_is_taken_back_by_the_host(host: Host) -> None:
    """The agent is killed after the shift: the host goes back by itself, and a confirm is too late."""
    host.do(
        host.start("r1"), router(host.picture()), attach("r1"), shift("r1"), host.start("r2"), attach("r2")
    )
    old = host.observe().containers[0].id
    cutover = f"r2-{host.epoch}"
    host.do(Operation(0, "arm", arm=Arm(cutover, 3.0, (old,))), shift("r2"))
    assert host.get() == "200 r2"
    agent = host.session.hello.pid
    host.lab.run(host.host, ["kill", "-9", str(agent)])
    host.await_answer("200 r1")
    host.open()
    assert host.ask(Confirm(PROJECT, cutover)).state == "reverted"
    routing = host.observe().routing
    assert routing is not None
    assert routing.guard is not None
    assert routing.guard.state == "reverted"


def test_a_confirmed_cutover_stands(host: Host) -> None:
    """Over a connection of its own; its deadline passes without effect."""
    host.do(
        host.start("r1"), router(host.picture()), attach("r1"), shift("r1"), host.start("r2"), attach("r2")
    )
    cutover = f"r2-{host.epoch}"
    host.do(Operation(0, "arm", arm=Arm(cutover, 1.5)), shift("r2"))
    host.open()
    assert host.ask(Confirm(PROJECT, cutover)).state == "confirmed"
    give_up = time.monotonic() + 2.0
    while time.monotonic() < give_up:
        assert host.get() == "200 r2"
    assert host.ask(Confirm(PROJECT, cutover)).state == "confirmed"


def test_a_crash_of_the_router_and_a_reboot_restore_what_was_served(host: Host) -> None:
    """A crashed router is restarted by the engine; after a reboot the guard is settled as well."""
    host.do(
        host.start("r1"), router(host.picture()), attach("r1"), shift("r1"), host.start("r2"), attach("r2")
    )
    host.do(shift("r2"))
    name = host.lab.docker(host.host, "ps", "-q", "--filter", "label=deploy.router").stdout.strip()
    pid = host.lab.docker(host.host, "inspect", "-f", "{{.State.Pid}}", name).stdout.strip()
    host.lab.run(host.host, ["kill", "-9", pid])
    host.await_answer("200 r2")
    host.lab.reboot(host.host)
    host.await_answer("200 r2")
    host.open()
    host.acquire()
    old = next(one.id for one in host.observe().containers if one.release == "r2")
    host.do(Operation(0, "arm", arm=Arm(f"r1-{host.epoch}", 600.0, (old,))), shift("r1"))
    assert host.get() == "200 r1"
    host.lab.reboot(host.host)
    host.open()
    report = host.observe()
    assert report.routing is not None
    assert report.routing.guard is not None
    assert report.routing.guard.state == "reverted"
    host.await_answer("200 r2")


def test_a_container_keeps_its_address_over_restarts(host: Host) -> None:
    """Whoever is started first after a crash of all must not get what belongs to another."""
    host.do(*(replace(host.start("r1"), slot=slot) for slot in (1, 2, 3)))
    ids = [one.id for one in host.observe().containers]
    form = f'{{{{(index .NetworkSettings.Networks "{PROJECT}").IPAddress}}}}'
    before = host.lab.docker(host.host, "inspect", "-f", form, *ids).stdout.split()
    assert len(set(before)) == 3
    host.lab.docker(host.host, "stop", "-t", "0", *ids)
    host.lab.docker(host.host, "start", *reversed(ids))
    assert host.lab.docker(host.host, "inspect", "-f", form, *ids).stdout.split() == before
    assert all(one.intact for one in host.observe().containers)


def test_a_job_runs_once_per_release(host: Host) -> None:
    """In a container of its own, which is no instance; a failure tells its last words."""
    config = host.config("x", command=("/bin/sh", "-c", "echo migrating; exit 3"))
    job = Operation(0, "job", service="web", slot=1, release="r1", name="migrate", config=config, seconds=20)
    failure = host.perform(job)[0].failure
    assert failure is not None
    assert (failure.code, failure.logs) == ("exited", ("migrating",))
    good = replace(job, config=host.config("x", command=("/bin/true",)))
    assert host.do(good)[0].detail.startswith("took ")
    assert host.do(good)[0].detail == "ran already in this release"
    assert host.observe().containers == ()
