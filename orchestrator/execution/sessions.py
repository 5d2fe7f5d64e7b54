"""The sessions of one run: to close them all, and to count what they cost.

Owns the memory of them only; connecting is the fleet's.
"""

from __future__ import annotations

from collections import Counter

from orchestrator.ports import Fleet, Session


class Sessions:
    """The fleet, and a memory of every session that was used: to close them all, and to count."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._used: dict[Session, str] = {}

    def session(self, host: str) -> Session:
        """See :class:`~orchestrator.ports.Fleet`; called from workers too."""
        session = self._fleet.session(host)
        self._used.setdefault(session, host)
        return session

    def fresh(self, host: str) -> Session:
        """See :class:`~orchestrator.ports.Fleet`; called from workers."""
        session = self._fleet.fresh(host)
        self._used.setdefault(session, host)
        return session

    def close(self) -> None:
        """Let go of every host: the agents end what they are at, and the leases end with them."""
        for session in list(self._used):
            session.close()

    @property
    def bytes_sent(self) -> int:
        """Bytes handed to all connections."""
        return sum(session.bytes_sent for session in list(self._used))

    @property
    def round_trips(self) -> dict[str, int]:
        """Host -> requests made, sorted."""
        trips: Counter[str] = Counter()
        for session, host in list(self._used.items()):
            trips[host] += session.round_trips
        return dict(sorted(trips.items()))
