"""What becomes of a place in the router when its container gets another address, or goes."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.router.addresses import refreshed
from orchestrator.agent.router.table import ATTACHED, DRAINING, SERVING, Seat, Table


class _Inspecting(Engine):
    """Knows containers by their address; others are gone."""

    def __init__(self, **known: str) -> None:
        super().__init__("/nonexistent")
        self._known = known

    def get(self, path: str, *_: Any, **__: Any) -> Any:
        """Inspect."""
        address = self._known.get(path.split("/")[2])
        if address is None:
            raise EngineError(404, "no such container")
        running = {"Running": bool(address), "Status": "running" if address else "exited"}
        return {"State": running, "NetworkSettings": {"Networks": {"shop": {"IPAddress": address}}}}


def _table(state: str) -> Table:
    return Table((Seat("web", 1, "r1", "c1", "10.0.0.1", 1, state, 256 if state == SERVING else 0),))


@pytest.mark.parametrize(("state", "stays"), [(ATTACHED, False), (DRAINING, False), (SERVING, True)])
def test_who_is_gone_keeps_no_place_but_that_of_its_traffic(state, stays):
    """Places are few: releases that were taken back must not fill them. Who serves is the record's to say."""
    table = _table(state)
    assert refreshed(_Inspecting(), "shop", table) == (table if stays else Table())


def test_who_stands_still_keeps_its_place():
    """A stopped container may be started again, at the same address or at another."""
    table = _table(DRAINING)
    assert refreshed(_Inspecting(c1=""), "shop", table) == table
    assert refreshed(_Inspecting(c1="10.0.0.9"), "shop", table).seats[0].address == "10.0.0.9"
