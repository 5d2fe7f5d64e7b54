"""Which function answers which method: the whole of what an agent can do, on one screen.

Owns the table and the proof of the lease before anything that needs it. What a method does is in the
module it names.
"""

from __future__ import annotations

from typing import Any, Dict

from orchestrator.agent.disposal import changes
from orchestrator.agent.execute import execute
from orchestrator.agent.handler import Context, Handler, Refusal
from orchestrator.agent.imaging import HANDLERS as IMAGING
from orchestrator.agent.journal import Journal
from orchestrator.agent.lease import Leases
from orchestrator.agent.logs import logs
from orchestrator.agent.observe import observe, state_of
from orchestrator.agent.operations import perform
from orchestrator.agent.paths import check_name
from orchestrator.agent.router.operations import confirm, maintain
from orchestrator.protocol.messages import METHODS, Acquire, Acquired, Commit, Done, ReleaseLease


def table(leases: Leases) -> Dict[str, Handler]:
    """Return the handler of every method, for a session that holds ``leases``."""

    def acquire(params: Acquire, context: Context) -> Acquired:
        journal = Journal(context.paths, params.project)
        return Acquired(leases.acquire(params, lambda: state_of(context.engine, journal)))

    def release(params: ReleaseLease, _: Context) -> Done:
        leases.release(params.project, params.epoch)
        return Done()

    plain: Dict[str, Handler] = {
        "observe": observe,
        "perform": perform,
        "commit": commit,
        "confirm": confirm,
        "maintain": maintain,
        "logs": logs,
        "exec": execute,
        **IMAGING,
    }
    guarded = {
        name: _guard(handler, leases) if METHODS[name].needs_lease else handler
        for name, handler in plain.items()
    }
    # These two are about the lease itself and check it themselves.
    return {**guarded, "acquire": acquire, "release": release}


def commit(params: Commit, context: Context) -> Done:
    """Write a release to the journal.

    Raises:
        Refusal: ``bad-request``: it holds a configuration of another project.
    """
    check_name(params.project, "project")
    if any(config.project != params.project for config in params.record.configs):
        raise Refusal("bad-request", "a release with a configuration of another project")
    journal = Journal(context.paths, params.project)
    # The controller hears of the last operation before its request has cleaned up behind it.
    with changes(journal, context.engine):
        journal.commit(params.record)
    return Done()


def _guard(handler: Handler, leases: Leases) -> Handler:
    def guarded(params: Any, context: Context) -> Any:
        with leases.use(params.project, params.epoch):
            return handler(params, context)

    return guarded
