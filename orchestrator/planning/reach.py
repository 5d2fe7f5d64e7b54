"""Which hosts and slots a plan may touch, and what it carries over untouched.

Owns the handling of hosts that are down and of ``--limit``. A host that is down is planned around when
nothing on it would change; otherwise nothing at all is planned. It must not know what is planned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.errors import HostUnreachable
from orchestrator.planning.limit import Limit
from orchestrator.planning.observed import ACTIVE, Index, Slot
from orchestrator.planning.types import Carried, Desired, DesiredInstance
from orchestrator.protocol.instance import InstanceConfig


@dataclass(frozen=True)
class Reach:
    """What a plan may touch."""

    hosts: frozenset[str]
    """Chosen, and they answered."""
    slots: tuple[Slot, ...]
    """Slots that every host they are on or go to is among ``hosts``, sorted: only these are planned.
    A slot that moves between a chosen host and another stays where it is."""
    wanted: dict[Slot, DesiredInstance]
    """What should run, by slot; of ``slots`` and others."""
    skipped: tuple[tuple[str, str], ...]
    """(host, why): down, and nothing to change on them; sorted."""
    carried: tuple[Carried, ...]
    """What the release in force has in slots that are not planned, sorted."""


def reach(desired: Desired, index: Index, limit: Limit) -> Reach:
    """Return what a plan from ``index`` to ``desired`` may touch.

    Raises:
        HostUnreachable: A chosen host is down, and something on it would change or cannot be told.
    """
    wanted = {item.key: item for item in desired.instances}
    down = dict(index.down)
    for item in desired.instances:
        if item.host not in index.up:
            down.setdefault(item.host, "it was not asked")
    skipped = tuple(_around(desired, index, limit, down))
    hosts = frozenset(host for host in index.up if limit.host(host))
    touched = _touched(index, wanted, limit, down)
    slots = tuple(sorted(slot for slot, on in touched.items() if limit.service(slot[0]) and on <= hosts))
    return Reach(hosts, slots, wanted, skipped, tuple(_carried(index, frozenset(slots), touched)))


def _touched(
    index: Index, wanted: dict[Slot, DesiredInstance], limit: Limit, down: dict[str, str]
) -> dict[Slot, set[str]]:
    """Return the hosts of each slot: where it is, where it was last known, where it goes."""
    touched: defaultdict[Slot, set[str]] = defaultdict(set)
    for slot, item in wanted.items():
        touched[slot].add(item.host)
    for slot, found in index.slots.items():
        touched[slot].update(item.host for item in found if item.container.state in ACTIVE)
    for instance in index.current.instances if index.current else ():
        on = touched[instance.service, instance.slot]
        # A host that left the inventory can be asked for nothing: what it holds is lost to us.
        left = instance.host not in index.up and instance.host not in down and limit.host(instance.host)
        if not left:
            on.add(instance.host)
    return touched


def _around(desired: Desired, index: Index, limit: Limit, down: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (host, why) for each host that is planned around."""
    gets: defaultdict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for item in desired.instances:
        if item.host in down and limit.service(item.service):
            gets[item.host].append((item.service, item.slot, item.config.digest))
    lost: list[tuple[str, str]] = []
    for host in sorted(name for name in down if limit.host(name)):
        holds = [
            (item.service, item.slot, item.digest)
            for item in index.holdings.get(host, ())
            if limit.service(item.service)
        ]
        if sorted(holds) != sorted(gets[host]):
            lost.append((host, _what(holds, gets[host])))
        elif holds:
            yield host, f"{_bare(host, down[host])}; nothing would change on it"
        else:
            yield host, f"{_bare(host, down[host])}; it holds nothing"
    for host in sorted(index.holdings.keys() - index.up.keys() - down.keys()):
        if limit.host(host):
            names = _names([(item.service, item.slot, "") for item in index.holdings[host]])
            yield host, f"no longer in the inventory; it held {names}"
    if lost:
        host, what = lost[0]
        asked = {item.name: item for item in index.observed.hosts}.get(host)
        others = [f"{other}: {_bare(other, down[other])}, and {what}" for other, what in lost[1:]]
        raise HostUnreachable(
            host,
            f"{_bare(host, down[host])}, and {what}",
            hint=f"{(asked and asked.hint) or 'bring it back'}; or name the other hosts with --limit",
            context=[*(asked.context if asked else ()), *others],
        )


def _bare(host: str, error: str) -> str:
    return error.removeprefix(f"{host}: ")


def _what(holds: list[tuple[str, int, str]], gets: list[tuple[str, int, str]]) -> str:
    if not holds:
        return f"it should get {_names(gets)}"
    if {slot[:2] for slot in holds} == {slot[:2] for slot in gets}:
        return f"what it holds would change: {_names(sorted(set(gets) - set(holds)))}"
    return f"it holds {_names(holds)}"


def _names(slots: list[tuple[str, int, str]]) -> str:
    shown = ", ".join(f"{service}[{slot}]" for service, slot, _ in sorted(slots)[:5])
    return f"{shown} and {len(slots) - 5} more" if len(slots) > 5 else shown


def _carried(index: Index, planned: frozenset[Slot], touched: dict[Slot, set[str]]) -> Iterator[Carried]:
    instances = index.current.instances if index.current else ()
    for item in sorted(instances, key=lambda item: (item.service, item.slot, item.host)):
        slot = (item.service, item.slot)
        if slot not in planned and item.host in touched[slot]:
            yield Carried(item, config_of(index, item.host, slot, item.digest))


def config_of(index: Index, host: str, slot: Slot, digest: str) -> InstanceConfig | None:
    """Return the configuration with that digest as ``host`` knows it, from a container or its records."""
    for item in index.slots.get(slot, ()):
        if item.host == host and item.container.digest == digest and item.container.config is not None:
            return item.container.config
    report = index.up.get(host)
    for record in reversed(report.releases) if report else ():
        for config in record.configs:
            if config.service == slot[0] and config.digest == digest:
                return config
    return None
