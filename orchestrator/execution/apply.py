"""One apply from lease to outcome: take the leases, carry the steps out, or put everything back.

Owns the order of a run and the verdict on it, for applies, rollbacks and destroys alike: they differ
only in their plans. It must not know how steps are found or done, nor how anything is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import ApplyFailed, DeployError, Interrupted, NotRestored
from orchestrator.events import LeaseTaken, Warned
from orchestrator.execution import explain, leases
from orchestrator.execution.executor import execute
from orchestrator.execution.operations import Terms
from orchestrator.execution.restore import UNCHANGED, Restored, Undo, restore, touched
from orchestrator.execution.world import INTERRUPTED, Aborted, Execution, World
from orchestrator.planning.types import Action, Plan, Step, StepKind
from orchestrator.ports import Fleet, Session

_COUNTED = {
    Action.CREATE: "create",
    Action.REPLACE: "replace",
    Action.REPLACE_STOP_FIRST: "replace",
    Action.RESUME: "replace",
    Action.REMOVE: "remove",
    Action.KEEP: "keep",
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended. Failures are in here, not raised, so that what it cost is known of them too."""

    ok: bool
    release: str = ""
    """The release this run put in force; empty when it put none."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """``create``, ``replace``, ``remove``, ``keep`` -> instances; all 0 when nothing came of it."""
    bytes_sent: int = 0
    """By all sessions this run used, for whatever they sent it: observing counts when they did it."""
    round_trips: Mapping[str, int] = field(default_factory=dict)
    """Host -> requests made by those sessions, layer data not counted."""
    error: DeployError | None = None
    """Set exactly when not ok."""

    def raise_for_error(self) -> None:
        """Return when the run went well.

        Raises:
            DeployError: Whatever ended it.
        """
        if self.error is not None:
            raise self.error


def apply(
    plan: Plan,
    world: World,
    steps: Sequence[Step],
    *,
    undo: Undo,
    author: str,
    clock: Callable[[], float],
) -> Outcome:
    """Carry ``steps`` out, wholly or not at all.

    The leases taken live until the sessions are closed, which is the caller's to do right after: it
    saves a round trip.

    Args:
        plan: What the steps were made from; its epoch and states guard against changes since.
        world: The ports to work through.
        steps: The plan's rollout.
        undo: Finds the steps back.
        author: ``user@machine``, shown to others while the lease is held.
        clock: Seconds since the epoch.
    """
    claim = leases.Claim(plan.project, plan.epoch + 1, author, plan.reason, plan.release, plan.states)
    return _Run(plan, claim, world, tuple(steps), undo=undo, clock=clock).run()


class _Run:
    """One apply."""

    def __init__(
        self,
        plan: Plan,
        claim: leases.Claim,
        world: World,
        steps: tuple[Step, ...],
        *,
        undo: Undo,
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._claim = claim
        self._sessions = _Sessions(world.fleet)
        self._world = replace(world, fleet=self._sessions)
        self._steps = steps
        self._undo = undo
        self._clock = clock
        self._hosts = tuple(sorted({step.host for step in steps}))
        self._execution = Execution()

    def run(self) -> Outcome:
        if not self._steps:
            return self._outcome(None)
        try:
            error = self._carry_out()
        except DeployError as refused:
            error = refused
        except Aborted:
            self._sessions.close()
            error = self._aborted()
        return self._outcome(error)

    def _carry_out(self) -> DeployError | None:
        world, claim = self._world, self._claim
        epochs = leases.take(
            world.fleet,
            claim,
            self._hosts,
            loop=world.loop,
            interrupt=world.interrupt,
            clock=self._clock,
        )
        world.listener(LeaseTaken(claim.epoch, self._hosts))
        terms = Terms(claim.project, claim.release, epochs)
        try:
            self._execution = execute(world, terms, self._steps)
        except Aborted as abort:
            self._execution = abort.execution
            raise
        if not self._execution.stopped:
            return None
        if self._in_force:
            return self._stopped_late()
        restored = restore(
            world, terms, claim, self._steps, self._execution, undo=self._undo, reason=self._reason
        )
        return self._verdict(restored)

    @property
    def _in_force(self) -> bool:
        """Tell whether the release is recorded everywhere: from then on nothing is put back."""
        commits = [step.id for step in self._steps if step.kind is StepKind.COMMIT]
        return bool(commits) and self._execution.done.issuperset(commits)

    @property
    def _reason(self) -> str:
        cause = self._execution.cause
        return INTERRUPTED if cause is None else explain.message(cause)

    def _stopped_late(self) -> DeployError | None:
        """Judge a run that stopped while it was cleaning up."""
        release = self._claim.release
        if self._execution.stopped == INTERRUPTED:
            return Interrupted(
                f"interrupted while cleaning up; release {release} is in force on every host",
                hint="the next apply cleans up what is left",
            )
        self._world.listener(Warned(f"{self._reason}; release {release} is in force all the same"))
        return None

    def _verdict(self, restored: Restored) -> DeployError:
        """Say how a run that was put back has failed."""
        execution = self._execution
        context = explain.context(execution, restored.states)
        cause = execution.cause
        if not restored.ok:
            return NotRestored(
                f"{self._reason}; and what ran before could not be restored everywhere",
                hint="bring the hosts named above back, then apply again: it heals what is left",
                context=context,
            )
        if execution.stopped == INTERRUPTED:
            kept = "what ran before runs" if touched(self._steps, execution) else "nothing was changed"
            return Interrupted(f"interrupted; {kept}", hint="apply again when ready", context=context)
        hint = None if cause is None else explain.hint(cause)
        return ApplyFailed(self._reason, hint=hint, context=context)

    def _aborted(self) -> DeployError:
        begun = touched(self._steps, self._execution)
        changed = {step.host for step in self._steps if step.id in begun}
        if not changed:
            return Interrupted("stopped at once; nothing was changed")
        return Interrupted(
            "stopped at once, without putting anything back",
            hint="apply again: it looks at every host and heals what was left in between",
            context=[f"{host}: {_BETWEEN if host in changed else UNCHANGED}" for host in self._hosts],
        )

    def _outcome(self, error: DeployError | None) -> Outcome:
        done = error is None
        counts = dict.fromkeys(_COUNTED.values(), 0)
        if done or self._in_force:
            for change in self._plan.changes:
                if name := _COUNTED.get(change.action):
                    counts[name] += 1
        return Outcome(
            ok=done,
            release=self._claim.release if self._in_force else "",
            counts=counts,
            bytes_sent=self._sessions.bytes_sent,
            round_trips=self._sessions.round_trips,
            error=error,
        )


class _Sessions:
    """The fleet, and a memory of every session that was used: to close them all, and to count."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._used: dict[Session, str] = {}

    def session(self, host: str) -> Session:
        """See :class:`~orchestrator.ports.Fleet`; called from workers too."""
        session = self._fleet.session(host)
        self._used.setdefault(session, host)
        return session

    def close(self) -> None:
        """Let go of every host: the agents end what they are at, and the leases end with them."""
        for session in list(self._used):
            session.close()

    @property
    def bytes_sent(self) -> int:
        return sum(session.bytes_sent for session in list(self._used))

    @property
    def round_trips(self) -> dict[str, int]:
        trips: Counter[str] = Counter()
        for session, host in list(self._used.items()):
            trips[host] += session.round_trips
        return dict(sorted(trips.items()))


_BETWEEN = "in between the old and the new: the next apply heals it"
