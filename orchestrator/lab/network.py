"""The lab's network: a bridge, a cable to each host, and the machine's consent to carry the traffic.

It owns the links, the subnet and the firewall rule, and must not know what runs in the hosts.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from orchestrator.lab.model import LabHost, Layout
from orchestrator.lab.processes import LabError, call

_LOCK = Path("/run/lock/deploy-lab.lock")
_SUBNETS = 200 * 256


def candidates(ident: str) -> Iterator[str]:
    """Every subnet the lab may use, its own favourite first: ``10.20.0.0/24`` to ``10.219.255.0/24``."""
    start = zlib.crc32(ident.encode())
    for step in range(_SUBNETS):
        number = (start + step) % _SUBNETS
        yield f"10.{20 + number // 256}.{number % 256}.0/24"


def free_subnet(ident: str, taken: Iterable[str]) -> str:
    """The first candidate that overlaps none of ``taken`` (networks in CIDR form).

    Raises:
        LabError: The machine's routes cover all of them.
    """
    networks = [ipaddress.ip_network(network, strict=False) for network in taken]
    used = [network for network in networks if isinstance(network, ipaddress.IPv4Network)]
    for candidate in candidates(ident):
        network = ipaddress.IPv4Network(candidate)
        if not any(network.overlaps(other) for other in used):
            return candidate
    raise LabError("cannot find a free subnet below 10.0.0.0/8", hint="take down labs that are not in use")


def _taken() -> list[str]:
    """Networks the machine has an address in or a route to, other than its default route."""
    routes = json.loads(call(["ip", "-4", "-json", "route", "show"], why="read the machine's routes"))
    return [str(route["dst"]) for route in routes if route["dst"] != "default"]


@contextmanager
def _machine_lock() -> Iterator[None]:
    """One lab at a time chooses a subnet; the address on its bridge is the reservation afterwards."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_bridge(layout: Layout, wanted: str | None) -> str:
    """Make the lab's bridge and return its subnet: ``wanted`` (an earlier run's) where it is still free."""
    with _machine_lock():
        taken = _taken()
        free = free_subnet(layout.ident, taken)
        if wanted and not any(
            ipaddress.ip_network(wanted).overlaps(ipaddress.ip_network(t, strict=False)) for t in taken
        ):
            free = wanted
        _batch(
            f"link add {layout.bridge} type bridge",
            f"addr add {layout.gateway(free)}/24 dev {layout.bridge}",
            f"link set {layout.bridge} up",
        )
    call(["iptables", "-w", "-I", "FORWARD", *_rule(layout)], why="let the hosts reach each other")
    return free


def plug_in(layout: Layout, pids: Mapping[LabHost, int]) -> None:
    """Run a cable from the bridge into the network namespace of each host's first process."""
    lines: list[str] = []
    for host, pid in pids.items():
        lines += [
            f"link add {host.link} type veth peer name eth0 address {mac(host.address)} netns {pid}",
            f"link set {host.link} master {layout.bridge} up",
        ]
    _batch(*lines)


def mac(address: str) -> str:
    """The hardware address for an IPv4 address: a host that reboots keeps its network card.

    With another one it could not be reached until the neighbours have forgotten the old, up to 10 s.
    """
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in address.split("."))])


def unplug(links: Sequence[str]) -> None:
    """Remove cables, if they are there (the kernel removes those of an ended host, but takes its time)."""
    present = existing(links)
    if present:
        _batch(*(f"link del {link}" for link in present), force=True)


def set_link(link: str, *, up: bool) -> None:
    """Connect or cut a host at the bridge's end of its cable."""
    call(["ip", "link", "set", link, "up" if up else "down"], why=f"{'heal' if up else 'cut'} {link}")


def is_cut(link: str) -> bool:
    """Whether the bridge's end of a cable is down."""
    try:
        flags = int(Path(f"/sys/class/net/{link}/flags").read_text(), 16)
    except FileNotFoundError:
        return True
    return not flags & 1  # IFF_UP


def existing(links: Sequence[str]) -> list[str]:
    """Those of ``links`` that exist."""
    return [link for link in links if Path("/sys/class/net", link).exists()]


def lab_links(layout: Layout) -> list[str]:
    """Every link of the lab that exists, the bridge last."""
    links = sorted(path.name for path in Path("/sys/class/net").glob(f"{layout.bridge}-*"))
    return [*links, *existing([layout.bridge])]


def rules(layout: Layout) -> list[str]:
    """The lab's rules in the machine's FORWARD chain, as ``iptables -S`` writes them."""
    listing = subprocess.run(
        ["iptables", "-w", "-S", "FORWARD"], capture_output=True, text=True, check=False
    ).stdout
    return [line for line in listing.splitlines() if f"-i {layout.bridge} " in line]


def remove(layout: Layout) -> None:
    """Remove the lab's links and firewall rules, however many there are."""
    unplug(lab_links(layout))
    for _ in rules(layout):
        call(["iptables", "-w", "-D", "FORWARD", *_rule(layout)], why="remove the lab's firewall rule")


def _rule(layout: Layout) -> list[str]:
    """Bridged traffic passes the FORWARD chain once br_netfilter is loaded, which every engine does."""
    both = ["-i", layout.bridge, "-o", layout.bridge]
    return [*both, "-m", "comment", "--comment", layout.tag, "-j", "ACCEPT"]


def _batch(*lines: str, force: bool = False) -> None:
    argv = ["ip", *(["-force"] if force else []), "-batch", "-"]
    if force:  # goes on after a link that vanished by itself
        subprocess.run(argv, input="\n".join(lines), text=True, capture_output=True, check=False)
        return
    call(argv, text="\n".join(lines) + "\n", why="set up the lab's network")
