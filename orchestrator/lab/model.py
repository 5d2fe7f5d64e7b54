"""What a lab is made of: its hosts, the folder each lives in, and the names derived from that folder.

It owns the vocabulary (kinds, records, layout on disk) and must not know how a host is started.
Every name outside the folder (bridge, links, cgroups, firewall comment) is derived from the folder's
absolute path, so that whatever a killed run left can be found without any record of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from orchestrator.errors import RequestError

Kind = Literal["docker", "bare", "trixie", "podman"]
"""``docker``: the machine's own engine; ``bare``: no engine; ``trixie``: Debian 13's engine in a root of
its own; ``podman``: Debian 13's Podman, serving the engine's API on the same socket path."""

State = Literal["running", "cut", "stopped"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_FIRST_ADDRESS = 11
_MOST_HOSTS = 240


@dataclass(frozen=True)
class HostOptions:
    """What a host should be like, as asked for by whoever starts the lab."""

    name: str
    kind: Kind = "docker"
    python: bool = True
    """False hides ``python3``, as on a minimal server image."""
    disk_mb: int | None = None
    """Size in MiB of the disk that holds the engine's data and ``/var/lib/deploy``; None: no limit."""
    containerd_store: bool = False
    """Use the containerd image store (``trixie`` only)."""


@dataclass(frozen=True)
class LabHost:
    """One host of a lab: its options and where it is."""

    options: HostOptions
    index: int
    """0-based position, stable for the life of the lab."""
    address: str
    """IPv4 address on the lab's bridge, reachable from the machine and from the other hosts."""
    folder: Path
    """Where the host keeps what survives a reboot."""
    link: str
    """The bridge's end of the host's network cable."""

    @property
    def name(self) -> str:
        """Host name, as in the inventory."""
        return self.options.name

    @property
    def boot_script(self) -> Path:
        """First process of the host; its path in a command line is how a running host is recognised."""
        return self.folder / "boot"

    @property
    def has_engine(self) -> bool:
        """Whether a container engine is started with the host."""
        return self.options.kind != "bare"


@dataclass(frozen=True)
class HostStatus:
    """A host and what it is doing right now."""

    host: LabHost
    state: State
    engine: bool
    """Whether the engine answers."""


@dataclass(frozen=True)
class LabStatus:
    """A lab and the state of its hosts."""

    root: Path
    name: str
    subnet: str
    hosts: tuple[HostStatus, ...]


@dataclass(frozen=True)
class Layout:
    """The files and names of the lab in ``root``."""

    root: Path
    """Absolute, resolved."""

    @classmethod
    def of(cls, root: Path) -> Layout:
        """The layout for ``root``, whether or not a lab exists there."""
        return cls(root.expanduser().resolve())

    @property
    def ident(self) -> str:
        """Eight hexadecimal digits that tell this lab from others on the machine."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:8]

    @property
    def bridge(self) -> str:
        """Name of the bridge (Linux allows 15 characters)."""
        return f"dl{self.ident}"

    @property
    def tag(self) -> str:
        """Name of the lab's cgroups and the comment on its firewall rule."""
        return f"deploy-lab-{self.ident}"

    @property
    def hosts(self) -> Path:
        """Folder of the hosts' folders."""
        return self.root / "hosts"

    @property
    def record(self) -> Path:
        """What was asked for, so that any process can work with the lab."""
        return self.root / "lab.json"

    @property
    def inventory(self) -> Path:
        """Inventory of the fleet, in Ansible's YAML form."""
        return self.root / "inventory.yaml"

    @property
    def known_hosts(self) -> Path:
        """Host keys of the fleet."""
        return self.root / "known_hosts"

    @property
    def identity(self) -> Path:
        """The client's private key; the public one is beside it."""
        return self.root / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        """OpenSSH client configuration with an entry for each host."""
        return self.root / "ssh_config"

    @property
    def builder(self) -> Path:
        """Names the folder of the builder that the lab uses; there once it uses one."""
        return self.root / "builder"

    @property
    def log(self) -> Path:
        """Folder of the hosts' logs; kept when a start fails."""
        return self.root / "log"

    def link(self, index: int) -> str:
        """The bridge's end of host ``index``'s cable."""
        return f"{self.bridge}-{index}"

    def hosts_for(self, subnet: str, options: Sequence[HostOptions]) -> tuple[LabHost, ...]:
        """Give each host its address in ``subnet`` (``10.x.y.0/24``) and its folder."""
        prefix = subnet.rsplit(".", 1)[0]
        return tuple(
            LabHost(
                options=option,
                index=index,
                address=f"{prefix}.{_FIRST_ADDRESS + index}",
                folder=self.hosts / option.name,
                link=self.link(index),
            )
            for index, option in enumerate(options)
        )

    def gateway(self, subnet: str) -> str:
        """The machine's own address on the bridge."""
        return f"{subnet.rsplit('.', 1)[0]}.1"

    def write_record(self, name: str, subnet: str, options: Sequence[HostOptions]) -> None:
        """Remember the lab, replacing an older record in one step."""
        text = json.dumps({"name": name, "subnet": subnet, "hosts": [asdict(o) for o in options]}, indent=1)
        temporary = self.record.with_suffix(".tmp")
        temporary.write_text(text + "\n")
        temporary.replace(self.record)

    def read_record(self) -> tuple[str, str, tuple[HostOptions, ...]]:
        """Name, subnet and hosts of the lab in this folder.

        Raises:
            RequestError: There is none, or its record cannot be read.
        """
        try:
            data = json.loads(self.record.read_text())
            return str(data["name"]), str(data["subnet"]), tuple(HostOptions(**h) for h in data["hosts"])
        except FileNotFoundError:
            raise RequestError(
                f"cannot find a lab in {self.root}", hint="start one with: deploy lab up"
            ) from None
        except (ValueError, TypeError, KeyError) as error:
            raise RequestError(
                f"cannot read {self.record}: {error}", hint="remove the lab with: deploy lab down"
            ) from error


def host_options(hosts: int | Sequence[str | HostOptions]) -> tuple[HostOptions, ...]:
    """Turn what a caller asks for into options of each host.

    A number gives ``web-1`` ... and ``db-1`` as the last; strings are names of ordinary hosts.

    Raises:
        RequestError: No hosts, too many, an unusable name, or a name used twice.
    """
    if isinstance(hosts, int):
        if hosts > _MOST_HOSTS:
            raise RequestError(f"cannot start {hosts} hosts: a lab has room for {_MOST_HOSTS}")
        names = [f"web-{number}" for number in range(1, max(hosts, 2))]
        hosts = names + ["db-1"] * (hosts > 1) if hosts > 0 else []
    options = tuple(HostOptions(host) if isinstance(host, str) else host for host in hosts)
    if not 0 < len(options) <= _MOST_HOSTS:
        raise RequestError(f"cannot start {len(options)} hosts: a lab has between 1 and {_MOST_HOSTS}")
    seen: set[str] = set()
    for option in options:
        _check(option)
        if option.name in seen:
            raise RequestError(f"cannot start two hosts called {option.name}")
        seen.add(option.name)
    return options


def _check(option: HostOptions) -> None:
    if not _NAME.fullmatch(option.name):
        raise RequestError(
            f"cannot call a host {option.name!r}",
            hint="use lower-case letters, digits and hyphens, 40 at most",
        )
    if option.kind not in get_args(Kind):
        raise RequestError(
            f"cannot start {option.name}: no kind {option.kind!r}",
            hint="kinds of hosts: " + ", ".join(get_args(Kind)),
        )
    if option.disk_mb is not None and option.disk_mb < 1:
        raise RequestError(f"cannot give {option.name} a disk of {option.disk_mb} MiB")
    if option.containerd_store and option.kind != "trixie":
        raise RequestError(
            f"cannot use the containerd image store on {option.name}",
            hint="it needs an engine of version 23 or later: kind 'trixie'",
        )
