"""``commit``: a release is written to the journal.

Owns the check of what is written. It must not know how files survive a crash: that is :mod:`.journal`'s.
"""

from __future__ import annotations

from orchestrator.agent.disposal import changes
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import check_name
from orchestrator.protocol.messages import Commit, Done


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
