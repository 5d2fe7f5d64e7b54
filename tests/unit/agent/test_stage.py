"""What containers stand on is made once, whoever else makes it at the same time."""

from __future__ import annotations

import itertools
import threading
from contextlib import closing
from typing import Any

from support.agent_world import PROJECT
from support.fake_engine import FakeEngine

from orchestrator.agent.engine import Engine
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import Paths
from orchestrator.agent.stage import Stage


class _Watched(Engine):
    """Writes down who asks, and lets somebody else go ahead after the first look."""

    def __init__(self, socket_path: str) -> None:
        super().__init__(socket_path)
        self.asked: list[int] = []
        self.other: threading.Thread | None = None

    def _call(self, *arguments: Any) -> Any:
        self.asked.append(threading.get_ident())
        try:
            return super()._call(*arguments)
        finally:
            if self.other is not None and not self.other.ident:
                self.other.start()
                self.other.join(0.1)


def test_two_who_need_the_network_make_it_in_turn(tmp_path):
    """The router and an instance of a first apply come together; an engine would have two of one name."""
    journal = Journal(Paths(tmp_path / "state"), PROJECT)
    with FakeEngine() as fake, closing(_Watched(fake.socket_path)) as engine:
        engine.other = threading.Thread(target=Stage(engine, journal).network)
        Stage(engine, journal).network()
        engine.other.join()
        assert list(fake.host.networks) == [PROJECT]
    assert len([who for who, _ in itertools.groupby(engine.asked)]) == len(set(engine.asked))


def test_two_requests_give_out_no_address_twice(tmp_path):
    """Each has a stage of its own, and neither sees in a listing what the other is about to make."""
    journal = Journal(Paths(tmp_path / "state"), "two-requests")
    with FakeEngine() as fake, closing(Engine(fake.socket_path)) as engine:
        first, second = Stage(engine, journal), Stage(engine, journal)
        first.network()
        one, two = first.address(), second.address()
    assert one != two or not one
