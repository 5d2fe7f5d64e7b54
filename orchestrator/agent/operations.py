"""``perform``: many operations, each as soon as what it waits for has succeeded.

Owns the order, the threads, the outcomes and the clean-up at the end. What one operation does is
:mod:`.instances`' and :mod:`.disposal`'s; why they come in this order is the controller's.
"""

from __future__ import annotations

import base64
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Dict, List, Set, Tuple

from orchestrator.agent import containers, disposal, failures
from orchestrator.agent.containers import Identity
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.instances import Instances, Outcome, Tell
from orchestrator.agent.journal import DamagedError, Journal
from orchestrator.agent.paths import BadNameError, check_digest, check_name, check_release
from orchestrator.agent.router import jobs, requests
from orchestrator.agent.router import operations as routing
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import (
    OPERATIONS,
    Failure,
    Operation,
    OperationProgress,
    Perform,
    Performed,
)

_WORKERS = 16
_MOST_OPERATIONS = 10_000


def perform(params: Perform, context: Context) -> Performed:
    """Carry out operations, those without open predecessors side by side.

    An operation whose predecessor failed is failed as ``upstream``; after a cancel no operation is
    begun, and those under way are finished or undone.

    Raises:
        Refusal: ``bad-request``: the request makes no sense; nothing was done.
        BadNameError: A name in it must not be used; nothing was done.
    """
    _check(params)
    journal = Journal(context.paths, params.project)
    with disposal.changes(journal, context.engine):
        _keep_contents(params, journal)
        kinds = {operation.kind for operation in params.operations}
        routing.settle(context, journal, params.epoch, kinds)
        run = _Run(params, context, journal)
        return Performed(run.outcomes())


class _Run:
    """One request under way."""

    def __init__(self, params: Perform, context: Context, journal: Journal) -> None:
        self._operations = {operation.id: operation for operation in params.operations}
        self._context = context
        self._journal = journal
        self._scene = routing.Scene(journal, context, params.epoch)
        self._instances = Instances(context.engine, journal, context.cancelled)
        self._outcomes: Dict[int, OperationProgress] = {}
        self._ended: "queue.SimpleQueue[OperationProgress]" = queue.SimpleQueue()

    def outcomes(self) -> Tuple[OperationProgress, ...]:
        """Run everything and return one outcome for each operation, in order of id."""
        waiting = dict(self._operations)
        running: Set[int] = set()
        with ThreadPoolExecutor(min(_WORKERS, len(waiting) or 1), "operation") as pool:
            while waiting or running:
                self._settle(waiting)
                for operation in [op for op in waiting.values() if self._ready(op)]:
                    del waiting[operation.id]
                    running.add(operation.id)
                    pool.submit(self._carry_out, operation)
                if running:
                    outcome = self._ended.get()
                    running.discard(outcome.id)
                    self._end(outcome)
        return tuple(self._outcomes[number] for number in sorted(self._outcomes))

    def _ready(self, operation: Operation) -> bool:
        return all(
            number in self._outcomes and self._outcomes[number].phase == "done" for number in operation.after
        )

    def _settle(self, waiting: Dict[int, Operation]) -> None:
        """Fail what can no longer be begun, and then what waits for that."""
        if self._context.cancelled.is_set():
            for number in list(waiting):
                self._end(_failed(waiting.pop(number), Failure("cancelled", "stopped before it was begun")))
        settled = True
        while settled:
            settled = False
            for operation in list(waiting.values()):
                broken = [n for n in operation.after if n in self._outcomes and not _done(self._outcomes[n])]
                if broken:
                    del waiting[operation.id]
                    why = Failure("upstream", f"operation {broken[0]} failed, which this one waits for")
                    self._end(_failed(operation, why))
                    settled = True

    def _end(self, outcome: OperationProgress) -> None:
        self._outcomes[outcome.id] = outcome
        self._context.progress(outcome)

    def _carry_out(self, operation: Operation) -> None:
        started = time.monotonic()

        def tell(phase: str, container: str, detail: str) -> None:
            self._context.progress(OperationProgress(operation.id, phase, container, detail))

        try:
            done = self._do(operation, tell)
            outcome = OperationProgress(operation.id, "done", done.container, done.detail)
        except BaseException as error:  # noqa: BLE001 - whatever it is becomes this operation's outcome
            left = getattr(error, "container", "") or operation.container
            outcome = OperationProgress(operation.id, "failed", left, failure=failures.describe(error))
        seconds = round(time.monotonic() - started, 3)
        self._ended.put(
            OperationProgress(
                outcome.id, outcome.phase, outcome.container, outcome.detail, outcome.failure, seconds
            )
        )

    def _do(self, operation: Operation, tell: Tell) -> Outcome:
        if operation.kind == "start":
            config = _config(operation)
            identity = Identity(self._journal.project, operation.service, operation.slot, operation.release)
            return self._instances.start(identity, config, tell, seconds=operation.seconds)
        if operation.kind in ("stop", "resume"):
            resume = partial(self._instances.resume, faulty=operation.faulty, seconds=operation.seconds)
            change = self._instances.stop if operation.kind == "stop" else resume
            return change(operation.container, tell)
        if operation.kind in routing.KINDS:
            return Outcome(*routing.carry_out(self._scene, operation, tell))
        tell("removing", operation.container, "")
        return self._take_away(operation)

    def _take_away(self, operation: Operation) -> Outcome:
        engine = self._context.engine
        if operation.kind == "remove":
            return disposal.remove(self._instances, operation.container)
        if operation.kind == "remove_volume":
            return disposal.remove_volume(engine, self._journal.project, operation.name)
        if operation.kind == "remove_image":
            return disposal.remove_image(engine, operation.name)
        self._journal.forget(operation.name)
        jobs.forget(self._journal, operation.name)
        return Outcome()


def _done(outcome: OperationProgress) -> bool:
    return outcome.phase == "done"


def _failed(operation: Operation, failure: Failure) -> OperationProgress:
    return OperationProgress(operation.id, "failed", operation.container, failure=failure)


def _config(operation: Operation) -> InstanceConfig:
    if operation.config is None:
        raise Refusal("bad-request", f"operation {operation.id}: a start without a configuration")
    return operation.config


def _check(params: Perform) -> None:
    """Return when every operation makes sense and none waits for itself."""
    check_name(params.project, "project")
    numbers = [operation.id for operation in params.operations]
    if len(set(numbers)) != len(numbers) or len(numbers) > _MOST_OPERATIONS:
        raise Refusal("bad-request", "operations without numbers of their own, or too many of them")
    for operation in params.operations:
        _check_operation(operation, params.project)
    after = {operation.id: set(operation.after) for operation in params.operations}
    if any(not waits <= set(numbers) for waits in after.values()):
        raise Refusal("bad-request", "an operation waits for one that is not in the request")
    _check_acyclic(after)


def _check_operation(operation: Operation, project: str) -> None:
    kind = operation.kind
    if kind not in OPERATIONS:
        raise Refusal("bad-request", f"operation {operation.id}: cannot do {kind[:40]!r}")
    if kind == "start":
        config = _config(operation)
        Identity(project, operation.service, operation.slot, operation.release).check()
        containers.check_config(config, project)
        if config.service != operation.service:
            raise Refusal("bad-request", f"operation {operation.id}: the configuration of another service")
    elif kind in ("stop", "resume", "remove"):
        check_digest(operation.container, "container id")
    elif kind in routing.KINDS:
        requests.check(operation, project)
    elif kind == "remove_volume":
        check_name(operation.name, "volume")
    elif kind == "remove_image":
        check_digest(operation.name.partition(":")[2], "image id")
    else:
        check_release(operation.name)


def _check_acyclic(after: Dict[int, Set[int]]) -> None:
    left = {number: set(waits) for number, waits in after.items()}
    following: Dict[int, List[int]] = {number: [] for number in after}
    for number, waits in after.items():
        for earlier in waits:
            following[earlier].append(number)
    free = [number for number, waits in left.items() if not waits]
    while free:
        number = free.pop()
        del left[number]
        for later in following[number]:
            left[later].discard(number)
            if not left[later]:
                free.append(later)
    if left:
        raise Refusal("bad-request", f"operations {sorted(left)[:10]} wait for each other")


def _keep_contents(params: Perform, journal: Journal) -> None:
    """Write what came with the request to the journal. Values appear in no message."""
    try:
        for sha256, text in params.contents.items():
            journal.put_config(sha256, base64.b64decode(text, validate=True))
        for keyed_hash, text in params.secrets.items():
            journal.put_secret(keyed_hash, base64.b64decode(text, validate=True))
    except BadNameError:
        raise
    except DamagedError as error:
        raise Refusal("digest-mismatch", str(error)) from None
    except ValueError:
        raise Refusal("bad-request", "a content that is not base64") from None
