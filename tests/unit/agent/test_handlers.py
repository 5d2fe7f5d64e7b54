"""What handlers of one session owe each other when their requests overlap."""

import os

from support.agent_world import PROJECT, RecordingChannel

from orchestrator.agent.commit import commit
from orchestrator.agent.disposal import changes
from orchestrator.agent.engine import EngineError
from orchestrator.agent.handler import Context
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import Paths
from orchestrator.protocol.messages import Commit, ReleaseRecord


class NoContainers:
    """An engine with nothing on it."""

    def get(self, path, query=None):
        """Return an empty listing; single objects are not there."""
        if path == "/containers/json":
            return []
        raise EngineError(404, "no such object")


def test_no_clean_up_while_a_release_is_being_written(tmp_path, monkeypatch):
    """A commit survives the end of the operations before it, which cleans up the folder it writes to."""
    context = Context(paths=Paths(tmp_path), channel=RecordingChannel(), engine=NoContainers())
    journal = Journal(context.paths, PROJECT)
    replace = os.replace

    def replace_late(source, target):
        with changes(journal, context.engine):
            pass
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_late)
    record = ReleaseRecord("r1", 0.0, "somebody", "")
    commit(Commit(PROJECT, 1, record), context)
    assert journal.releases() == (record,)
