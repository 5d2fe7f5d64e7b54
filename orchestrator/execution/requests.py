"""One request under way, and the one that goes over a connection of its own: the confirm.

Owns what the executor remembers of a request. It must not know how answers settle steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from orchestrator.errors import DeployError, HostError
from orchestrator.execution.loop import reraise
from orchestrator.execution.schedule import DECISIONS, Batch
from orchestrator.execution.world import World
from orchestrator.planning.types import Step, StepKind
from orchestrator.ports import Call, RequestFailed, Session
from orchestrator.protocol.messages import Confirm


@dataclass(eq=False)
class Request:
    """One batch under way."""

    batch: Batch
    call: Call | None = None

    @property
    def cancellable(self) -> bool:
        """A decision is one rename on the host: asking it to stop would only blur the answer."""
        return self.batch.steps[0].kind not in DECISIONS


def confirm(
    world: World,
    project: str,
    request: Request,
    answered: Callable[[Request, Session, Call], None],
    refused: Callable[[Request, RequestFailed | DeployError], None],
) -> None:
    """Connect anew and ask for the confirm; runs in a worker, which may block.

    Args:
        world: The ports to work through.
        project: Its name.
        request: One ``CONFIRM``.
        answered: Told on the deciding thread, which closes the session.
        refused: Told on the deciding thread; there is no session then.
    """
    post, step = world.loop.post, request.batch.steps[0]
    try:
        session = world.fleet.fresh(step.host)
    except HostError as error:
        post(partial(refused, request, error))
        return
    except BaseException as defect:  # noqa: BLE001 - it must surface where somebody can see it
        post(partial(reraise, defect))
        return

    def on_done(call: Call) -> None:
        post(partial(answered, request, session, call))

    try:
        request.call = session.request(Confirm(project, step.name), on_done=on_done)
    except (RequestFailed, HostError) as error:
        session.close()
        post(partial(refused, request, error))


def goes_anyway(failed: Step, later: Step) -> bool:
    """Tell whether ``later`` happens although ``failed`` did not work out, in a run that goes forward.

    What is old has to stop: a session that could not be drained, or a late job, holds up nothing.
    """
    return not failed.essential and failed.kind in _HOLDS_UP_NOTHING and not later.essential


_HOLDS_UP_NOTHING = frozenset({StepKind.DRAIN, StepKind.JOB})
