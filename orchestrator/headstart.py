"""Connecting to the hosts while the rest of the program is still being imported and the spec read.

Owns the head start: hosts are known from the inventory alone, and a host takes longer to answer than
this machine to read a spec. Only looks: an agent is started where it is installed, nothing is asked of
it, and nothing is installed before the spec has been read, which may turn out wrong. Nothing is said
either before somebody adopts the fleet: a spec that turns out to be wrong is then the only news.

Light on purpose, like all it imports: the model and pydantic come after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from orchestrator.errors import InventoryError
from orchestrator.events import Event, Listener
from orchestrator.options import Options
from orchestrator.remote.fleet import SshFleet
from orchestrator.spec.inventory import load_inventory
from orchestrator.spec.inventory_types import Inventory


class HeadStart:
    """A fleet that connects already, and the inventory it is from.

    Args:
        inventory: Its hosts.
        began: When the run began, by the monotonic clock.
    """

    def __init__(self, inventory: Inventory, began: float) -> None:
        self.inventory = inventory
        self.began = began
        self._lock = threading.Lock()
        self._listener: Listener | None = None
        self._held: list[Event] = []
        self._fleet = SshFleet(inventory.get, self._hear, looking=True)
        self._fleet.connect(host.name for host in inventory.hosts)

    def adopt(self, listener: Listener) -> SshFleet:
        """Return the fleet, which tells ``listener`` everything from its beginning."""
        with self._lock:
            self._listener = listener
            for event in self._held:
                listener(event)
            self._held.clear()
        self._fleet.allow()
        return self._fleet

    def close(self) -> None:
        """End all connections. May be called twice, and when the fleet was closed already."""
        self._fleet.close()

    def _hear(self, event: Event) -> None:
        with self._lock:
            if self._listener is None:
                self._held.append(event)
                return
        self._listener(event)


@contextmanager
def head_start(options: Options) -> Iterator[HeadStart | None]:
    """Connect to all hosts of the inventory within the block, or give ``None`` where that may be too many.

    ``--limit`` may name services, so it takes the spec to know whom it means. An inventory that is wrong
    is not reported here: whoever reads the spec does that, in order.
    """
    began = time.monotonic()
    path = options.inventory_file
    ahead: HeadStart | None = None
    if path is not None and not options.limit:
        try:
            ahead = HeadStart(load_inventory(path), began)
        except InventoryError:
            ahead = None
    try:
        yield ahead
    finally:
        if ahead is not None:
            ahead.close()
