"""The dataflow executor: starts every step the moment its predecessors have ended well.

Owns the one thread that decides. Sessions and workers hand it what happened through a
:class:`~.loop.Loop`; it settles steps, asks the :class:`~.schedule.Schedule` what may leave now, and
sends it. There is no polling, no sleep and no barrier. It must not know what a plan is for, nor how a
host is reached.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from functools import partial

from orchestrator.errors import DeployError, HostError, HostUnreachable
from orchestrator.events import StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted
from orchestrator.execution.loop import reraise
from orchestrator.execution.operations import Terms, params
from orchestrator.execution.outages import Outages
from orchestrator.execution.progress import Progress, too_late
from orchestrator.execution.requests import Request, confirm, goes_anyway
from orchestrator.execution.schedule import Batch, Schedule, Skip, State, Tolerance
from orchestrator.execution.world import (
    CANCELLED,
    CONFIRMED,
    INTERRUPTED,
    REVERTED,
    UNREACHABLE,
    UPSTREAM,
    Aborted,
    Execution,
    ShipCancelled,
    World,
)
from orchestrator.planning.types import Step, StepKind
from orchestrator.ports import Call, RequestFailed, Session
from orchestrator.protocol.messages import Failure, OperationProgress, Performed


def execute(
    world: World, terms: Terms, steps: Sequence[Step], *, tolerate: Tolerance | None = None
) -> Execution:
    """Carry out ``steps`` and return how they ended.

    The first failure of an essential step stops everything that was not begun; what is under way is
    cancelled where the protocol can, and awaited. A first Ctrl-C does the same.

    Args:
        world: The ports to work through.
        terms: Project, release and the epochs of the leases held.
        steps: In any order; see :class:`~orchestrator.planning.types.Step`.
        tolerate: For restoring and finishing: carry out as much as possible. Nothing stops the run but a
            second Ctrl-C, and a failure skips only what must not happen after it.

    Raises:
        Aborted: A second Ctrl-C.
        ValueError: The steps wait for each other, or for steps that are not there.
    """
    return _Run(world, terms, steps, tolerate).run()


class _Run:
    """State of one execution. Every method but ``_ship`` runs on the deciding thread."""

    def __init__(self, world: World, terms: Terms, steps: Sequence[Step], tolerate: Tolerance | None) -> None:
        self._world = world
        self._terms = terms
        self._keep_going = tolerate is not None
        self._schedule = Schedule(steps, world.limits, tolerate or goes_anyway)
        self._outages = Outages(steps)
        self._progress = Progress()
        self._names = tuple(step.id for step in steps)
        self._requests: set[Request] = set()
        self._begun: dict[str, float] = {}
        self._unclear: set[str] = set()
        self._because: dict[str, str] = {}
        self._failures: list[StepFailed] = []
        self._containers: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._bytes = 0
        self._stopped = ""

    def run(self) -> Execution:
        loop = self._world.loop
        with self._world.interrupt.waking(loop):
            while True:
                self._heed_interrupt()
                # Acting only when all news is in lets steps unlocked together leave in one request.
                if loop.idle():
                    batches = self._schedule.take()
                    for batch in batches:
                        self._send(batch)
                    if batches:
                        continue  # a host that is gone fails its steps at once, which may free others
                    # A host tells of its last operation before it has cleaned up behind it: whoever hung up
                    # now would leave it half-done.
                    if self._schedule.settled and not self._requests:
                        return self._result()
                loop.wait(self._progress.patience(self._world.timer))()
                for step in self._progress.late(self._world.timer):
                    self._fail(step, too_late(step))

    def _heed_interrupt(self) -> None:
        if self._world.interrupt.abort:
            raise Aborted(self._result())
        if self._world.interrupt.stop and not self._keep_going:
            self._stop(INTERRUPTED)

    def _stop(self, because: str) -> None:
        """Start nothing any more, and cancel what is under way."""
        if self._stopped or self._keep_going:
            return
        self._stopped = because
        self._tell_skipped(self._schedule.stop(because))
        for request in self._requests:
            if request.call is not None and request.cancellable:
                # A session that is gone needs no cancelling: its calls end by themselves.
                with contextlib.suppress(HostError):
                    request.call.cancel()

    def _result(self) -> Execution:
        states = {name: self._schedule.state(name) for name in self._names}
        touched = self._begun.keys() | self._unclear
        return Execution(
            done=frozenset(name for name, state in states.items() if state is State.DONE),
            uncertain=frozenset(name for name in touched if states[name] is not State.DONE),
            failures=tuple(self._failures),
            containers=dict(self._containers),
            lost=dict(self._lost),
            bytes_sent=self._bytes,
            stopped=self._stopped,
        )

    # --- sending ---------------------------------------------------------------------------------

    def _send(self, batch: Batch) -> None:
        request = Request(batch)
        self._requests.add(request)
        for step in batch.steps:
            if self._schedule.startable(step.id):
                self._begin(step)
        try:
            if why := self._lost.get(batch.host):
                # A new session would hold no lease: nothing may be done there in this run.
                raise HostUnreachable(batch.host, why)
            kind = batch.steps[0].kind
            if kind is StepKind.CONFIRM:
                self._world.loop.spawn(
                    partial(
                        confirm, self._world, self._terms.project, request, self._confirmed, self._refused
                    )
                )
                return
            session = self._world.fleet.session(batch.host)
            if kind is StepKind.SHIP:
                self._world.loop.spawn(partial(self._ship, session, request))
            else:
                self._ask(session, request)
        except (RequestFailed, HostError) as error:
            self._refused(request, error)

    def _ask(self, session: Session, request: Request) -> None:
        post = self._world.loop.post
        request.call = session.request(
            params(self._terms, request.batch.steps),
            on_progress=lambda news: post(partial(self._heard, request, news)),
            on_done=lambda call: post(partial(self._answered, request, call)),
        )

    def _ship(self, session: Session, request: Request) -> None:
        """Send one image; runs in a worker, which may block."""
        post, step = self._world.loop.post, request.batch.steps[0]

        def on_progress(phase: str, done: int, total: int) -> None:
            if self._stopped:
                raise ShipCancelled
            post(partial(self._world.listener, StepProgress(step, phase, done=done, total=total)))

        try:
            sent = self._world.ship(session, step.image, on_progress)
        except ShipCancelled:
            post(partial(self._given_up, request))
        except (RequestFailed, DeployError) as error:
            post(partial(self._refused, request, error))
        except BaseException as defect:  # noqa: BLE001 - it must surface where somebody can see it
            post(partial(reraise, defect))
        else:
            post(partial(self._shipped, request, sent))

    # --- hearing ---------------------------------------------------------------------------------

    def _heard(self, request: Request, news: OperationProgress) -> None:
        """Settle an operation as soon as its host says how it went, long before the whole answer."""
        steps = request.batch.steps
        if not 0 <= news.id < len(steps) or self._schedule.state(steps[news.id].id) is not State.HANDED:
            return
        step = steps[news.id]
        if news.container:
            self._containers[step.id] = news.container
        if news.phase == "failed":
            failure = news.failure or Failure("engine", news.detail or "failed for no stated reason")
            self._fail(step, failure, news.seconds)
        elif news.phase == "done":
            self._finish(step, note=news.detail, seconds=news.seconds)
        else:
            self._begin(step)
            self._world.listener(StepProgress(step, news.phase, news.detail))

    def _confirmed(self, request: Request, session: Session, call: Call) -> None:
        try:
            answer = call.result(0)
        except (RequestFailed, HostError) as error:
            self._refused(request, error)
        else:
            self._requests.discard(request)
            step = request.batch.steps[0]
            if answer.state == CONFIRMED:
                self._finish(step)
            else:
                self._fail(step, Failure(REVERTED, "the host went back by itself: its time was up"))
        session.close()

    def _answered(self, request: Request, call: Call) -> None:
        try:
            answer = call.result(0)
        except (RequestFailed, HostError) as error:
            self._refused(request, error)
            return
        self._requests.discard(request)
        if isinstance(answer, Performed):
            for news in answer.outcomes:
                self._heard(request, news)
            self._settle(request, Failure("bad-answer", "the host did not say how it ended"))
        else:
            self._finish(request.batch.steps[0])

    def _shipped(self, request: Request, sent: int) -> None:
        self._requests.discard(request)
        self._bytes += sent
        note = "" if sent else "present already"
        self._finish(request.batch.steps[0], bytes_sent=sent, note=note)

    def _given_up(self, request: Request) -> None:
        self._requests.discard(request)
        self._settle(request, Failure(CANCELLED, "given up"))

    def _refused(self, request: Request, error: RequestFailed | DeployError) -> None:
        """Settle a whole request that failed as one."""
        self._requests.discard(request)
        if isinstance(error, RequestFailed):
            reason = error.failure
            self._settle(request, Failure(reason.code, reason.message, logs=reason.context, hint=reason.hint))
        elif isinstance(error, HostError):
            if request.batch.steps[0].kind is not StepKind.CONFIRM:  # that one has a session of its own
                self._lost.setdefault(request.batch.host, error.message.removeprefix(f"{error.host}: "))
            self._unclear.update(step.id for step in self._open(request))
            self._settle(request, Failure(UNREACHABLE, error.message, hint=error.hint or ""))
        else:
            failure = Failure("failed", error.message, logs=error.context, hint=error.hint or "")
            self._settle(request, failure)

    def _open(self, request: Request) -> list[Step]:
        return [step for step in request.batch.steps if self._schedule.state(step.id) is State.HANDED]

    def _settle(self, request: Request, failure: Failure) -> None:
        """End what is still open of a request that has ended."""
        for step in self._open(request):
            if step.id in self._begun:
                self._fail(step, failure)
            else:
                self._skip(step)

    # --- settling --------------------------------------------------------------------------------

    def _begin(self, step: Step) -> None:
        if step.id not in self._begun:
            now = self._begun[step.id] = self._world.timer()
            self._progress.begun(step, now)
            self._world.listener(StepStarted(step))

    def _finish(self, step: Step, *, note: str = "", bytes_sent: int = 0, seconds: float = 0.0) -> None:
        self._begin(step)
        now = self._world.timer()
        self._progress.ended(step, now)
        took = seconds or now - self._begun[step.id]
        note = note or self._outages.ended(step, self._begun[step.id], now)
        self._world.listener(StepFinished(step, took, bytes_sent, note))
        for turn in self._schedule.done(step.id):
            self._begin(turn)

    def _fail(self, step: Step, failure: Failure, seconds: float = 0.0) -> None:
        if failure.code in {CANCELLED, UPSTREAM} and step.id not in self._begun:
            self._skip(step)
            return
        self._begin(step)
        now = self._world.timer()
        self._progress.ended(step, now)
        took = seconds or now - self._begun[step.id]
        event = StepFailed(step, failure.message, failure, took)
        self._failures.append(event)
        given_up = failure.code == CANCELLED and self._stopped
        self._because[step.id] = self._stopped if given_up else step.id
        self._world.listener(event)
        self._tell_skipped(self._schedule.failed(step.id))
        if step.essential:
            self._stop(step.id)

    def _skip(self, step: Step) -> None:
        """Settle a handed step that its host never began."""
        causes = (self._because[before] for before in step.after if before in self._because)
        because = next(causes, self._stopped or INTERRUPTED)
        self._tell_skipped(self._schedule.skipped(step.id, because))

    def _tell_skipped(self, skips: Iterable[Skip]) -> None:
        for skip in skips:
            self._because[skip.step.id] = skip.because
            self._world.listener(StepSkipped(skip.step, skip.because))
