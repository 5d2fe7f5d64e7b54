"""Who sits in which slot of the router, with what share of the traffic: the agent's own record.

Owns the record and the rules of seats: a container keeps its slot as long as it is recorded, and a slot
is given away only when its last occupant is gone. Pure; :mod:`.home` reads and writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterable, Optional, Tuple

from orchestrator.protocol.routing import Member

ATTACHED = "attached"
"""Proven by the router, without traffic; reachable by the preview."""
SERVING = "serving"
DRAINING = "draining"
"""Served before; gets nothing new, may serve again at once."""

Key = Tuple[str, int, str]
"""How messages name a container: (service, slot, release label)."""

FULL = 256
"""HAProxy's largest weight."""


@dataclass(frozen=True)
class Seat:
    """One container in the router."""

    service: str
    slot: int
    """Of the service."""
    release: str
    """Its own release label."""
    container: str
    """Its id."""
    address: str
    server: int
    """Number of the server, 1-based: ``s1`` in every backend of the service."""
    state: str = ATTACHED
    weight: int = 0
    """0 unless it serves."""

    @property
    def key(self) -> Key:
        """How messages name it."""
        return (self.service, self.slot, self.release)

    @property
    def name(self) -> str:
        """How people are told of it: ``service[slot] of release``."""
        return f"{self.service}[{self.slot}] of {self.release}"


@dataclass(frozen=True)
class Table:
    """The whole record of one router."""

    seats: Tuple[Seat, ...] = ()
    """Sorted by service and server."""
    maintenance: Tuple[str, ...] = ()
    """Routes switched to maintenance by hand, sorted."""

    def of(self, service: str) -> Tuple[Seat, ...]:
        """Return the seats of ``service``."""
        return tuple(seat for seat in self.seats if seat.service == service)

    def find(self, service: str, slot: int, release: str) -> Optional[Seat]:
        """Return the seat of a container, or ``None`` when it has none."""
        for seat in self.seats:
            if seat.key == (service, slot, release):
                return seat
        return None

    def free(self, service: str, slots: int, busy: Iterable[int] = ()) -> int:
        """Return the lowest free server of ``service``; 0 when all ``slots`` are taken.

        Args:
            service: Whose backends.
            slots: How many servers they have.
            busy: Servers without a seat that still have sessions.
        """
        taken = {seat.server for seat in self.of(service)} | set(busy)
        return next((number for number in range(1, slots + 1) if number not in taken), 0)

    def put(self, seat: Seat) -> "Table":
        """Return the table with ``seat`` in place of an earlier one of the same container."""
        return self._with([other for other in self.seats if other.key != seat.key] + [seat])

    def without(self, service: str, slot: int, release: str) -> "Table":
        """Return the table without a container."""
        return self._with([seat for seat in self.seats if seat.key != (service, slot, release)])

    def shifted(self, service: str, members: Iterable[Member]) -> "Table":
        """Return the table after a shift: whoever of ``service`` is not named drains."""
        weights = {(service, member.slot, member.release): member.weight for member in members}
        return self._with(
            [
                seat if seat.service != service else _weighed(seat, weights.get(seat.key, 0))
                for seat in self.seats
            ]
        )

    def maintained(self, route: str, *, on: bool) -> "Table":
        """Return the table with ``route`` in maintenance, or no longer."""
        others = set(self.maintenance) - {route}
        return replace(self, maintenance=tuple(sorted(others | ({route} if on else set()))))

    def only(self, services: Iterable[str]) -> "Table":
        """Return the table without seats of other services."""
        kept = set(services)
        return self._with([seat for seat in self.seats if seat.service in kept])

    def _with(self, seats: Iterable[Seat]) -> "Table":
        return replace(self, seats=tuple(sorted(seats, key=lambda seat: (seat.service, seat.server))))


def _weighed(seat: Seat, weight: int) -> Seat:
    if weight > 0:
        return replace(seat, state=SERVING, weight=weight)
    return replace(seat, state=ATTACHED if seat.state == ATTACHED else DRAINING, weight=0)
