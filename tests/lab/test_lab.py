"""The lab itself: hosts are real, apart from each other, can be hurt and healed, and leave nothing."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

from orchestrator.errors import RequestError
from orchestrator.lab import (
    HostOptions,
    Lab,
    LabError,
    busybox_image,
    cleanup,
    down,
    processes,
    ssh_command,
    status,
    up,
)
from orchestrator.lab.cleanup import leftovers
from orchestrator.lab.model import Layout

SERVE = "echo hello >/tmp/index.html; trap 'exit 0' TERM; httpd -f -p 80 -h /tmp & wait"


def fetch(address: str, port: int) -> str:
    """What the machine gets from a port of a host; the server behind it has five seconds to come up."""
    deadline = time.monotonic() + 5
    while True:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/", timeout=2) as answer:
                return answer.read().decode()
        except OSError:
            if time.monotonic() > deadline:
                return "no answer"
            time.sleep(0.02)


def serve(lab: Lab, host: str) -> str:
    """A web server in a container on the host's port 8080, started again whenever the engine starts."""
    image = busybox_image(lab.engine_socket(host))
    line = [
        "run",
        "-d",
        "--restart",
        "always",
        "--network",
        "shop",
        "--publish",
        "8080:80",
        "--name",
        "front",
    ]
    lab.docker(host, "network", "create", "shop")
    lab.docker(host, *line, image, "sh", "-c", SERVE)
    return image


class TestHosts:
    """What a host is."""

    def test_ssh_finds_a_host_of_its_own(self, lab, ssh):
        """Each host has its name, an empty home and its own addresses; its key is the one on record."""
        for host in lab.hosts:
            done = ssh(lab, host, "hostname; ls -A; ip -4 -o addr show eth0")
            assert done.returncode == 0, done.stderr
            name, *home, address = done.stdout.splitlines()
            assert name == host.name
            # A build on the host may have left its client's settings: the lab is shared.
            assert set(home) - {".docker"} == {".ssh"}
            assert f"{host.address}/24" in address

    def test_hosts_reach_each_other_by_name(self, lab):
        """Over the bridge, whatever the machine's FORWARD policy."""
        code = "import socket; print(socket.create_connection(('db-1', 22), 2).recv(3))"
        assert "SSH" in lab.run("web-1", ["python3", "-c", code]).stdout

    def test_boot_ids_differ(self, lab):
        """The boot id, global to the kernel, is each host's own."""
        ids = {lab.run(host, ["cat", "/proc/sys/kernel/random/boot_id"]).stdout for host in lab.hosts}
        assert len(ids) == 3

    def test_users(self, lab, ssh):
        """One may become root without a password, another may use the engine, neither may do both."""
        engine = ssh(lab, "web-1", "docker version -f '{{.Server.Os}}'; sudo -n true", user="runner")
        assert engine.stdout == "linux\n"
        assert engine.returncode != 0
        if shutil.which("sudo"):
            assert ssh(lab, "web-1", "sudo -n id -u", user="deployer").stdout == "0\n"

    def test_containers_and_networks_work(self, make_lab):
        """Published ports answer to the machine, other hosts and the host; names resolve in networks."""
        lab = make_lab(2)
        image = serve(lab, "web-1")
        address = lab.host("web-1").address
        assert fetch(address, 8080) == "hello\n"
        for host, url in (("db-1", f"http://{address}:8080"), ("web-1", "http://127.0.0.1:8080")):
            assert lab.run(host, ["busybox", "wget", "-qO-", url]).stdout == "hello\n"
        inside = lab.docker(
            "web-1", "run", "--rm", "--network", "shop", image, "wget", "-qO-", "http://front"
        )
        assert inside.stdout == "hello\n"
        own = lab.docker(
            "web-1", "inspect", "-f", "{{.NetworkSettings.Networks.shop.IPAddress}}", "front"
        ).stdout.strip()
        assert lab.run("web-1", ["busybox", "wget", "-qO-", f"http://{own}"]).stdout == "hello\n"

    def test_bare_and_pythonless_hosts(self, make_lab, ssh):
        """A host without an engine has no trace of one; a host without python3 cannot find it."""
        lab = make_lab([HostOptions("bare", kind="bare"), HostOptions("plain", python=False)])
        assert ssh(lab, "bare", "which docker dockerd; ls /run/docker.sock").stdout == ""
        assert ssh(lab, "plain", "python3 -V").returncode == 127
        assert [host.engine for host in lab.status().hosts] == [False, True]

    @pytest.mark.parametrize(
        ("options", "version"),
        [
            (HostOptions("newer", kind="trixie"), "26."),
            (HostOptions("stored", kind="trixie", containerd_store=True), "26."),
            (HostOptions("pod", kind="podman"), "5."),
        ],
        ids=["trixie", "containerd-store", "podman"],
    )
    def test_other_engines(self, make_lab, ssh, options, version):
        """A host with a root and an engine of its own runs containers, and runs them again after a reboot."""
        lab = make_lab([options])
        (host,) = lab.hosts
        assert lab.docker(host, "version", "-f", "{{.Server.Version}}").stdout.startswith(version)
        assert ssh(lab, host, "cat /etc/debian_version").stdout.startswith("13")
        image = serve(lab, host.name)
        assert fetch(host.address, 8080) == "hello\n"
        inside = lab.docker(host, "run", "--rm", "--network", "shop", image, "wget", "-qO-", "http://front")
        assert inside.stdout == "hello\n"
        lab.reboot(host)
        assert fetch(host.address, 8080) == "hello\n"
        lab.down()
        assert leftovers(lab.layout) == ()

    def test_a_failing_command_shows_what_it_said(self, lab):
        """Commands in hosts fail loudly."""
        with pytest.raises(LabError, match="status 3") as failure:
            lab.run("web-1", ["sh", "-c", "echo because >&2; exit 3"])
        assert "because" in failure.value.context


class TestFaults:
    """What can happen to a host."""

    def test_cut_and_heal(self, lab, ssh):
        """A host that is cut off does not answer; healed, it does."""
        lab.cut("web-2")
        try:
            assert ssh(lab, "web-2", "true", options=["-o", "ConnectTimeout=1"]).returncode == 255
            assert [host.state for host in lab.status().hosts] == ["running", "cut", "running"]
        finally:
            lab.heal("web-2")
        assert ssh(lab, "web-2", "true").returncode == 0

    def test_slow_and_fast(self, lab, ssh):
        """Distance costs a round trip per exchange, bytes arrive whole, and clients notice nothing else."""
        lab.slow("web-1", 60)
        try:
            started = time.monotonic()
            assert ssh(lab, "web-1", "head -c 3000000 /dev/zero | wc -c").stdout.strip() == "3000000"
            assert time.monotonic() - started > 5 * 0.12
        finally:
            lab.fast("web-1")
        assert ssh(lab, "web-1", "true").returncode == 0

    def test_full_disk(self, make_lab):
        """A disk of its own fills up for the engine and the host, and can be freed."""
        lab = make_lab([HostOptions("small", disk_mb=64)])
        lab.fill_disk("small")
        write = ["sh", "-c", "head -c 100000 /dev/zero >/var/lib/deploy/x"]
        assert "No space left" in lab.run("small", write, check=False).stderr
        lab.free_disk("small")
        lab.run("small", write)

    def test_the_machines_disk_is_never_filled(self, lab):
        """Without a disk of its own a host's is the machine's."""
        with pytest.raises(LabError, match="the machine's own"):
            lab.fill_disk("web-1")

    def test_reboot(self, make_lab):
        """Volatile files and the boot id go, stored ones stay, and the engine starts its containers again."""
        lab = make_lab(1)
        serve(lab, "web-1")
        lab.run("web-1", ["sh", "-c", "touch /run/volatile /tmp/volatile /var/lib/deploy/kept"])
        before = lab.run("web-1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout
        lab.reboot("web-1")
        assert lab.run("web-1", ["cat", "/proc/sys/kernel/random/boot_id"]).stdout != before
        files = "ls /run/volatile /tmp/volatile /var/lib/deploy"
        assert lab.run("web-1", ["sh", "-c", files], check=False).stdout == "/var/lib/deploy:\nkept\n"
        assert fetch(lab.host("web-1").address, 8080) == "hello\n"

    def test_stop_and_start(self, make_lab):
        """A stopped host is nowhere; it starts with what it had."""
        lab = make_lab(2)
        lab.stop("db-1")
        assert [host.state for host in lab.status().hosts] == ["running", "stopped"]
        with pytest.raises(LabError, match="it is stopped"):
            lab.run("db-1", ["true"])
        lab.start("db-1")
        with pytest.raises(LabError, match="it is running"):
            lab.start("db-1")
        assert [host.state for host in lab.status().hosts] == ["running", "running"]

    def test_killed_engine(self, make_lab):
        """The engine dies, its containers live on; it can be started again."""
        lab = make_lab(1)
        serve(lab, "web-1")
        lab.kill_engine("web-1")
        assert lab.status().hosts[0].engine is False
        assert "httpd" in lab.run("web-1", ["ps", "-e", "-o", "comm"]).stdout
        lab.start_engine("web-1")
        assert lab.docker("web-1", "ps", "-q", "--filter", "name=front").stdout


class TestLife:
    """Labs come and go without a trace."""

    def test_down_leaves_nothing(self, make_lab):
        """No process, link, firewall rule, cgroup, mount or file."""
        lab = make_lab([HostOptions("a", disk_mb=64), "b"])
        serve(lab, "a")
        lab.slow("a", 5)
        assert len(leftovers(lab.layout)) > 6
        lab.down()
        assert leftovers(lab.layout) == ()
        assert not lab.layout.root.exists()

    def test_labs_side_by_side(self, make_lab):
        """Two labs with hosts of the same names share nothing."""
        one, two = make_lab(1), make_lab(1)
        assert one.host("web-1").address != two.host("web-1").address
        serve(one, "web-1")
        assert two.docker("web-1", "ps", "-aq").stdout == ""
        one.down()
        assert two.status().hosts[0].engine

    @pytest.mark.parametrize("moment", ["running", "plugging in"])
    def test_a_killed_run_is_cleaned_up(self, lab_base, moment):
        """After kill -9 of whoever started the lab, another process removes all of it, or starts anew."""
        root = lab_base / f"killed-{moment.replace(' ', '-')}"
        die = "os.kill(os.getpid(), 9)"
        early = f"network.plug_in = lambda *a: {die}\n" if moment == "plugging in" else ""
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom orchestrator.lab import Lab, network\n"
            f"{early}Lab(Path(sys.argv[1]), hosts=2).up()\n{die}\n"
        )
        killed = subprocess.run([sys.executable, "-c", code, str(root)], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert leftovers(Layout.of(root))
        if moment == "running":
            assert [host.engine for host in up(root, 1).hosts] == [True]
        down(root)
        assert leftovers(Layout.of(root)) == ()
        assert not root.exists()

    def test_a_failed_start_leaves_nothing(self, lab_base, monkeypatch):
        """When a host does not start, the error shows its last words and the rest is taken down."""
        monkeypatch.setattr("orchestrator.lab.provision._SSHD", "Nonsense\n")
        lab = Lab(lab_base / "failed", hosts=2)
        with pytest.raises(LabError, match="cannot start web-1") as failure:
            lab.up()
        assert any("Nonsense" in line for line in failure.value.context)
        assert leftovers(lab.layout) == ()

    def test_up_from_the_command_line(self, lab_base):
        """Up is idempotent, any process can use a lab, and one that is not there is an error."""
        root = lab_base / "cli"
        try:
            first = up(root, 2)
            assert up(root, 2) == first == status(root)
            ssh = subprocess.run(
                ssh_command(root, "db-1", ["hostname"]), capture_output=True, text=True, check=False
            )
            assert ssh.stdout == "db-1\n"
            assert up(root, ["other"]).hosts[0].host.name == "other"
        finally:
            down(root)
        with pytest.raises(RequestError, match="cannot find a lab"):
            status(root)
        down(root)

    def test_builder_outlives_one_lab_but_not_the_last(self, make_lab, tmp_path, monkeypatch):
        """Labs share the builder; its data stays, its processes go with the last lab, in any environment."""
        monkeypatch.setenv("DEPLOY_LAB_CACHE", str(tmp_path / "cache"))
        one, two = make_lab([HostOptions("a", kind="bare")]), make_lab([HostOptions("a", kind="bare")])
        socket = one.builder_socket()
        assert two.builder_socket() == socket
        name = busybox_image(socket)
        monkeypatch.delenv("DEPLOY_LAB_CACHE")
        one.down()
        assert busybox_image(socket) == name
        two.down()
        assert processes.find(tmp_path) == ()
        assert cleanup.cgroups(Layout.of(socket.parent).tag) == ()
        assert (socket.parent / "data").is_dir()
