"""One run against the fleet in memory, as tests of the execution make them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.fake_fleet import FakeController, FakeFleet
from support.plans_by_hand import plan

from orchestrator.events import Event
from orchestrator.execution.apply import Outcome, apply, carry_out
from orchestrator.execution.lanes import Limits
from orchestrator.execution.loop import Interrupt
from orchestrator.execution.world import World
from orchestrator.planning.types import Plan, Step


@dataclass
class Run:
    """A controller with its interrupt, and everything its listener heard."""

    fleet: FakeFleet
    limits: Limits = field(default_factory=Limits)
    events: list[Event] = field(default_factory=list)
    interrupt: Interrupt = field(default_factory=Interrupt)

    def __post_init__(self) -> None:
        self.controller: FakeController = self.fleet.controller()
        ticks = itertools.count()
        self.world = World(
            fleet=self.controller,
            ship=self.controller.ship,
            listener=self.events.append,
            interrupt=self.interrupt,
            loop=self.controller,
            timer=lambda: next(ticks) + self.controller.slept,
            limits=self.limits,
        )

    def apply(self, wanted: Plan) -> Outcome:
        """Carry a real plan out, and close all sessions."""
        return self._closing(apply(wanted, self.world, author="ann@ci", clock=lambda: 1060.0))

    def carry_out(self, steps: Sequence[Step], **fields: Any) -> Outcome:
        """Carry out steps made by hand, and close all sessions."""
        made = plan(**fields)
        return self._closing(carry_out(made, steps, self.world, author="ann@ci", clock=lambda: 1060.0))

    def _closing(self, outcome: Outcome) -> Outcome:
        self.controller.close()
        return outcome

    def heard(self, kind: type[Event]) -> list[Any]:
        """Return the events of one kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def names(self, kind: type[Event]) -> list[str]:
        """Return the ids of the steps that events of one kind were about."""
        return [event.step.id for event in self.heard(kind)]
