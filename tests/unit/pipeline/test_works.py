"""What each kind of change plans: here, applies beside a release that is held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.fleet_model import FleetModel
from support.planning import applied, project, wanted
from support.report_samples import record

from orchestrator.errors import RequestError
from orchestrator.options import Options
from orchestrator.planning.limit import EVERYTHING
from orchestrator.planning.types import Observed, StepKind
from orchestrator.protocol.messages import Held
from orchestrator.works import Abort, Apply, Promote

OPTIONS = Options((Path("spec.yaml"),))
SHOP = project({"api": {}})


@dataclass
class Bench:
    """As much of a workbench as planning an apply asks for."""

    fleet: FleetModel
    limit = EVERYTHING
    loaded = SimpleNamespace(name="shop")

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
    made = plan(Apply(OPTIONS, replace_held=True), fleet, holding(fleet, 7))
    assert made.starts == {"app"}
    assert made.unholds == ("web-1",)


@pytest.mark.parametrize("work", [Promote, Abort])
def test_only_what_is_held_can_be_promoted_or_aborted(work):
    """The message names what is held, or how to hold something."""
    fleet = FleetModel(["web-1"])
    with pytest.raises(RequestError, match="no release of shop is held"):
        work(OPTIONS).plan(Bench(fleet), fleet.observed(), {})
    with pytest.raises(RequestError, match="r3: it is not held") as error:
        work(OPTIONS, "r3").plan(Bench(fleet), holding(fleet, 7), {})
    assert error.value.hint == "held: r7"


def test_an_abort_brings_its_own_steps():
    """They end with the host forgetting the release."""
    fleet = FleetModel(["web-1"])
    made = Abort(OPTIONS).plan(Bench(fleet), holding(fleet, 7), {})
    assert made.plan.reason == "abort r7"
    assert made.steps[-1].kind is StepKind.UNHOLD


def test_hold_is_for_what_starts_something():
    """There is no cutover to stop before when nothing changes."""
    fleet = FleetModel(["web-1"])
    assert not plan(Apply(OPTIONS), fleet).hold
    assert plan(Apply(OPTIONS, hold=True), fleet).hold
    applied(SHOP, fleet)
    again = plan(Apply(OPTIONS, hold=True), fleet)
    assert again.empty
    assert not again.hold
