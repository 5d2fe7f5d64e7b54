"""The flow of a change: what is announced, asked, carried out, and said at the end."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.fake_fleet import FakeFleet
from support.fleet_model import FleetModel
from support.planning import project, wanted
from support.report_samples import record
from support.runs import Run

from orchestrator import pipeline
from orchestrator.errors import Interrupted, RequestError
from orchestrator.events import Finished, Planned
from orchestrator.execution.apply import Outcome
from orchestrator.execution.loop import Interrupt
from orchestrator.options import Options
from orchestrator.planning.limit import EVERYTHING
from orchestrator.protocol.messages import Held
from orchestrator.works import Abort, Apply

OPTIONS = Options((Path("spec.yaml"),))


class Bench:
    """A workbench on a fleet in memory: planning sees one model, execution another of the same hosts."""

    limit = EVERYTHING
    loaded = SimpleNamespace(name="shop")
    fleet = SimpleNamespace(sessions={})
    held: Held | None = None

    def __init__(self, _loaded, listener, interrupt=None, ahead=None) -> None:
        self.listener = listener
        self.run = Run(FakeFleet(["web-1"]), events=[])
        self.interrupt = interrupt or self.run.interrupt

    def __enter__(self) -> Bench:  # noqa: PYI034 - a test's own class
        return self

    def __exit__(self, *_exception) -> None:
        pass

    def observe(self):
        """Return the fleet, with a held release when there is one."""
        seen = FleetModel(["web-1"]).observed()
        (host,) = seen.hosts
        report = replace(host.report, held=self.held, state="", epoch=0)
        return replace(seen, hosts=(replace(host, report=report),))

    def known(self, _seen):
        """Every image exists."""
        return {}

    def obtainable(self, _image) -> bool:
        """Every image can be had."""
        return True

    def desired(self, _seen, _known):
        """Return what should run."""
        return wanted(project({"api": {}}), FleetModel(["web-1"]))

    def world(self, _epoch, _timer):
        """Return what execution works through."""
        return self.run.world


def test_a_run_counts_from_its_head_start(bench):
    """What was done before everything was imported is part of it."""
    ahead = SimpleNamespace(began=time.monotonic() - 100.0, inventory=None)
    events: list[object] = []
    pipeline.run(Apply(OPTIONS), events.append, confirm=None, interrupt=Interrupt(), ahead=ahead)
    assert events[-1].seconds >= 100.0


@pytest.fixture
def bench(monkeypatch):
    """Stand in for the user's files and hosts."""
    monkeypatch.setattr(pipeline, "load", lambda options, _inventory=None: options)
    monkeypatch.setattr(pipeline, "Workbench", Bench)
    monkeypatch.setattr(Bench, "held", Held(record(7), 0.0))


def carried_out(work, **options):
    """Run a change and return its outcome and events."""
    events = []
    interrupt = Run(FakeFleet([])).interrupt
    outcome = pipeline.run(work, events.append, confirm=options.get("confirm"), interrupt=interrupt)
    assert isinstance(events[-1], Finished)
    return outcome, events


def test_an_abort_is_announced_and_carried_out(bench):
    """Its own steps are what is done; it puts no release in force."""
    outcome, events = carried_out(Abort(OPTIONS))
    assert outcome.ok, outcome.error
    assert [event.plan.reason for event in events if isinstance(event, Planned)] == ["abort r7"]
    assert (events[-1].release, events[-1].held, events[-1].exit_code) == ("", False, 0)


def test_an_abort_asks_first(bench):
    """No is an answer: nothing was changed."""
    asked = []
    outcome, _ = carried_out(Abort(OPTIONS), confirm=lambda made: bool(asked.append(made.reason)))
    assert asked == ["abort r7"]
    assert isinstance(outcome.error, Interrupted)


def test_an_apply_beside_a_held_release_is_refused(bench):
    """With exit code 1: the request was wrong, nothing was touched."""
    outcome, events = carried_out(Apply(OPTIONS))
    assert isinstance(outcome.error, RequestError)
    assert events[-1].exit_code == 1
    assert "deploy promote r7" in events[-1].hint


def test_a_held_apply_ends_well_and_names_the_release_that_waits(bench, monkeypatch):
    """Exit code 0; CI goes on from there."""
    monkeypatch.setattr(Bench, "held", None)
    monkeypatch.setattr(pipeline, "apply", lambda made, *_a, **_k: Outcome(ok=True, held=made.release))
    _, events = carried_out(Apply(OPTIONS, hold=True))
    assert (events[-1].release, events[-1].held, events[-1].exit_code) == ("r1", True, 0)


def test_a_plan_beside_a_held_release_warns(bench):
    """Looking is not refused."""
    warned = []
    made, _ = pipeline.plan(OPTIONS, warned.append)
    assert made.unholds == ("web-1",)
    assert "release r7 is held" in warned[0].message
