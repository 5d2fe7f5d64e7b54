"""A lab: start a fleet, hurt it, take it down.

It owns the life of hosts and is the one class others use; how a host is provisioned, connected or hurt
is in the modules beside it. All state is in the lab's folder and in the kernel, none in the object, so
that any process can work with a lab that another one started.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.errors import RequestError
from orchestrator.lab import base_images, builder, cleanup, engine, faults, network, processes, provision
from orchestrator.lab.client_files import write_client_files
from orchestrator.lab.model import HostOptions, HostStatus, LabHost, LabStatus, Layout, State, host_options
from orchestrator.lab.needs import require
from orchestrator.lab.processes import Boot, LabError

_ENGINE_SOCKET = "run/docker.sock"
_ROOTS = {"trixie": "trixie", "podman": "trixie"}


class Lab:
    """A fleet of real hosts on this machine.

    Usable as a context manager, which starts it and takes it down whatever happens within.

    Args:
        root: Folder of the lab; everything it needs, and the inventory it writes, is in there.
        name: Shown to people.
        hosts: How many (``web-1`` ... ``db-1``), or their names, or their options.
    """

    def __init__(
        self, root: Path, *, name: str = "lab", hosts: int | Sequence[str | HostOptions] = 3
    ) -> None:
        self.layout = Layout.of(root)
        self.name = name
        self._options = host_options(hosts)
        self._hosts: tuple[LabHost, ...] = ()
        self._subnet = ""

    @classmethod
    def load(cls, root: Path) -> Lab:
        """The lab that was started in ``root``, by whichever process.

        Raises:
            RequestError: There is none.
        """
        layout = Layout.of(root)
        name, subnet, options = layout.read_record()
        lab = cls(root, name=name, hosts=options)
        lab._subnet = subnet
        lab._hosts = layout.hosts_for(subnet, options)
        return lab

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # Life

    def up(self) -> None:
        """Start all hosts, new and empty, and wait until their SSH servers and engines answer.

        What an earlier lab in the same folder left, running or not, is removed first.

        Raises:
            ToolMissing: The machine lacks something; the hint says how to get it.
            LabError: A host did not start; nothing is left of the lab, and the context holds its last words.
        """
        require(self._options)
        try:
            cleanup.remove_running(self.layout)
            cleanup.remove_files(self.layout)
            self.layout.log.mkdir(parents=True)
            self.layout.hosts.mkdir(mode=0o700)
            self._subnet = network.create_bridge(self.layout, self._subnet or None)
            self._hosts = self.layout.hosts_for(self._subnet, self._options)
            self.layout.write_record(self.name, self._subnet, self._options)
            key = provision.write_client_key(self.layout)
            self._start(self._hosts, key)
            write_client_files(self.layout, self._hosts)
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything and remove the folder's contents. Nothing to do is fine."""
        cleanup.remove_running(self.layout)
        builder.release(self.layout)
        cleanup.remove_files(self.layout)
        self._hosts = ()

    def status(self) -> LabStatus:
        """What every host is doing right now."""
        running = {one.script for one in processes.find(self.layout.hosts) if one.init}
        return LabStatus(
            root=self.layout.root,
            name=self.name,
            subnet=self._subnet,
            hosts=tuple(self._host_status(host, running) for host in self._hosts),
        )

    def _host_status(self, host: LabHost, running: set[str]) -> HostStatus:
        if str(host.boot_script) not in running:
            return HostStatus(host, "stopped", engine=False)
        state: State = "cut" if network.is_cut(host.link) else "running"
        return HostStatus(host, state, engine=host.has_engine and engine.answers(self.engine_socket(host)))

    def stop(self, host: str | LabHost) -> None:
        """Pull the plug: everything in the host is killed at once, and ``/run`` and ``/tmp`` are lost."""
        host = self.host(host)
        running = processes.find(host.folder)
        processes.end([pid for one in running for pid in (one.supervisor, one.init)])
        faults.end_relays(host.folder)
        network.unplug([host.link])
        cleanup.remove_cgroups(f"{self.layout.tag}/{host.name}")

    def start(self, host: str | LabHost) -> None:
        """Start a stopped host with what it had stored; its engine restarts containers as told to."""
        host = self.host(host)
        if processes.find(host.folder):
            raise LabError(f"cannot start {host.name}: it is running")
        self._start([host], provision.write_client_key(self.layout))

    def reboot(self, host: str | LabHost) -> None:
        """Power cut and start: new boot id, empty ``/run`` and ``/tmp``."""
        self.stop(host)
        self.start(host)

    def _start(self, hosts: Sequence[LabHost], public_key: str) -> None:
        boots: dict[LabHost, Boot] = {}
        try:
            with ThreadPoolExecutor(max_workers=4) as pool:
                started = pool.map(self._spawn, hosts, [public_key] * len(hosts))
                boots.update(zip(hosts, started, strict=True))
            network.plug_in(self.layout, {host: boot.pid for host, boot in boots.items()})
            for boot in boots.values():
                os.write(boot.go, b"go\n")
            for host, boot in boots.items():
                if processes.hear(boot.said) != "ready":
                    raise LabError(f"cannot start {host.name}", context=processes.tail(self._log(host)))
        finally:
            for boot in boots.values():
                os.close(boot.go)
                os.close(boot.said)
        for host in hosts:
            if host.has_engine:
                log = host.folder / "var/log/engine.log"
                engine.wait_until_ready(self.engine_socket(host), host.name, log)

    def _spawn(self, host: LabHost, public_key: str) -> Boot:
        suite = _ROOTS.get(host.options.kind)
        rootfs = base_images.host_root(suite) if suite else None
        provision.mount_disk(host)
        gateway = self.layout.gateway(self._subnet)
        provision.write_host(host, self._hosts, public_key, gateway, rootfs or Path("/"))
        variables = {
            "LAB_NAME": host.name,
            "LAB_FOLDER": str(host.folder),
            "LAB_ADDRESS": host.address,
            "LAB_KIND": host.options.kind,
            "LAB_ROOTFS": str(rootfs or ""),
            "LAB_CGROUP": f"/{self.layout.tag}/{host.name}",
        }
        return processes.spawn(host.boot_script, log=self._log(host), network=True, variables=variables)

    def _log(self, host: LabHost) -> Path:
        return self.layout.log / f"{host.name}.log"

    # Looking at hosts and running commands in them

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        """The hosts, once started."""
        return self._hosts

    def host(self, name: str | LabHost) -> LabHost:
        """The host of that name.

        Raises:
            RequestError: There is none.
        """
        if isinstance(name, LabHost):
            return name
        for host in self._hosts:
            if host.name == name:
                return host
        names = ", ".join(host.name for host in self._hosts) or "none"
        raise RequestError(f"cannot find a host called {name}", hint=f"hosts of this lab: {names}")

    def pid(self, host: str | LabHost) -> int:
        """The machine's number of the host's first process.

        Raises:
            LabError: The host is stopped.
        """
        host = self.host(host)
        for one in processes.find(host.folder):
            if one.init:
                return one.init
        raise LabError(f"cannot enter {host.name}: it is stopped", hint="start it first")

    def path(self, host: str | LabHost, inside: str) -> Path:
        """The machine's path of a file inside a running host. It changes with every reboot."""
        return Path(f"/proc/{self.pid(host)}/root", inside.lstrip("/"))

    def engine_socket(self, host: str | LabHost) -> Path:
        """The engine's socket of a running host, for use from the machine. It changes with every reboot."""
        return self.path(host, _ENGINE_SOCKET)

    def run(
        self,
        host: str | LabHost,
        argv: Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,  # noqa: A002
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a host as root, not over SSH.

        Args:
            host: The host or its name.
            argv: Command and arguments.
            check: Raise when it fails.
            input: Standard input.

        Raises:
            LabError: The host is stopped, or (with ``check``) the command failed.
        """
        line = processes.enter(self.pid(host), argv)
        return _run(line, check=check, text=input, variables=processes.environment(), what=argv)

    def docker(
        self,
        host: str | LabHost,
        *arguments: str,
        check: bool = True,
        input: str | None = None,  # noqa: A002
    ) -> subprocess.CompletedProcess[str]:
        """Run the machine's ``docker`` command against a host's engine."""
        line = [engine.docker_client(), "--host", f"unix://{self.engine_socket(host)}", *arguments]
        variables = engine.client_environment()
        return _run(line, check=check, text=input, variables=variables, what=["docker", *arguments])

    def builder_socket(self) -> Path:
        """Socket of the engine that builds, started if needed; labs share it, and it ends with the last."""
        return builder.acquire(self.layout)

    # Faults

    def cut(self, host: str | LabHost) -> None:
        """Cut the host's network: packets vanish, connections hang."""
        network.set_link(self.host(host).link, up=False)

    def heal(self, host: str | LabHost) -> None:
        """Undo :meth:`cut`."""
        network.set_link(self.host(host).link, up=True)

    def slow(self, host: str | LabHost, delay_ms: float) -> None:
        """Add ``delay_ms`` each way to new SSH connections to the host."""
        faults.slow(self.host(host), self.pid(host), delay_ms)

    def fast(self, host: str | LabHost) -> None:
        """Undo :meth:`slow`."""
        faults.fast(self.host(host), self.pid(host))

    def fill_disk(self, host: str | LabHost, *, leave_mb: int = 0) -> None:
        """Fill the host's disk (it needs ``disk_mb``) but for ``leave_mb`` MiB."""
        faults.fill_disk(self.host(host), leave_mb=leave_mb)

    def free_disk(self, host: str | LabHost) -> None:
        """Undo :meth:`fill_disk`."""
        faults.free_disk(self.host(host))

    def kill_engine(self, host: str | LabHost) -> None:
        """Kill the host's engine with SIGKILL and leave its containers running."""
        self.run(host, ["sh", "-c", "kill -KILL $(cat /run/docker.pid)"])

    def start_engine(self, host: str | LabHost) -> None:
        """Start the engine again after :meth:`kill_engine`, and wait until it answers."""
        host = self.host(host)
        self.run(host, ["kill", "-USR1", "1"])
        engine.wait_until_ready(self.engine_socket(host), host.name, host.folder / "var/log/engine.log")


def _run(
    argv: Sequence[str], *, check: bool, text: str | None, variables: Mapping[str, str], what: Sequence[str]
) -> subprocess.CompletedProcess[str]:
    stdin = {"input": text} if text is not None else {"stdin": subprocess.DEVNULL}
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, capture_output=True, text=True, check=False, env=variables, **stdin
    )
    if check and done.returncode != 0:
        raise LabError(
            f"cannot run {' '.join(what)}: status {done.returncode}",
            context=[*done.stdout.splitlines()[-5:], *done.stderr.splitlines()[-10:]],
        )
    return done
