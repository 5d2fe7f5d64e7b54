"""What each kind of change plans: here, applies beside a release that is held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from support.fleet_model import FleetModel
from support.planning import applied, project, wanted
from support.report_samples import record

from orchestrator.errors import RequestError
from orchestrator.options import Options
from orchestrator.planning.limit import EVERYTHING
from orchestrator.planning.types import Observed
from orchestrator.protocol.messages import Held
from orchestrator.works import Apply, held_releases

OPTIONS = Options((Path("spec.yaml"),))
SHOP = project({"api": {}})


@dataclass
class Bench:
    """As much of a workbench as planning an apply asks for."""

    fleet: FleetModel
    limit = EVERYTHING

    def desired(self, _seen, _known):
        """Return what should run."""
        return wanted(SHOP, self.fleet)


def plan(work: Apply, fleet: FleetModel, seen: Observed | None = None):
    """Plan an apply of the shop."""
    return work.plan(Bench(fleet), seen or fleet.observed(), {})


def holding(fleet: FleetModel, *releases: int) -> Observed:
    """Return the fleet, its hosts holding these releases."""
    hosts = fleet.observed().hosts
    held = [Held(record(number), 0.0) for number in releases]
    return Observed(
        tuple(replace(h, report=replace(h.report, held=one)) for h, one in zip(hosts, held, strict=True))
    )


def test_an_apply_is_refused_while_a_release_is_held():
    """The message names it and every way on; nothing is planned."""
    fleet = FleetModel(["web-1"])
    with pytest.raises(RequestError, match="release r7 is held") as error:
        plan(Apply(OPTIONS), fleet, holding(fleet, 7))
    assert error.value.exit_code == 1
    for way in ("deploy promote r7", "deploy abort r7", "--replace-held"):
        assert way in error.value.hint


def test_a_held_release_may_be_replaced():
    """When told to, the new one is planned as ever."""
    fleet = FleetModel(["web-1"])
    assert plan(Apply(OPTIONS, replace_held=True), fleet, holding(fleet, 7)).starts == {"app"}


def test_the_newest_of_several_is_named_first():
    """Two hosts that were apart may hold different ones."""
    fleet = FleetModel(["web-1", "web-2"])
    assert held_releases(holding(fleet, 9, 10)) == ("r10", "r9")
    assert held_releases(fleet.observed()) == ()


def test_hold_is_for_what_starts_something():
    """There is no cutover to stop before when nothing changes."""
    fleet = FleetModel(["web-1"])
    assert not plan(Apply(OPTIONS), fleet).hold
    assert plan(Apply(OPTIONS, hold=True), fleet).hold
    applied(SHOP, fleet)
    again = plan(Apply(OPTIONS, hold=True), fleet)
    assert again.empty
    assert not again.hold
