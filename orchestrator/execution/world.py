"""What a run is given, and what is known when it ends.

Owns the values that the executor, the restoring and the apply share. Holds no logic beyond lookups.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.events import Listener, StepFailed
from orchestrator.execution.lanes import Limits
from orchestrator.execution.loop import Interrupt, Loop
from orchestrator.ports import Fleet, Session

CANCELLED = "cancelled"
"""Failure code of a step that was given up because the run stopped, not by itself."""
UNREACHABLE = "unreachable"
"""Failure code of a step whose host was lost: whether it was carried out is not known."""
UPSTREAM = "upstream"
"""Failure code of an operation that an earlier one of the same request kept from starting."""
CONFIRMED = "confirmed"
"""State of a guard: the cutover stands."""
REVERTED = "reverted"
"""State of a guard: the host went back by itself. Also the failure code of a confirm that came too late."""
ARMED = "armed"
"""State of a guard: it waits."""
INTERRUPTED = "interrupted"
"""Stands in the place of a step's id where the user is the cause."""


class Ship(Protocol):
    """Puts an image on a host; wired by the pipeline, called in worker threads."""

    def __call__(self, session: Session, image: str, on_progress: Callable[[str, int, int], None]) -> int:
        """Send what the host lacks of ``image`` (an image id); return the bytes sent, 0 if it was there.

        ``on_progress`` takes (phase, bytes done, bytes in total). It raises :class:`ShipCancelled`
        once the run has been stopped: let it pass.

        Raises:
            RequestFailed: The agent refused or failed.
            DeployError: The session is gone, or the layers cannot be read.
        """
        ...


class ShipCancelled(Exception):  # noqa: N818 - a wish, not an error
    """Thrown into a ship under way when nobody wants its result any more."""


@dataclass(frozen=True)
class World:
    """What a run works on and reports to."""

    fleet: Fleet
    ship: Ship
    listener: Listener
    interrupt: Interrupt
    loop: Loop
    timer: Callable[[], float]
    """Seconds on any monotonic scale."""
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Execution:
    """How a set of steps ended."""

    done: frozenset[str] = frozenset()
    """Ids of the steps that ended well."""
    uncertain: frozenset[str] = frozenset()
    """Ids of the steps that did not end well, any part of which may have happened."""
    failures: tuple[StepFailed, ...] = ()
    """In order of time; those that were only given up have the code :data:`CANCELLED`."""
    containers: Mapping[str, str] = field(default_factory=dict)
    """Step id -> the container that its host named."""
    lost: Mapping[str, str] = field(default_factory=dict)
    """Host -> why its session ended."""
    bytes_sent: int = 0
    """Layer data."""
    stopped: str = ""
    """Why it stopped early: id of the essential step that failed first, :data:`INTERRUPTED`, or empty."""

    @property
    def cause(self) -> StepFailed | None:
        """The failure that explains the rest, if there is one."""
        own = [f for f in self.failures if f.failure is None or f.failure.code != CANCELLED]
        named = [f for f in own if f.step.id == self.stopped]
        return next(iter(named or own or self.failures), None)


class Aborted(Exception):  # noqa: N818 - a wish, not an error
    """The second Ctrl-C: what was under way is left to itself."""

    def __init__(self, execution: Execution | None = None) -> None:
        super().__init__("stopped at once")
        self.execution = execution or Execution()
