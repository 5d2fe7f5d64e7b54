"""Whether a rollout gets anywhere: how long it is since an instance of a service became healthy.

Owns the deadline between one instance that becomes healthy and the next. It counts only while instances
of the service are being started: what is planned to take its time (jobs, bakes, drains) is no lack of
progress. The time is an argument. It must not know what happens to a step that is late.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.planning.types import Step
from orchestrator.protocol.messages import Failure


def too_late(step: Step) -> Failure:
    """Return why a step whose service gets nowhere has failed."""
    return Failure(
        "no-progress",
        f"no instance of {step.service} became healthy for {step.progress:g} s",
        hint="see what its host is busy with, or raise update.progress_deadline",
    )


class Progress:
    """The clocks of all services of one run. Times are seconds on any monotonic scale."""

    def __init__(self) -> None:
        self._under_way: dict[str, dict[str, Step]] = {}
        """Service -> its steps that bring an instance up, oldest first."""
        self._since: dict[str, float] = {}

    def begun(self, step: Step, now: float) -> None:
        """Note that a step is being worked on; one without ``progress`` has no deadline."""
        if step.progress > 0:
            self._under_way.setdefault(step.service, {})[step.id] = step
            self._since.setdefault(step.service, now)

    def ended(self, step: Step, now: float) -> None:
        """Note that a step has ended: well, or the run is about to stop anyhow."""
        under_way = self._under_way.get(step.service, {})
        if under_way.pop(step.id, None) is None:
            return
        if under_way:
            self._since[step.service] = now
        else:
            del self._since[step.service]

    def patience(self, timer: Callable[[], float]) -> float | None:
        """Return the seconds until the next deadline is over; ``None`` when nothing is being started."""
        if not self._since:
            return None
        return max(0.0, min(map(self._deadline, self._since)) - timer())

    def late(self, timer: Callable[[], float]) -> tuple[Step, ...]:
        """Return the oldest step under way of each service whose deadline is over."""
        if not self._since:
            return ()
        now = timer()
        return tuple(
            next(iter(self._under_way[service].values()))
            for service in sorted(self._since)
            if self._deadline(service) <= now
        )

    def _deadline(self, service: str) -> float:
        longest = max(step.progress for step in self._under_way[service].values())
        return self._since[service] + longest
