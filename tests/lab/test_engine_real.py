"""The engine suite against a real Docker Engine, and what only a real one can show."""

import io
import itertools
import os
import shutil
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from support.agent_world import PROJECT, SLEEP, AgentWorld
from support.engine_suite import EngineSuite

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.fingerprint import fingerprint
from orchestrator.protocol.instance import Healthcheck, SecretRef

pytestmark = pytest.mark.lab

DOCKERFILE = b"""FROM scratch
COPY busybox /bin/busybox
COPY www /www
CMD ["/bin/busybox", "sleep", "1000"]
"""


class Daemon:
    """A dockerd of our own, which can be restarted; it has no way into the network of the machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket_path = str(folder / "docker.sock")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        program = "/usr/sbin/dockerd"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    *("--bridge", "none", "--iptables=false", "--ip-masq=false", "--ip-forward=false"),
                    *("--default-address-pool", "base=10.213.0.0/16,size=24"),
                    *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
                    *("--pidfile", str(self.folder / "pid"), "-H", f"unix://{self.socket_path}"),
                ],
                stdout=log,
                stderr=log,
            )
        give_up = time.monotonic() + 30
        engine = Engine(self.socket_path, timeout=5)
        while True:
            try:
                engine.describe()
            except EngineError:
                assert time.monotonic() < give_up, (self.folder / "log").read_text()[-2000:]
                time.sleep(0.05)
            else:
                engine.close()
                return

    def stop(self) -> None:
        """Stop it and what it runs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """A running engine."""
    missing = [tool for tool in ("/usr/sbin/dockerd", "busybox") if shutil.which(tool) is None]
    if os.getuid() != 0 or missing:
        pytest.skip(f"needs root, Docker Engine and busybox-static (missing: {', '.join(missing) or 'root'})")
    found = Daemon(tmp_path_factory.mktemp("engine"))
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def image(daemon):
    """The image with busybox, built by the engine."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as context:
        for name, data in (
            ("busybox", Path(str(shutil.which("busybox"))).read_bytes()),
            ("www/index.html", b"ok\n"),
            ("Dockerfile", DOCKERFILE),
        ):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            context.addfile(member, io.BytesIO(data))
    engine = Engine(daemon.socket_path)
    pieces = (archive.getvalue()[i : i + 65536] for i in itertools.count(0, 65536))
    body = itertools.takewhile(bool, pieces)
    headers = {"Content-Type": "application/x-tar"}
    with engine.stream("POST", "/build", {"t": "busy:1"}, body, headers) as response:
        documents = list(response.documents())
    assert not [document for document in documents if "error" in document], documents
    found = engine.get("/images/busy:1/json")["Id"]
    engine.close()
    return found


@pytest.fixture
def world(daemon, image, tmp_path):
    """A host with the real engine; what a test leaves is removed."""
    engine = Engine(daemon.socket_path, timeout=60)
    yield AgentWorld(engine, image, tmp_path / "state")
    for container in engine.get("/containers/json", {"all": True}):
        engine.delete(f"/containers/{container['Id']}", {"force": True})
    for volume in engine.get("/volumes")["Volumes"] or ():
        engine.delete(f"/volumes/{volume['Name']}")
    if any(network["Name"] == PROJECT for network in engine.get("/networks")):
        engine.delete(f"/networks/{PROJECT}")
    engine.close()


class TestRealEngine(EngineSuite):
    """Everything the fake engine is held to."""

    def test_a_restart_of_the_engine_is_no_drift(self, world, daemon):
        """The engine comes back, so do the instances, and nothing looks changed."""
        container = world.start().container
        before = fingerprint(world.inspect(container))
        daemon.stop()
        daemon.start()
        report = world.observe().containers[0]
        assert report.state == "running"
        assert report.intact
        assert fingerprint(world.inspect(container)) == before

    def test_a_secret_belongs_to_the_user_who_reads_it(self, world):
        """Owner and mode are the container's own; nobody else inside can read it."""
        keyed, secrets = world.secret(b"correct horse battery")
        refs = (SecretRef("DB", "/run/secrets/DB", keyed, mode=0o400, uid=1000, gid=1000),)
        read = ("/bin/busybox", "cat", "/run/secrets/DB")
        for slot, (user, expected) in enumerate({"1000:1000": "", "1001:1001": "unhealthy"}.items(), 1):
            check = Healthcheck(type="command", command=read, interval=0.05, deadline=1.0)
            config = world.config(
                command=SLEEP, healthcheck=check, user=user, cap_drop=("ALL",), secrets=refs
            )
            (outcome,) = world.perform(world.start_operation(config, slot=slot), secrets=secrets)
            assert (outcome.failure.code if outcome.failure else "") == expected

    def test_a_change_behind_our_back_is_drift(self, world):
        """Limits changed by hand show, though nothing was restarted."""
        container = world.start().container
        world.engine.post(f"/containers/{container}/update", body={"PidsLimit": 77})
        assert world.observe().containers[0].intact is False

    def test_the_clients_connection_survives_an_engine_restart(self, world, daemon):
        """Idle connections that the engine has closed are not used again."""
        world.observe()
        daemon.stop()
        daemon.start()
        assert world.observe().containers == ()
