"""Rollback, destroy, prune, saved plans and limits, case by case."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from support.fleet_model import FleetModel
from support.planning import applied, image_id, inventory, lines, planned, project, rolled_out

from orchestrator.errors import HostUnreachable, InventoryError, RequestError
from orchestrator.planning.destroy import destroy
from orchestrator.planning.limit import EVERYTHING, Limit, limit
from orchestrator.planning.prune import prune
from orchestrator.planning.rollback import rollback
from orchestrator.planning.saved import differences, plan_document
from orchestrator.planning.types import Action


def two_releases(*hosts: str) -> FleetModel:
    """Return a fleet whose second release has another environment."""
    model = FleetModel(hosts or ("a",))
    applied(project({"api": {"replicas": len(model.hosts)}}), model)
    applied(project({"api": {"replicas": len(model.hosts), "environment": {"A": "1"}}}), model)
    return model


class TestRollback:
    """Back to what a release recorded, not to a spec."""

    def test_it_resumes_the_very_container(self) -> None:
        """By default of the release before the one in force."""
        model = two_releases()
        plan = rollback("shop", model.observed())
        assert plan.reason == "rollback to r1"
        assert plan.release == "r3"
        assert lines(plan) == ["resume api[1] a: rollback to r1; environment A removed"]
        (change,) = plan.changes
        assert change.resumes is not None
        assert change.resumes.container.release == "r1"
        assert [step.id for step in rolled_out(plan)] == ["resume a api[1]", "stop a api[1]", "commit a"]

    def test_a_container_that_was_changed_is_made_anew(self) -> None:
        """From the release's own configuration."""
        model = two_releases()
        containers = model.hosts["a"].containers
        containers["c00001"] = replace(containers["c00001"], intact=False)
        plan = rollback("shop", model.observed())
        assert [change.action for change in plan.changes] == [Action.REPLACE, Action.DISCARD]

    def test_a_container_that_is_gone_is_made_anew(self) -> None:
        """The journal still has its configuration."""
        model = two_releases()
        del model.hosts["a"].containers["c00001"]
        (change,) = rollback("shop", model.observed(), "r1").changes
        assert change.action is Action.REPLACE

    def test_a_configuration_that_is_lost_is_an_error(self) -> None:
        """It names host and instance."""
        model = two_releases()
        del model.hosts["a"].containers["c00001"]
        releases = model.hosts["a"].releases
        releases["r1"] = replace(releases["r1"], configs=())
        with pytest.raises(RequestError, match="cannot roll back to r1") as caught:
            rollback("shop", model.observed())
        assert caught.value.context == ("a: api[1]",)

    def test_releases_that_are_not_there(self) -> None:
        """Each has its own message."""
        model = FleetModel(["a"])
        with pytest.raises(RequestError, match="it has no release"):
            rollback("shop", model.observed())
        applied(project({"api": {}}), model)
        with pytest.raises(RequestError, match="r1 is its only release"):
            rollback("shop", model.observed())
        with pytest.raises(RequestError, match="no host has a record of it"):
            rollback("shop", model.observed(), "r9")

    def test_hosts_that_are_down(self) -> None:
        """Around one that would not change, an error for one that would."""
        model = two_releases("a", "b")
        model.hosts["b"].down = True
        with pytest.raises(HostUnreachable, match="what it holds in r1 differs"):
            rollback("shop", model.observed())
        plan = rollback("shop", model.observed(), "r2")
        assert plan.empty
        assert plan.skipped == (("b", "no route to it; nothing would change on it"),)

    def test_some_services_but_not_some_hosts(self) -> None:
        """A release is in force on the whole fleet."""
        model = FleetModel(["a"])
        applied(project({"api": {}, "front": {}}), model)
        env = {"environment": {"A": "1"}}
        applied(project({"api": env, "front": env}), model)
        plan = rollback("shop", model.observed(), limit=Limit(services=frozenset({"api"})))
        assert lines(plan) == ["resume api[1] a: rollback to r1; environment A removed"]
        with pytest.raises(RequestError, match="some hosts only"):
            rollback("shop", model.observed(), limit=Limit(hosts=frozenset({"a"})))


class TestDestroy:
    """Everything, or what was chosen; volumes only when told."""

    def test_a_host_that_is_down_and_holds_something_stops_it(self) -> None:
        """Half of a destroy is none."""
        model = two_releases("a", "b")
        model.hosts["b"].down = True
        with pytest.raises(HostUnreachable, match=r"b: no route to it, and it holds api\[2\]"):
            destroy("shop", model.observed())

    def test_one_service_leaves_the_rest_in_a_new_release(self) -> None:
        """With nothing of it kept."""
        model = FleetModel(["a"])
        applied(project({"api": {}, "front": {}}), model)
        plan = destroy("shop", model.observed(), limit=Limit(services=frozenset({"api"})))
        model.apply(plan, rolled_out(plan))
        assert [item.service for item in model.hosts["a"].containers.values()] == ["front"]
        assert [item.service for item in model.hosts["a"].releases["r2"].instances] == ["front"]
        assert planned(project({"front": {}}), model).empty

    def test_volumes_of_one_service_are_refused(self) -> None:
        """Services share volumes."""
        with pytest.raises(RequestError, match="volumes of some services only"):
            destroy("shop", FleetModel([]).observed(), volumes=True, limit=Limit(services=frozenset({"api"})))


def test_prune_keeps_what_runs_and_what_it_is_told_to() -> None:
    """Down to no old release at all."""
    model = two_releases()
    assert prune("shop", model.observed()).empty
    plan = prune("shop", model.observed(), keep=0)
    model.apply(plan, rolled_out(plan))
    assert [item.release for item in model.hosts["a"].containers.values()] == ["r2"]
    assert list(model.hosts["a"].releases) == ["r2"]
    assert prune("shop", model.observed(), keep=0, limit=Limit(hosts=frozenset())).empty


class TestSaved:
    """A saved plan holds for as long as nothing it was made from has changed."""

    def test_nothing_changed(self) -> None:
        """It goes through JSON and back."""
        model = two_releases()
        plan = planned(project({"api": {"environment": {"A": "2"}}}), model)
        saved = json.loads(json.dumps(plan_document(plan)))
        assert differences(saved, plan_document(plan)) == ()

    def test_no_values_are_in_it(self) -> None:
        """Neither of secrets nor of the environment nor of contents."""
        model = FleetModel(["a"])
        spec = project(
            {
                "api": {
                    "environment": {"A": "hunter2"},
                    "configs": [{"content": "hunter2", "target": "/a"}],
                    "secrets": [{"name": "KEY", "from": {"env": "X"}}],
                }
            }
        )
        plan = planned(spec, model, secrets={("api", "KEY"): b"hunter2"})
        assert "hunter2" not in json.dumps(plan_document(plan))

    def test_it_says_what_changed(self) -> None:
        """One clause each, in an order of its own."""
        model = two_releases()
        old = planned(project({"api": {"environment": {"A": "2"}}}), model)
        saved = json.loads(json.dumps(plan_document(old)))
        changed = planned(
            project({"api": {"environment": {"A": "3"}}}), model, images={"app": image_id("new")}
        )
        fresh = plan_document(replace(changed, desired=replace(changed.desired, spec_digest="6" * 64)))
        assert differences(saved, fresh) == (
            "the spec has changed",
            "image app was built again",
            "replace api[1] on a would run another configuration",
        )
        applied(project({"api": {"environment": {"A": "4"}}}), model)
        assert differences(
            saved, plan_document(planned(project({"api": {"environment": {"A": "2"}}}), model))
        ) == (
            "the state of host a has changed",
            "the next release is r4, not r3",
            "replace api[1] on a is no longer planned",
            "replace api[1] on a was not planned",
        )

    def test_an_image_that_is_built_meanwhile_changes_nothing(self) -> None:
        """The inputs are the same; only its id is known now."""
        model = FleetModel(["a"])
        unbuilt = plan_document(planned(project({"api": {}}), model, images={"app": "", "other": ""}))
        assert differences(unbuilt, plan_document(planned(project({"api": {}}), model))) == ()

    @pytest.mark.parametrize(
        "broken", [{}, {"kind": "plan", "version": 99}, {"kind": "plan", "version": 1}], ids=str
    )
    def test_what_is_no_plan_is_refused(self, broken: dict[str, object]) -> None:
        """With the remedy."""
        with pytest.raises(RequestError, match="cannot read the saved plan"):
            differences(broken, plan_document(planned(project({}), FleetModel(["a"]))))


class TestLimit:
    """What ``--limit`` can name."""

    INVENTORY = inventory("a", "b", "api", web=("a", "b"))

    def test_hosts_groups_labels_and_services(self) -> None:
        """Hosts and services together mean those services on those hosts."""
        services = ("front",)
        assert limit([], self.INVENTORY, services) == EVERYTHING
        assert limit(["web"], self.INVENTORY, services).hosts == {"a", "b"}
        assert limit(["zone=b", "front"], self.INVENTORY, services) == Limit(
            frozenset({"b"}), frozenset({"front"})
        )

    def test_a_name_that_is_both_must_say_which(self) -> None:
        """By a prefix."""
        with pytest.raises(InventoryError) as caught:
            limit(["api"], self.INVENTORY, ("api",))
        assert caught.value.problems[0].hint == "write service:api or host:api"
        assert limit(["service:api"], self.INVENTORY, ("api",)) == Limit(None, frozenset({"api"}))
        assert limit(["host:api"], self.INVENTORY, ("api",)) == Limit(frozenset({"api"}), None)

    def test_what_is_unknown_is_said_with_what_was_meant(self) -> None:
        """All of it at once."""
        with pytest.raises(InventoryError) as caught:
            limit(["frnt", "wbe", "service:x"], self.INVENTORY, ("front",))
        assert sorted(problem.hint for problem in caught.value.problems) == [
            "",
            "did you mean 'front'?",
            "did you mean 'web'?",
        ]
