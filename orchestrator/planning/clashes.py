"""Which containers hold a port that another one is about to need.

Owns that one question, for the plan (which then stops before it starts) and for the order of steps.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from orchestrator.planning.collisions import addresses_clash
from orchestrator.planning.observed import ACTIVE
from orchestrator.planning.types import Action, Change

STARTS = frozenset({Action.CREATE, Action.REPLACE, Action.REPLACE_STOP_FIRST, Action.RESUME})
"""Actions that start something."""
STOPS = frozenset({Action.REPLACE, Action.REPLACE_STOP_FIRST, Action.RESUME, Action.REMOVE})
"""Actions that stop ``current``, if it is active."""


def stops(change: Change) -> bool:
    """Return whether a change stops a container."""
    return change.action in STOPS and change.current is not None and change.current.container.state in ACTIVE


def clashes(changes: Iterable[Change]) -> Mapping[str, tuple[Change, ...]]:
    """Return, by id of a container that is stopped, the changes that need a port it holds.

    A service that is renamed keeps its port: the old one must be gone before the new one starts.
    The change of the container's own slot counts only when it is another change (a second container).
    """
    changes = tuple(changes)
    needs: defaultdict[tuple[str, int, str], list[tuple[str, Change]]] = defaultdict(list)
    for change in changes:
        if change.action in STARTS and change.desired is not None:
            for port in change.desired.config.ports:
                if port.published:
                    needs[change.host, port.published, port.protocol].append((port.host_ip, change))
    found: dict[str, tuple[Change, ...]] = {}
    for change in changes:
        if not needs or not stops(change) or change.current is None:
            continue
        config = change.current.container.config
        needing = [
            other
            for port in (config.ports if config else ())
            if port.published
            for address, other in needs.get((change.host, port.published, port.protocol), ())
            if other is not change and addresses_clash(address, port.host_ip)
        ]
        if needing:
            found[change.current.container.id] = tuple(needing)
    return found
