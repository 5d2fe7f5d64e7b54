"""Names and edges of a rollout: unique step ids, predecessors first, joins that stay small.

Owns what is true of any dataflow. It must not know what a step does.
"""

from __future__ import annotations

import graphlib
import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence

from orchestrator.planning.types import Step

_WIDE = 250_000
"""Edges of a join beyond which it goes through one step."""


class Names:
    """Gives out step ids, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, name: str, mark: str = "") -> str:
        """Return ``name``, with ``mark`` (an id) added when it is taken."""
        short = mark.removeprefix("sha256:")[:12]
        unique = f"{name} ({short})" if name in self._taken and short else name
        while unique in self._taken:
            unique += "'"
        self._taken.add(unique)
        return unique


class Join:
    """Many steps that wait for many: directly, or through the first of them where that is too much."""

    def __init__(self, before: Iterable[str], waiting: int) -> None:
        self._before = unique(before)
        self._wide = len(self._before) * waiting > _WIDE
        self._through: tuple[str, ...] | None = None

    def after(self, step: str) -> tuple[str, ...]:
        """Return what the step with that id waits for."""
        if self._through is not None:
            return self._through
        if self._wide:
            self._through = (step,)
        return self._before


def unique(after: Iterable[str]) -> tuple[str, ...]:
    """Return ids in order, each once, without the empty one."""
    return tuple(dict.fromkeys(step for step in after if step))


def sinks(steps: Iterable[Step]) -> tuple[str, ...]:
    """Return the ids of the steps that no other of ``steps`` waits for."""
    steps = tuple(steps)
    inner = {before for step in steps for before in step.after}
    return tuple(step.id for step in steps if step.id not in inner)


def predecessors_first(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return ``steps`` in an order they can be carried out in, else as they were (Kahn's algorithm)."""
    place = {step.id: number for number, step in enumerate(steps)}
    waits = [len(step.after) for step in steps]
    then: defaultdict[str, list[int]] = defaultdict(list)
    for number, step in enumerate(steps):
        for before in step.after:
            then[before].append(number)
    ready = [number for number, count in enumerate(waits) if not count]
    order: list[Step] = []
    while ready:
        step = steps[heapq.heappop(ready)]
        order.append(step)
        for number in then[step.id]:
            waits[number] -= 1
            if not waits[number]:
                heapq.heappush(ready, number)
    if len(order) < len(place):
        left = sorted(place.keys() - {step.id for step in order})
        raise AssertionError(f"steps wait for each other: {left[:5]}")
    return tuple(order)


def services_in_order(
    depends_on: Iterable[tuple[str, tuple[str, ...]]],
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the services with what they depend on, dependencies first, else in order of name."""
    needs = dict(depends_on)
    sorter = graphlib.TopologicalSorter(needs)
    sorter.prepare()
    order: list[str] = []
    while sorter.is_active():
        layer = sorted(sorter.get_ready())
        order += layer
        sorter.done(*layer)
    return tuple((service, needs.get(service, ())) for service in order)
