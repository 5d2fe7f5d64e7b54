"""The order of steps, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fleet_model import FleetModel
from support.planning import applied, planned, project, rolled_out

from orchestrator.planning.rollout import rollout
from orchestrator.planning.types import Plan, Step, StepKind
from orchestrator.planning.undo import undo


def after(steps: tuple[Step, ...]) -> dict[str, tuple[str, ...]]:
    """Return what each step waits for."""
    return {step.id: step.after for step in steps}


def test_a_first_apply() -> None:
    """Images first, dependencies before dependents, records last, the first before the others."""
    plan = planned(project({"api": {"replicas": 2, "depends_on": ["db"]}, "db": {}}), FleetModel(["a", "b"]))
    assert after(rolled_out(plan)) == {
        "ship a app": (),
        "ship b app": (),
        "start a db[1]": ("ship a app",),
        "start a api[1]": ("ship a app", "start a db[1]"),
        "start b api[2]": ("ship b app", "start a db[1]"),
        "commit a": ("start a api[1]", "start b api[2]"),
        "commit b": ("commit a",),
    }


def test_a_rolling_replacement() -> None:
    """One at a time by default, more when told so; the new one before the old one stops."""
    model = FleetModel(["a", "b", "c"])
    applied(project({"api": {"replicas": 3}}), model)
    plan = planned(project({"api": {"replicas": 3, "environment": {"A": "1"}}}), model)
    waits = after(rolled_out(plan))
    assert waits["stop a api[1]"] == ("start a api[1]",)
    assert waits["start b api[2]"] == ("stop a api[1]",)
    assert waits["start c api[3]"] == ("stop b api[2]",)
    spec = {"replicas": 3, "environment": {"A": "1"}, "update": {"max_parallel": 2}}
    two = after(rolled_out(planned(project({"api": spec}), model)))
    assert two["start b api[2]"] == ()
    assert two["start c api[3]"] == ("stop a api[1]",)


def test_a_dependency_that_does_not_change_stands_for_its_own() -> None:
    """The front waits for the database although only the api in between is named."""
    spec = {"db": {}, "api": {"depends_on": ["db"]}, "front": {"depends_on": ["api"]}}
    model = FleetModel(["a"])
    applied(project(spec), model)
    for name in ("db", "front"):
        spec[name] = {**spec[name], "environment": {"A": "1"}}
    assert after(rolled_out(planned(project(spec), model)))["start a front[1]"] == ("start a db[1]",)


def test_removed_services_stop_dependents_first_and_after_all_that_starts() -> None:
    """Whoever used them has been replaced by then."""
    model = FleetModel(["a"])
    applied(project({"db": {}, "old": {"depends_on": ["db"]}, "api": {}}), model)
    waits = after(rolled_out(planned(project({"api": {"environment": {"A": "1"}}}), model)))
    assert waits["stop a old[1]"] == ("stop a api[1]", "start a api[1]")
    assert waits["stop a db[1]"] == ("stop a old[1]",)


def test_many_removals_wait_through_one() -> None:
    """Edges stay linear: only the first waits for everything."""
    model = FleetModel(["a"])
    applied(project({"api": {"replicas": 20}, "old": {"replicas": 20}}), model)
    steps = rolled_out(planned(project({"api": {"replicas": 20, "environment": {"A": "1"}}}), model))
    gone = [step for step in steps if step.kind is StepKind.STOP and step.service == "old"]
    assert sorted(len(step.after) for step in gone) == [1] * 19 + [40]


def test_clean_up_waits_for_the_record_and_fails_nothing() -> None:
    """Deleting is never essential."""
    model = FleetModel(["a"])
    applied(project({"api": {"keep_releases": 0}}), model)
    steps = rolled_out(planned(project({"api": {"keep_releases": 0, "environment": {"A": "1"}}}), model))
    late = [step for step in steps if step.kind in (StepKind.REMOVE, StepKind.FORGET, StepKind.REMOVE_IMAGE)]
    assert [step.id for step in late] == ["remove a api[1] c00001", "forget a r1"]
    assert not any(step.essential for step in late)
    assert after(steps)["remove a api[1] c00001"] == ("commit a",)


def test_a_plan_that_cannot_be_rolled_out() -> None:
    """A programming error is said as one."""
    plan = planned(project({"api": {}}), FleetModel(["a"]))
    with pytest.raises(ValueError, match="max_parallel is 0"):
        rolled_out(plan, max_parallel=0)


def test_an_empty_plan_has_no_steps() -> None:
    """Not even a commit."""
    model = FleetModel(["a"])
    applied(project({"api": {}}), model)
    assert rolled_out(planned(project({"api": {}}), model)) == ()


def replaced() -> tuple[FleetModel, Plan, tuple[Step, ...]]:
    """Return a fleet with a plan that replaces two services, one of them stop-first."""
    model = FleetModel(["a"])
    spec = {"db": {"volumes": ["data:/data"]}, "api": {"depends_on": ["db"]}}
    applied(project(spec), model)
    changed = {name: {**item, "environment": {"A": "1"}} for name, item in spec.items()}
    plan = planned(project(changed), model)
    return model, plan, rolled_out(plan)


def test_undo_reverses_order_and_kind() -> None:
    """The last thing first; what was started is stopped, what was stopped is started again."""
    _, _, steps = replaced()
    done = [step.id for step in steps if step.kind is not StepKind.COMMIT]
    back = undo(steps, done, {"start a db[1]": "n1", "start a api[1]": "n2"})
    assert [(step.id, step.kind, step.container, step.after) for step in back] == [
        ("undo stop a api[1]", StepKind.RESUME, "c00002", ()),
        ("undo start a api[1]", StepKind.STOP, "n2", ("undo stop a api[1]",)),
        ("undo start a db[1]", StepKind.STOP, "n1", ("undo start a api[1]",)),
        ("undo stop a db[1]", StepKind.RESUME, "c00001", ("undo start a db[1]",)),
    ]


def test_undo_of_a_start_nobody_heard_of_leaves_the_container_to_the_agent() -> None:
    """It names service and slot, and no container."""
    _, _, steps = replaced()
    (first, _) = undo(steps, ["stop a db[1]", "start a db[1]"], {})
    assert (first.kind, first.container, first.service, first.slot) == (StepKind.STOP, "", "db", 1)


def test_what_was_faulty_before_is_put_back_as_it_was() -> None:
    """Nobody demands of the old state that it become healthy; what was healthy must be again."""
    model = FleetModel(["a"])
    applied(project({"api": {}, "db": {}}), model)
    running = model.hosts["a"].containers
    running.update(
        (key, replace(one, health="unhealthy")) for key, one in list(running.items()) if one.service == "api"
    )
    plan = planned(project({name: {"environment": {"A": "1"}} for name in ("api", "db")}), model)
    steps = rolled_out(plan)
    back = undo(steps, [step.id for step in steps if step.kind is StepKind.STOP], {})
    assert {(step.service, step.faulty) for step in back} == {("api", True), ("db", False)}


def test_undo_of_some_records_forgets_them() -> None:
    """A record that only some hosts have is taken back with the rest."""
    model, plan, steps = replaced()
    model.apply(plan, steps)
    back = undo(steps, [step.id for step in steps], {})
    assert (back[0].kind, back[0].name) == (StepKind.FORGET, "r2")


def test_nothing_is_undone_once_clean_up_has_begun() -> None:
    """What is deleted cannot come back; the release is in force."""
    model = FleetModel(["a"])
    applied(project({"api": {"keep_releases": 0}}), model)
    plan = planned(project({"api": {"keep_releases": 0, "environment": {"A": "1"}}}), model)
    steps = rolled_out(plan)
    assert undo(steps, [step.id for step in steps], {}) == ()


def test_rollout_needs_a_record_for_every_participant() -> None:
    """Forgetting to make them is a programming error."""
    plan = planned(project({"api": {}}), FleetModel(["a"]))
    with pytest.raises(KeyError):
        rollout(plan, {})
