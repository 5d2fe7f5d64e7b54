"""The rules of reconciliation, in one table: what runs, what should, what happens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.fleet_model import FleetModel
from support.planning import applied, image_id, inventory, lines, planned, project, rolled_out, wanted

from orchestrator.errors import HostUnreachable, SpecError
from orchestrator.planning.limit import Limit
from orchestrator.planning.observed import observed
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.types import Action, Plan, StepKind
from orchestrator.protocol.messages import ContainerReport

API = {"api": {"hosts": ["web-1"]}}
DATA = {"api": {"hosts": ["web-1"], "volumes": ["data:/data"]}}


def fleet(*hosts: str) -> FleetModel:
    """Return an empty fleet."""
    return FleetModel(hosts or ("web-1", "web-2"))


def change(model: FleetModel, container: str, **fields: Any) -> None:
    """Change what a container reports."""
    for host in model.hosts.values():
        if container in host.containers:
            host.containers[container] = replace(host.containers[container], **fields)


def half_started(model: FleetModel, host: str, like: str, **fields: Any) -> ContainerReport:
    """Put a container of the next release beside another, as a run that was cut off leaves it."""
    old = model.hosts[host].containers[like]
    new = replace(
        old,
        **{
            "id": "c99999",
            "name": "shop-api-1-r9",
            "release": "r9",
            "state": "created",
            "health": "none",
            **fields,
        },
    )
    model.hosts[host].containers[new.id] = new
    return new


def env(services: dict[str, Any], **environment: str) -> dict[str, Any]:
    """Return services with another environment."""
    return {name: {**service, "environment": environment} for name, service in services.items()}


EXITED = {"state": "exited", "health": "none", "exit_code": 137}
TABLE: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    # what, spec applied, what happens to c00001, spec wanted, changes
    ("nothing changed", API, {}, API, []),
    (
        "environment changed",
        API,
        {},
        env(API, LEVEL="debug"),
        ["replace api[1] web-1: environment LEVEL added"],
    ),
    (
        "environment changed, with a volume",
        DATA,
        {},
        env(DATA, LEVEL="debug"),
        ["replace-stop-first api[1] web-1: environment LEVEL added"],
    ),
    (
        "exited",
        API,
        EXITED,
        API,
        [
            "replace api[1] web-1: container exited with status 137",
            "discard api[1] web-1: container of r1 is no longer needed",
        ],
    ),
    (
        "restarting",
        API,
        {"state": "restarting"},
        API,
        [
            "replace api[1] web-1: container restarting",
            "discard api[1] web-1: container of r1 is no longer needed",
        ],
    ),
    (
        "unhealthy",
        API,
        {"health": "unhealthy", "health_detail": "GET / answered 500"},
        API,
        [
            "replace api[1] web-1: unhealthy: GET / answered 500",
            "discard api[1] web-1: container of r1 is no longer needed",
        ],
    ),
    (
        "drifted",
        API,
        {"intact": False},
        API,
        [
            "replace api[1] web-1: changed since it was created",
            "discard api[1] web-1: container of r1 is no longer needed",
        ],
    ),
    (
        "unhealthy and changed",
        API,
        {"health": "unhealthy"},
        env(API, LEVEL="debug"),
        ["replace api[1] web-1: environment LEVEL added; unhealthy"],
    ),
    ("health unknown", API, {"health": "unknown"}, API, []),
    ("configuration lost", API, {"config": None}, API, []),
    (
        "configuration lost, and changed",
        API,
        {"config": None},
        env(API, LEVEL="debug"),
        ["replace api[1] web-1: configuration changed"],
    ),
    ("service gone", API, {}, {}, ["remove api[1] web-1: not in the spec any more"]),
    ("service gone, and exited", API, EXITED, {}, []),
    (
        "moved",
        API,
        {},
        {"api": {"hosts": ["web-2"]}},
        ["remove api[1] web-1: moved to web-2", "create api[1] web-2: moved from web-1"],
    ),
    ("one more", API, {}, {"api": {"hosts": ["web-1"], "replicas": 2}}, ["create api[2] web-1: new"]),
    (
        "none",
        API,
        {},
        {"api": {"hosts": ["web-1"], "replicas": 0}},
        ["remove api[1] web-1: fewer instances are wanted"],
    ),
    ("keeps nothing", API, {}, {"api": {"hosts": ["web-1"], "keep_releases": 0}}, []),
    (
        "replaced, and keeps nothing",
        API,
        {},
        env({"api": {"hosts": ["web-1"], "keep_releases": 0}}, LEVEL="debug"),
        [
            "replace api[1] web-1: environment LEVEL added",
            "discard api[1] web-1: container of r1 is no longer needed",
        ],
    ),
    (
        "image changed",
        API,
        {},
        {"api": {"hosts": ["web-1"], "image": "other"}},
        ["replace api[1] web-1: image other changed"],
    ),
]


@pytest.mark.parametrize(
    ("before", "damage", "after", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_rules(
    before: dict[str, Any], damage: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    """Each row does what it says, and the plan after it is empty."""
    model = fleet()
    applied(project(before), model)
    if damage:
        change(model, "c00001", **damage)
    plan = planned(project(after), model)
    assert sorted(lines(plan)) == sorted(expected)
    model.apply(plan, rolled_out(plan))
    assert planned(project(after), model).empty


def test_a_container_that_vanished_is_made_again() -> None:
    """The release in force says that it should be there."""
    model = fleet()
    applied(project(API), model)
    model.hosts["web-1"].containers.clear()
    assert lines(planned(project(API), model)) == ["create api[1] web-1: its container is gone"]


def test_a_half_started_container_that_matches_is_gone_on_with() -> None:
    """A created one, and a running one whose health was not proven yet, are resumed instead of made anew."""
    for fields in ({"state": "created"}, {"state": "running", "health": "unhealthy"}):
        model = fleet()
        applied(project(API), model)
        applied(project(env(API, LEVEL="debug")), model)
        half = half_started(model, "web-1", "c00001", **fields)
        plan = planned(project(API), model)
        (swap,) = [item for item in plan.changes if item.action is Action.REPLACE]
        assert swap.resumes is not None
        assert swap.resumes.container.id == half.id
        assert plan.release == "r10"
        (begin,) = [step for step in rolled_out(plan) if step.kind is StepKind.RESUME]
        assert begin.container == half.id
        model.apply(plan, rolled_out(plan))
        assert planned(project(API), model).empty


def test_a_half_started_container_that_runs_well_is_kept() -> None:
    """It is what should run: the old one goes, and the release is recorded."""
    model = fleet()
    applied(project(API), model)
    applied(project(env(API, LEVEL="debug")), model)
    half = half_started(model, "web-1", "c00001", state="running", health="healthy")
    plan = planned(project(API), model)
    assert [
        item.current.container.id for item in plan.changes if item.action is Action.KEEP and item.current
    ] == [half.id]
    assert lines(plan)[0] == "remove api[1] web-1: a second container"


def test_a_failed_or_foreign_leftover_is_discarded() -> None:
    """An exited one of a release that was never completed, or a half-started one that does not match."""
    for fields in (
        {"state": "exited"},
        {"state": "created", "digest": "d" * 64},
        {"state": "created", "intact": False},
    ):
        model = fleet()
        applied(project(API), model)
        half_started(model, "web-1", "c00001", **fields)
        plan = planned(project(API), model)
        assert lines(plan) == ["discard api[1] web-1: left by r9, which was never completed"]
        assert plan.participants == ()
        model.apply(plan, rolled_out(plan))
        assert planned(project(API), model).empty


def test_an_apply_cut_off_before_its_record_is_recorded_by_the_next() -> None:
    """Everything runs as it should, and no host says so yet."""
    model = fleet()
    plan = planned(project(API), model)
    model.apply(plan, [step for step in rolled_out(plan) if step.kind is not StepKind.COMMIT])
    again = planned(project(API), model)
    assert not again.empty
    assert again.unrecorded == ("web-1",)
    model.apply(again, rolled_out(again))
    assert list(model.hosts["web-1"].releases) == ["r2"]
    assert planned(project(API), model).empty


def test_retention_keeps_what_the_spec_says() -> None:
    """Two old releases stay as stopped containers; the third goes, with its record."""
    model = fleet("web-1")
    for level in "abcde":
        applied(project({"api": {"keep_releases": 2, "environment": {"LEVEL": level}}}), model)
    host = model.hosts["web-1"]
    assert sorted(item.release for item in host.containers.values()) == ["r3", "r4", "r5"]
    assert sorted(host.releases) == ["r3", "r4", "r5"]


def test_images_go_with_the_last_container_and_record_that_used_them() -> None:
    """An image is removed once nothing kept needs it, and never one that is not ours."""
    model = fleet("web-1")
    model.hosts["web-1"].images.add(image_id("foreign"))
    for tag in "abc":
        applied(project({"api": {"keep_releases": 1}}), model, images={"app": image_id(tag)})
    assert model.hosts["web-1"].images == {image_id("b"), image_id("c"), image_id("foreign")}


class TestHostsThatAreDown:
    """Planned around, or an error before anything starts."""

    def test_one_that_holds_nothing_is_skipped(self) -> None:
        """It says so."""
        model = fleet()
        model.hosts["web-2"].down = True
        plan = planned(project(API), model)
        assert plan.skipped == (("web-2", "no route to it; it holds nothing"),)
        assert lines(plan) == ["create api[1] web-1: new"]

    def test_one_that_holds_what_it_should_is_skipped_and_stays_on_record(self) -> None:
        """Its instances are carried over into the next release."""
        spec = {"api": {"replicas": 2}, "front": {"hosts": ["web-1"]}}
        model = fleet()
        applied(project(spec), model)
        model.hosts["web-2"].down = True
        spec["front"] = {"hosts": ["web-1"], "environment": {"LEVEL": "debug"}}
        plan = applied(project(spec), model)
        assert plan.skipped == (("web-2", "no route to it; nothing would change on it"),)
        record = model.hosts["web-1"].releases["r2"]
        assert [(item.service, item.slot, item.host) for item in record.instances] == [
            ("api", 1, "web-1"),
            ("api", 2, "web-2"),
            ("front", 1, "web-1"),
        ]
        model.hosts["web-2"].down = False
        assert planned(project(spec), model).empty

    @pytest.mark.parametrize(
        ("after", "message"),
        [
            ({"api": {"replicas": 2, "environment": {"A": "1"}}}, "what it holds would change: api[2]"),
            ({"api": {"replicas": 1}}, "it holds api[2]"),
            ({"api": {"replicas": 3}}, "it should get api[3]"),
        ],
    )
    def test_one_that_would_change_is_an_error(self, after: dict[str, Any], message: str) -> None:
        """The message says what it holds."""
        model = fleet("web-1", "web-2", "web-3")
        down = "web-3" if "get" in message else "web-2"
        applied(project({"api": {"replicas": 2}}), model)
        model.hosts[down].down = True
        with pytest.raises(HostUnreachable, match=f"{down}: no route to it, and ") as caught:
            planned(project(after), model)
        assert message in caught.value.message
        assert caught.value.hint == "bring it back; or name the other hosts with --limit"

    def test_its_own_failure_says_what_to_do(self) -> None:
        """A host key to put on record is the first thing to know, not that the host can be left out."""
        error = HostUnreachable("web-1", "unknown host key", hint="run ssh-keyscan", context=["shown: X"])
        seen = observed({"web-1": error}, "shop")
        with pytest.raises(HostUnreachable) as caught:
            reconcile(wanted(project({"api": {}}), fleet("web-1")), seen)
        assert caught.value.hint == "run ssh-keyscan; or name the other hosts with --limit"
        assert caught.value.context == ("shown: X",)

    def test_a_secret_there_cannot_be_told_from_a_changed_one(self) -> None:
        """Without the host's key nobody knows: it is an error rather than a guess."""
        secret = [{"name": "KEY", "from": {"env": "KEY"}}]
        model = fleet("web-1")
        spec = project({"api": {"secrets": secret}})
        values = {("api", "KEY"): b"hunter2"}
        applied(spec, model, secrets=values)
        assert planned(spec, model, secrets=values).empty
        model.hosts["web-1"].down = True
        with pytest.raises(HostUnreachable):
            planned(spec, model, secrets=values)

    def test_one_that_left_the_inventory_is_said_to_have_held_something(self) -> None:
        """Its instances move; it can be asked for nothing."""
        model = fleet()
        applied(project({"api": {"hosts": ["web-2"]}}), model)
        model.hosts["web-1"].releases = dict(model.hosts["web-2"].releases)
        del model.hosts["web-2"]
        plan = planned(project({"api": {}}), model)
        assert plan.skipped == (("web-2", "no longer in the inventory; it held api[1]"),)
        assert lines(plan) == ["create api[1] web-1: moved from web-2"]


class TestLimit:
    """Only what is chosen changes, and the record still tells of everything."""

    def test_services(self) -> None:
        """The other service keeps its old configuration, also in the record."""
        model = fleet("web-1")
        both = {"api": {}, "front": {}}
        applied(project(both), model)
        old = model.hosts["web-1"].releases["r1"]
        plan = applied(project(env(both, A="1")), model, limit=Limit(services=frozenset({"api"})))
        assert lines(plan) == ["replace api[1] web-1: environment A added"]
        new = model.hosts["web-1"].releases["r2"]
        assert [item for item in new.instances if item.service == "front"] == [
            item for item in old.instances if item.service == "front"
        ]
        assert {config.service for config in new.configs} == {"api", "front"}
        assert lines(planned(project(env(both, A="1")), model)) == [
            "replace front[1] web-1: environment A added"
        ]

    def test_hosts(self) -> None:
        """The instance on the other host stays, and so does a service that is gone from the spec there."""
        model = fleet()
        applied(project({"api": {"replicas": 2}, "old": {"hosts": ["web-2"]}}), model)
        limit = Limit(hosts=frozenset({"web-1"}))
        plan = applied(project(env({"api": {"replicas": 2}}, A="1")), model, limit=limit)
        assert lines(plan) == ["replace api[1] web-1: environment A added"]
        assert len(model.hosts["web-1"].releases["r2"].instances) == 3
        assert "r2" not in model.hosts["web-2"].releases

    def test_a_slot_that_leaves_the_chosen_hosts_stays(self) -> None:
        """It would have to be made where nothing may change."""
        model = fleet()
        applied(project(API), model)
        moved = project({"api": {"hosts": ["web-2"]}})
        for host in ("web-1", "web-2"):
            assert planned(moved, model, limit=Limit(hosts=frozenset({host}))).empty

    def test_hosts_that_were_not_asked_keep_what_they_hold(self) -> None:
        """With ``--limit`` the others are not even connected to."""
        model = fleet()
        applied(project({"api": {"replicas": 2}, "old": {"hosts": ["web-2"]}}), model)
        away = model.hosts.pop("web-2")
        spec = project(env({"api": {"replicas": 2}}, A="1"))
        hosts = inventory("web-1", "web-2")
        plan = applied(spec, model, limit=Limit(hosts=frozenset({"web-1"})), hosts=hosts)
        assert lines(plan) == ["replace api[1] web-1: environment A added"]
        assert [item.instance.host for item in plan.carried] == ["web-2", "web-2"]
        model.hosts["web-2"] = away
        assert lines(planned(spec, model))[0] == "replace api[2] web-2: environment A added"


def test_a_port_that_moves_between_services_is_freed_first() -> None:
    """A renamed service: the old one stops before the new one starts, whatever depends on what."""
    model = fleet("web-1")
    applied(project({"a": {"ports": ["80:80"]}, "b": {"ports": ["81:80"], "depends_on": ["a"]}}), model)
    swapped = project({"a": {"ports": ["81:80"]}, "b": {"ports": ["80:80"], "depends_on": ["a"]}})
    applied(swapped, model)
    assert planned(swapped, model).empty
    renamed = project({"c": {"ports": ["80:80"]}, "a": {"ports": [], "depends_on": ["c"]}})
    plan = planned(renamed, model)
    assert plan_actions(plan)["a[1]"] is Action.REPLACE
    model.apply(plan, rolled_out(plan))
    assert planned(renamed, model).empty


def plan_actions(plan: Plan) -> dict[str, Action]:
    """Return each change's action by name."""
    return {item.name: item.action for item in plan.changes if item.action is not Action.DISCARD}


def test_two_instances_on_one_port_are_an_error() -> None:
    """Said when planning, not by the engine of the second host."""
    with pytest.raises(SpecError) as caught:
        planned(project({"api": {"replicas": 3, "ports": ["80:80"]}}), fleet())
    assert "port 80/tcp of web-1 is published by api[1] and by api[3]" in str(caught.value.problems[0])


def test_a_plan_knows_what_it_ships() -> None:
    """Only to hosts that lack the image, and the placeholder of one that is not built; nothing unused."""
    model = fleet()
    model.hosts["web-1"].images.add(image_id("app"))
    plan = planned(project({"api": {"replicas": 2}}), model)
    assert plan.ships == (("web-2", image_id("app")),)
    unbuilt = planned(project({"api": {}}), model, images={"app": "", "other": ""})
    assert unbuilt.ships == (("web-1", "pull:app:1"),)
    assert [item.name for item in unbuilt.builds] == ["app"]
    assert unbuilt.starts == {"app"}
    with pytest.raises(ValueError, match="app has no id yet"):
        rolled_out(unbuilt)


def test_equal_inputs_give_equal_plans() -> None:
    """The very same plan, reasons included."""
    model = fleet()
    applied(project(API), model)
    want = wanted(project(env(API, A="1")), model)
    assert reconcile(want, model.observed()) == reconcile(want, model.observed())
