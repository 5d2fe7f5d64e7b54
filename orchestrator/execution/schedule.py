"""Which steps may start now, and which of them travel together. Pure: no I/O, no clock, no threads.

Owns the state of every step of one run. A step is ready when all steps in its ``after`` ended well;
there are no other barriers. Ready operations of one host leave as one batch, and operations of the
same host whose remaining predecessors are all in that batch join it (chain fusion), so that a chain
such as "start the new one, then stop the old" costs one request.

It must not know how a batch is carried out.
"""

from __future__ import annotations

import enum
import graphlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.execution.lanes import Lanes, Limits
from orchestrator.planning.types import Step, StepKind


class State(enum.Enum):
    """Where one step is. Only ``PENDING`` and ``HANDED`` ever change."""

    PENDING = "pending"
    HANDED = "handed"
    """Given to its host; how it ended is not known yet."""
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Batch:
    """Steps that leave together: one ship, one decision, or the operations of one request."""

    host: str
    steps: tuple[Step, ...]
    """Predecessors first."""


@dataclass(frozen=True)
class Skip:
    """A step that will not be tried."""

    step: Step
    because: str


Tolerance: TypeAlias = Callable[[Step, Step], bool]
"""(a step that did not end well, one that waits for it) -> may that one start all the same?"""


class Schedule:
    """The state of all steps of one run.

    Args:
        steps: In any order.
        limits: How much may be under way at the same time.
        tolerate: Asked when a step does not end well; without it whatever waits for that is skipped. A
            host knows no tolerance: steps that it would join are not fused.

    Raises:
        ValueError: Two steps share an id, a step waits for one that is not there, or for itself.
    """

    def __init__(
        self, steps: Sequence[Step], limits: Limits | None = None, tolerate: Tolerance | None = None
    ) -> None:
        self._limits = limits or Limits()
        self._tolerate = tolerate
        self._steps = {step.id: step for step in steps}
        if len(self._steps) != len(steps):
            raise ValueError("two steps share an id")
        self._order = _positions(self._steps)
        self._state = dict.fromkeys(self._steps, State.PENDING)
        self._waits = {step.id: set(step.after) for step in steps}
        self._dependants: defaultdict[str, list[str]] = defaultdict(list)
        for step in steps:
            for before in dict.fromkeys(step.after):
                self._dependants[before].append(step.id)
        self._ready = {step.id for step in steps if not step.after}
        self._open = 0
        self._lanes = Lanes(self._limits)
        self._ships: Counter[str] = Counter()

    def state(self, step: str) -> State:
        """Return where the step with that id is."""
        return self._state[step]

    @property
    def settled(self) -> bool:
        """True when no step is under way and none can start any more."""
        return not self._open and not self._ready

    def startable(self, step: str) -> bool:
        """True when every predecessor ended well: a handed step is then being worked on."""
        return not self._waits[step]

    def take(self) -> tuple[Batch, ...]:
        """Return everything that may leave now and mark it as handed over."""
        batches: list[Batch] = []
        operations: defaultdict[str, list[str]] = defaultdict(list)
        for name in sorted(self._ready, key=self._order.__getitem__):
            step = self._steps[name]
            if step.kind in DECISIONS:
                batches.append(self._hand(step.host, [name]))
            elif step.kind is StepKind.SHIP:
                if self._ship_fits(step.host):
                    self._ships[step.host] += 1
                    batches.append(self._hand(step.host, [name]))
            else:
                operations[step.host].append(name)
        fused = ((host, self._fuse(host, operations[host])) for host in sorted(operations))
        batches.extend(self._hand(host, names) for host, names in fused if names)
        return tuple(batches)

    def done(self, step: str) -> tuple[Step, ...]:
        """Mark a handed step as ended well; return handed steps whose turn it is now."""
        self._leave(step, State.DONE)
        turns = [self._steps[name] for name in self._dependants[step] if self._release(name, step)]
        return tuple(step for step in turns if self._state[step.id] is State.HANDED)

    def failed(self, step: str) -> tuple[Skip, ...]:
        """Mark a handed step as failed; return what is skipped because of it."""
        self._leave(step, State.FAILED)
        return self._skip_dependants(step, step)

    def skipped(self, step: str, because: str) -> tuple[Skip, ...]:
        """Mark a handed step as never tried; return it and what is skipped because of it."""
        self._leave(step, State.SKIPPED)
        return (Skip(self._steps[step], because), *self._skip_dependants(step, because))

    def stop(self, because: str) -> tuple[Skip, ...]:
        """Start nothing any more: skip all that is pending. What was handed over goes on.

        What is being decided is decided everywhere: commits that follow one are spared, and so are confirms.
        """
        pending = [name for name in self._order if self._state[name] is State.PENDING]
        spared: set[str] = set()
        for name in pending:
            # One that waits for something else as well, which is skipped now, would wait for ever.
            waits_for = self._steps[name].after
            well = all(before in spared or self._state[before] in _GOING_WELL for before in waits_for)
            if well and self._follows_its_like(name, spared):
                spared.add(name)
        return self._skip([name for name in pending if name not in spared], because)

    # --- inside ----------------------------------------------------------------------------------

    def _hand(self, host: str, names: Iterable[str]) -> Batch:
        steps = tuple(self._steps[name] for name in names)
        for step in steps:
            self._state[step.id] = State.HANDED
            self._ready.discard(step.id)
        self._open += len(steps)
        return Batch(host, steps)

    def _leave(self, name: str, state: State) -> None:
        if self._state[name] is not State.HANDED:
            raise ValueError(f"{name}: not under way")
        self._state[name] = state
        self._open -= 1
        step = self._steps[name]
        if step.kind is StepKind.SHIP:
            self._ships[step.host] -= 1
        else:
            self._lanes.leave(name)

    def _release(self, name: str, before: str) -> bool:
        """Let ``name`` no longer wait for ``before``; tell whether it waits for nothing any more."""
        self._waits[name].discard(before)
        if self._waits[name]:
            return False
        if self._state[name] is State.PENDING:
            self._ready.add(name)
        return True

    def _follows_its_like(self, name: str, spared: Collection[str]) -> bool:
        kind = self._steps[name].kind
        return kind in DECISIONS and any(
            self._steps[before].kind is kind and (before in spared or self._state[before] in _GOING_WELL)
            for before in self._steps[name].after
        )

    def _skip_dependants(self, name: str, because: str) -> tuple[Skip, ...]:
        skips: list[Skip] = []
        stack = [name]
        while stack:
            bad = stack.pop()
            for after in self._dependants[bad]:
                if self._state[after] is not State.PENDING:
                    continue
                if self._tolerate and self._tolerate(self._steps[bad], self._steps[after]):
                    self._release(after, bad)
                else:
                    skips += self._skip([after], because)
                    stack.append(after)
        return tuple(sorted(skips, key=lambda skip: self._order[skip.step.id]))

    def _skip(self, names: Sequence[str], because: str) -> tuple[Skip, ...]:
        for name in names:
            self._state[name] = State.SKIPPED
            self._ready.discard(name)
        return tuple(Skip(self._steps[name], because) for name in names)

    def _ship_fits(self, host: str) -> bool:
        return self._ships[host] < self._limits.ships_per_host and self._ships.total() < self._limits.ships

    def _fuse(self, host: str, ready: Sequence[str]) -> list[str]:
        """Choose the operations of one request: the ready ones, and chains that hang on them alone."""
        chosen: dict[str, None] = {}
        heap = [(self._order[name], name) for name in ready]
        heapq.heapify(heap)
        while heap:
            _, name = heapq.heappop(heap)
            if not self._lanes.enter(name, host, [b for b in self._steps[name].after if b in chosen]):
                continue
            chosen[name] = None
            for after in self._dependants[name]:
                step = self._steps[after]
                if (
                    step.host == host
                    and step.kind in OPERATIONS
                    and self._state[after] is State.PENDING
                    and self._waits[after] <= chosen.keys()
                    and not self._tolerated(step)
                ):
                    heapq.heappush(heap, (self._order[after], after))
        return list(chosen)

    def _tolerated(self, step: Step) -> bool:
        """Tell whether ``step`` may start although something it still waits for fails."""
        tolerate = self._tolerate
        waits = self._waits[step.id]
        return tolerate is not None and any(tolerate(self._steps[before], step) for before in waits)


_GOING_WELL = frozenset({State.HANDED, State.DONE})

DECISIONS = frozenset({StepKind.CONFIRM, StepKind.COMMIT})
"""Kinds that decide something on their host: a request each, never cancelled, never left half-made."""

OPERATIONS = frozenset(StepKind) - {StepKind.SHIP} - DECISIONS
"""Kinds that travel in a ``perform`` request; their values are the protocol's names."""


def _positions(steps: dict[str, Step]) -> dict[str, int]:
    """Number the steps, predecessors first and otherwise as given."""
    for step in steps.values():
        for before in step.after:
            if before not in steps:
                raise ValueError(f"{step.id}: waits for {before!r}, which is not there")
    try:
        order = graphlib.TopologicalSorter({s.id: s.after for s in steps.values()}).static_order()
        return {name: position for position, name in enumerate(order)}
    except graphlib.CycleError as error:
        raise ValueError(f"steps wait for each other: {' -> '.join(error.args[1])}") from error
