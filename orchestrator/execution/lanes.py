"""How much may be under way at once, overall and on each host.

Owns the limits and the count of *lanes*. A chain of fused operations runs one at a time and so takes
one lane. The chains of a request cover its operations, hence no host ever runs more at once than it
has lanes (the easy half of Dilworth's theorem). Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much may be under way at the same time."""

    operations: int = 512
    """Lanes over the whole fleet."""
    operations_per_host: int = 32
    ships: int = 16
    """Images under way over the whole fleet."""
    ships_per_host: int = 2

    def __post_init__(self) -> None:
        if min(self.operations, self.operations_per_host, self.ships, self.ships_per_host) < 1:
            raise ValueError("a limit below 1 lets nothing ever start")


class Lanes:
    """Who runs beside whom: chains of fused operations, one lane each."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lane: dict[str, int] = {}
        self._tail: dict[int, str] = {}
        self._length: Counter[int] = Counter()
        self._host: dict[int, str] = {}
        self._open: Counter[str] = Counter()
        self._next = 0

    def enter(self, name: str, host: str, before: Sequence[str]) -> bool:
        """Find a lane for an operation: one that ends in a predecessor, else a free one."""
        for lane in (self._lane[b] for b in before):
            if self._tail[lane] in before:
                self._place(name, lane)
                return True
        full = self._open[host] >= self._limits.operations_per_host
        if full or self._open.total() >= self._limits.operations:
            return False
        self._next += 1
        self._open[host] += 1
        self._host[self._next] = host
        self._place(name, self._next)
        return True

    def leave(self, name: str) -> None:
        """Take an operation out; its lane is free when it was the last one in it."""
        lane = self._lane.pop(name, None)
        if lane is None:
            return
        self._length[lane] -= 1
        if not self._length[lane]:
            self._open[self._host.pop(lane)] -= 1
            del self._length[lane], self._tail[lane]

    def _place(self, name: str, lane: int) -> None:
        self._lane[name] = lane
        self._tail[lane] = name
        self._length[lane] += 1
