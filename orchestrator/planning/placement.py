"""Which host runs which slot of which service, and why there.

Owns the spreading of slots over hosts. Stable before even: a slot stays where it is for as long as its
host is among the service's hosts, whatever is added or reordered; only slots without a host are given
one, and then the one with the fewest instances of that service, of the project, and the first name.
It must not know what an instance looks like.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.model import Project, Service


@dataclass(frozen=True)
class Placed:
    """One slot on its host."""

    service: str
    slot: int
    """1-based within the service. With ``per_host`` numbers may be missing: a host that leaves takes
    its own along, and the others keep theirs."""
    host: str
    why: str
    """One clause for people: ``stays where it runs``."""


Current = Mapping[tuple[str, int], str]
"""(service, slot) -> the host it is on now."""


def place(project: Project, inventory: Inventory, current: Current) -> tuple[Placed, ...]:
    """Return every slot of every service with its host, sorted by service and slot.

    Raises:
        SpecError: A service names hosts the inventory does not have, or there is none to run it on.
    """
    eligible = _eligible(project, inventory)
    load: Counter[str] = Counter()
    kept: dict[str, dict[int, str]] = {}
    at: dict[str, dict[int, str]] = {name: {} for name in project.services}
    for (name, slot), host in current.items():
        if name in at:
            at[name][slot] = host
    for name in sorted(project.services):
        kept[name] = _kept(project.services[name], eligible[name], at[name])
        load.update(kept[name].values())
    pools: dict[tuple[str, ...], _Pool] = {}
    placed: list[Placed] = []
    for name in sorted(project.services):
        service, hosts, stay = project.services[name], eligible[name], kept[name]
        new = _per_host(service.per_host, hosts, stay) if service.per_host is not None else None
        if new is None:
            slots = [slot for slot in range(1, _replicas(service) + 1) if slot not in stay]
            if hosts not in pools:
                pools[hosts] = _Pool(hosts, load)
            new = dict(zip(slots, pools[hosts].take(len(slots), stay), strict=True))
        else:
            load.update(new.values())
        every = {**stay, **new}
        placed += [
            Placed(name, slot, every[slot], _why(service, len(hosts), slot in stay, at[name].get(slot)))
            for slot in sorted(every)
        ]
    return tuple(placed)


def _eligible(project: Project, inventory: Inventory) -> dict[str, tuple[str, ...]]:
    """Return the hosts of each service, sorted by name."""
    selected: dict[tuple[str, ...], tuple[str, ...]] = {}
    problems: list[Problem] = []
    found: dict[str, tuple[str, ...]] = {}
    for name, service in sorted(project.services.items()):
        path = f"services.{name}.hosts"
        if service.hosts not in selected:
            if unknown := inventory.unknown(service.hosts):
                problems += [Problem(problem.message, path=path, hint=problem.hint) for problem in unknown]
                continue
            selected[service.hosts] = tuple(sorted(host.name for host in inventory.select(service.hosts)))
        found[name] = selected[service.hosts]
        if not found[name] and service.per_host is None and _replicas(service):
            problems.append(Problem("no host of the inventory is among these", path=path))
    if problems:
        raise SpecError(problems, hint="the hosts are those of the inventory")
    return found


def _replicas(service: Service) -> int:
    return 1 if service.replicas is None else service.replicas


def _kept(service: Service, hosts: tuple[str, ...], at: Mapping[int, str]) -> dict[int, str]:
    """Return the slots that stay where they are."""
    among = set(hosts)
    kept: dict[int, str] = {}
    count: Counter[str] = Counter()
    for slot, host in sorted(at.items()):
        fits = slot <= _replicas(service) if service.per_host is None else count[host] < service.per_host
        if slot >= 1 and host in among and fits:
            kept[slot] = host
            count[host] += 1
    return kept


def _per_host(per_host: int, hosts: Sequence[str], kept: Mapping[int, str]) -> dict[int, str]:
    """Return the missing slots: the lowest free numbers, hosts in order of name."""
    count = Counter(kept.values())
    free = (slot for slot in range(1, per_host * len(hosts) + len(kept) + 1) if slot not in kept)
    return {next(free): host for host in hosts for _ in range(per_host - count[host])}


def _why(service: Service, hosts: int, stays: bool, before: str | None) -> str:
    if service.per_host is not None:
        return f"{service.per_host} on each of {hosts} hosts"
    if stays:
        return "stays where it runs"
    if before is not None:
        return f"{before} is no longer among its hosts"
    return f"{_replicas(service)} spread over {hosts} hosts"


class _Pool:
    """The hosts of one selection, the least loaded first.

    The heap holds one (load, host) for each host, as it was when pushed. Loads only grow, so an entry
    that has become too low is pushed again when it surfaces.
    """

    def __init__(self, hosts: tuple[str, ...], load: Counter[str]) -> None:
        self._load = load
        self._hosts = hosts
        self._heap = [(load[host], host) for host in hosts]
        heapq.heapify(self._heap)

    def take(self, number: int, kept: Mapping[int, str]) -> list[str]:
        """Return hosts for ``number`` slots beside those in ``kept``, and count them as loaded."""
        if not number:
            return []
        if kept or number > len(self._hosts):
            chosen = self._level(number, kept)
            self._load.update(chosen)
            return chosen
        chosen = list(self._lightest(number))
        self._load.update(chosen)
        for host in chosen:
            heapq.heappush(self._heap, (self._load[host], host))
        return chosen

    def _lightest(self, number: int) -> Iterator[str]:
        taken = 0
        while taken < number:
            load, host = heapq.heappop(self._heap)
            if load == self._load[host]:
                taken += 1
                yield host
            else:
                heapq.heappush(self._heap, (self._load[host], host))

    def _level(self, number: int, kept: Mapping[int, str]) -> list[str]:
        """Fill up the hosts with the fewest instances of this service, one after the other."""
        count = Counter(kept.values())
        heap = [(count[host], self._load[host], host) for host in self._hosts]
        heapq.heapify(heap)
        chosen = []
        for _ in range(number):
            mine, load, host = heap[0]
            heapq.heapreplace(heap, (mine + 1, load + 1, host))
            chosen.append(host)
        return chosen
