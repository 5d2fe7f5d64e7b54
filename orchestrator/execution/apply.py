"""One apply from lease to outcome: take the leases, carry the steps out, or put everything back.

Owns the order of a run and the verdict on it, for applies, rollbacks and destroys alike: they differ
only in their plans. It must not know how steps are found or done, nor how anything is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import ApplyFailed, DeployError, Interrupted, NotRestored
from orchestrator.events import LeaseTaken, StepFailed, Warned
from orchestrator.execution import explain, leases
from orchestrator.execution.executor import execute
from orchestrator.execution.operations import Terms
from orchestrator.execution.requests import goes_anyway
from orchestrator.execution.restore import UNCHANGED, Restored, restore, without
from orchestrator.execution.sessions import Sessions
from orchestrator.execution.standing import pauses, stands
from orchestrator.execution.survey import Recorded, Survey, survey, touched
from orchestrator.execution.world import CONFIRMED, INTERRUPTED, Aborted, Execution, World
from orchestrator.planning.release import records
from orchestrator.planning.rollout import rollout
from orchestrator.planning.types import Action, Plan, Step, StepKind
from orchestrator.planning.undo import forward, undo

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
    held: str = ""
    """The release that runs without traffic now and waits for promote or abort."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """``create``, ``replace``, ``remove``, ``keep`` -> instances; all 0 when nothing came of it."""
    bytes_sent: int = 0
    """By all sessions this run used, for whatever they sent it: observing counts when they did it."""
    round_trips: Mapping[str, int] = field(default_factory=dict)
    """Host -> requests made by those sessions, layer data not counted."""
    left: tuple[str, ...] = ()
    """What did not work out and fails nothing, one sentence each: clean-up, records on further hosts."""
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
    *,
    author: str,
    clock: Callable[[], float],
    max_parallel: int = 1,
) -> Outcome:
    """Carry a plan out, wholly or not at all.

    The leases taken live until the sessions are closed, which is the caller's to do right after: it
    saves a round trip.

    Args:
        plan: Its artifacts all have ids; its epoch and states guard against changes since.
        world: The ports to work through.
        author: ``user@machine``: recorded, and shown to others while the lease is held.
        clock: Seconds since the epoch.
        max_parallel: How many instances of one service may be under replacement at the same time.

    Raises:
        ValueError: The plan still has images to build.
    """
    made = records(plan, created_at=clock(), author=author)
    steps = rollout(plan, made, max_parallel=max_parallel)
    return carry_out(plan, steps, world, author=author, clock=clock)


def carry_out(
    plan: Plan, steps: Sequence[Step], world: World, *, author: str, clock: Callable[[], float]
) -> Outcome:
    """Carry out ``steps``, which somebody has made of ``plan``; else as :func:`apply`."""
    claim = leases.Claim(plan.project, plan.epoch + 1, author, plan.reason, plan.release, plan.states)
    return _Run(plan, claim, world, tuple(steps), clock).run()


class _Run:
    """One apply."""

    def __init__(
        self,
        plan: Plan,
        claim: leases.Claim,
        world: World,
        steps: tuple[Step, ...],
        clock: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._claim = claim
        self._sessions = Sessions(world.fleet)
        self._world = replace(world, fleet=self._sessions)
        self._steps = steps
        self._clock = clock
        self._hosts = tuple(sorted({step.host for step in steps}))
        self._execution = Execution()
        self._in_force = False
        self._held = False
        self._finished: tuple[StepFailed, ...] = ()

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
        terms = Terms(claim.project, claim.release, epochs, self._plan.desired.router_secrets)
        try:
            self._execution = execute(world, terms, self._steps)
        except Aborted as abort:
            self._execution = abort.execution
            raise
        if self._execution.stopped:
            return self._judge(terms)
        self._in_force = bool(self._commits)
        self._held = self._holds
        return None

    def _judge(self, terms: Terms) -> DeployError | None:
        """Find out what a run that stopped has left, and put it back or finish it."""
        world, claim, commits = self._world, self._claim, self._commits
        if not commits and (self._deleting or self._all_held):
            self._held = self._all_held
            return self._stopped_late()
        found = survey(world, terms, claim, self._steps, self._execution)
        if stands(self._steps, found):
            return self._finish(found)
        if pauses(self._plan, self._steps, self._execution):
            return self._paused()
        back = undo(self._steps, found.begun, found.containers)
        decided = not back and not found.begun.isdisjoint(commits)
        if found.recorded is Recorded.EVERYWHERE or (decided and found.recorded is Recorded.SOMEWHERE):
            self._in_force = True
            return self._stopped_late()
        if decided:
            return self._undecided(found)
        return self._verdict(restore(world, found, self._steps, back, reason=self._reason))

    def _finish(self, found: Survey) -> DeployError | None:
        """Do what is left of a cutover that stands: confirm where an answer was lost, and record it."""
        stands = {name for name, state in found.guards.items() if state == CONFIRMED}
        clean_up = self._execution.stopped != INTERRUPTED
        rest = forward(self._steps, self._execution.done | stands, clean_up=clean_up)
        result = execute(self._world, found.terms, without(rest, found.gone), tolerate=goes_anyway)
        late = [failed for failed in result.failures if failed.step.kind is StepKind.CONFIRM]
        self._finished = result.failures
        if late:
            self._execution = replace(self._execution, failures=(*self._execution.failures, *late))
            again = replace(found, begun=found.begun | result.done | result.uncertain)
            back = undo(self._steps, again.begun, again.containers)
            return self._verdict(restore(self._world, again, self._steps, back, reason=self._reason))
        done = self._execution.done | result.done
        if any(name in done for name in self._commits) or found.recorded is Recorded.SOMEWHERE:
            self._in_force = True
            return self._stopped_late()
        failures = [explain.message(failed) for failed in result.failures]
        gone = [f"{host}: {why}" for host, why in found.gone.items()]
        return NotRestored(
            f"{self._reason}; {self._claim.release} serves on every host, but no host has recorded it",
            hint="apply again: it records the release and stops what is old",
            context=[*failures, *gone],
        )

    def _paused(self) -> DeployError:
        """Judge a rollout that failed part of the way and stays there, as its policy wants."""
        return ApplyFailed(
            f"{self._reason}; the rollout is paused: what was replaced until then stays",
            hint="mend it and apply again to go on, or roll back",
            context=explain.context(self._execution, ()),
        )

    @property
    def _commits(self) -> list[str]:
        return [step.id for step in self._steps if step.kind is StepKind.COMMIT]

    @property
    def _holds(self) -> bool:
        return any(step.kind is StepKind.HOLD for step in self._steps)

    @property
    def _all_held(self) -> bool:
        """Tell whether every host remembers the held release."""
        holds = {step.id for step in self._steps if step.kind is StepKind.HOLD}
        return bool(holds) and self._execution.done.issuperset(holds)

    @property
    def _reason(self) -> str:
        cause = self._execution.cause
        return INTERRUPTED if cause is None else explain.message(cause)

    @property
    def _deleting(self) -> bool:
        """Tell whether clean-up has begun. For plans that record nothing: a destroy, a prune."""
        begun = touched(self._steps, self._execution)
        return any(step.id in begun and not step.essential for step in self._steps)

    def _stopped_late(self) -> DeployError | None:
        """Judge a run that stopped when only clean-up was left."""
        state = "nothing is put back"
        if self._in_force or self._held:
            state = f"release {self._claim.release} is {'in force' if self._in_force else 'held'}"
        if self._execution.stopped == INTERRUPTED:
            return Interrupted(
                f"interrupted while cleaning up; {state}", hint="the next run cleans up what is left"
            )
        self._world.listener(Warned(f"{self._reason}; {state} all the same"))
        return None

    def _undecided(self, found: Survey) -> DeployError:
        """Judge a run whose commit point is lost: the new instances run, and going back could be wrong."""
        new = f"runs the instances of {self._claim.release}"
        return NotRestored(
            f"{self._reason}; whether release {self._claim.release} was recorded is not known",
            hint="bring the hosts that are gone back, then apply again: it records the release if need be",
            context=[f"{host}: {found.gone.get(host, new)}" for host in self._hosts],
        )

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
        if done or self._in_force:  # a held release counts: its instances run
            for change in self._plan.changes:
                if name := _COUNTED.get(change.action):
                    counts[name] += 1
        return Outcome(
            ok=done,
            release=self._claim.release if self._in_force else "",
            held=self._claim.release if self._held else "",
            counts=counts,
            bytes_sent=self._sessions.bytes_sent,
            round_trips=self._sessions.round_trips,
            left=tuple(
                explain.message(failed)
                for failed in (*self._execution.failures, *self._finished)
                if not failed.step.essential
            ),
            error=error,
        )


_BETWEEN = "in between the old and the new: the next apply heals it"
