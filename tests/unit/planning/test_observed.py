"""What hosts report is not trusted, and one bad host brings down none but itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.fleet_model import KEY, FleetModel
from support.planning import applied, image_id, project

from orchestrator.errors import HostUnreachable, ProtocolViolation
from orchestrator.planning.observed import Index, builds, check, observed, placement, release_number
from orchestrator.protocol.messages import (
    ContainerReport,
    HostReport,
    ImageReport,
    ReleasedInstance,
    ReleaseRecord,
    VolumeReport,
)

GOOD = ContainerReport("c1", "shop-api-1-r1", "api", 1, "r1", "a" * 64, image_id("app"), "running", "healthy")
RECORD = ReleaseRecord("r1", 1.0, "ann@ci", "5" * 64, instances=(ReleasedInstance("a", "api", 1, "a" * 64),))


def report(**fields: Any) -> HostReport:
    """Return a report."""
    return HostReport(**{"epoch": 1, "key": KEY, **fields})


@pytest.mark.parametrize(
    "bad",
    [
        {"epoch": -1},
        {"epoch": 2**53},
        {"key": ""},
        {"key": "xyz"},
        {"containers": (GOOD, GOOD)},
        {"containers": (replace(GOOD, id="../x"),)},
        {"containers": (replace(GOOD, state="fine"),)},
        {"containers": (replace(GOOD, health="great"),)},
        {"images": (ImageReport("app:latest"),)},
        {"images": (ImageReport(image_id("a"), build="x"),)},
        {"volumes": (VolumeReport("../../etc"),)},
        {"releases": (replace(RECORD, id="latest"),)},
        {"releases": (replace(RECORD, id="r01"),)},
        {"releases": (RECORD, RECORD)},
        {"releases": (replace(RECORD, created_at=float("nan")),)},
        {"releases": (replace(RECORD, instances=RECORD.instances * 2),)},
        {"releases": (replace(RECORD, instances=(ReleasedInstance("a\n", "api", 1, "a" * 64),)),)},
        {"releases": (replace(RECORD, services=(("api", -1),)),)},
        {"releases": (replace(RECORD, depends_on=(("a", ("b",)), ("b", ("a",)))),)},
    ],
    ids=str,
)
def test_what_no_agent_says_is_refused(bad: dict[str, Any]) -> None:
    """The host is not trusted further, and the message says what it said."""
    with pytest.raises(ProtocolViolation, match="web-1: the agent reported "):
        check(report(**bad), "web-1", "shop")


def test_a_bad_host_does_not_stop_the_others() -> None:
    """It counts as one that could not be used."""
    seen = observed(
        {"b": report(epoch=-1), "c": HostUnreachable("c", "no route to it"), "a": report(containers=(GOOD,))},
        "shop",
    )
    assert [(host.name, host.report is not None) for host in seen.hosts] == [
        ("a", True),
        ("b", False),
        ("c", False),
    ]
    assert seen.host("b").error == "b: the agent reported an epoch of -1"
    assert seen.host("c").error == "c: no route to it"


@pytest.mark.parametrize(
    "fields", [{"slot": 0}, {"service": "A b"}, {"release": ""}, {"digest": "x"}], ids=str
)
def test_containers_with_labels_that_are_not_ours_are_left_alone(fields: dict[str, Any]) -> None:
    """Somebody set the project's label by hand."""
    assert check(report(containers=(replace(GOOD, **fields),)), "a", "shop").containers == ()


def test_a_configuration_that_does_not_match_its_digest_is_drift() -> None:
    """It is not used, and the container will be replaced."""
    model = FleetModel(["a"])
    applied(project({"api": {}}), model)
    (true,) = model.hosts["a"].containers.values()
    assert check(report(containers=(true,)), "a", "shop").containers == (true,)
    for lie in (replace(true, digest="b" * 64), replace(true, service="other")):
        (found,) = check(report(containers=(lie,)), "a", "shop").containers
        assert (found.config, found.intact) == (None, False)
    (found,) = check(report(containers=(true,)), "a", "other").containers
    assert found.config is None


def test_records_are_in_order_of_their_numbers_and_shared_between_hosts() -> None:
    """r10 comes after r9; the fleet's part of a record is held once in memory."""
    nine, ten = replace(RECORD, id="r9"), replace(RECORD, id="r10")
    twin = replace(ten, instances=tuple(replace(item) for item in ten.instances))
    seen = observed({"a": report(releases=(ten, nine)), "b": report(releases=(twin,))}, "shop")
    first, second = (host.report for host in seen.hosts)
    assert first is not None
    assert second is not None
    assert [record.id for record in first.releases] == ["r9", "r10"]
    assert second.releases[0].instances is first.releases[1].instances


def test_the_release_in_force_is_the_highest_anyone_knows() -> None:
    """Hosts that took no part lag behind; of two records of one id the later one counts."""
    early, late = replace(RECORD, id="r2"), replace(RECORD, id="r2", created_at=9.0)
    index = Index(
        observed(
            {"a": report(releases=(RECORD,)), "b": report(releases=(early,)), "c": report(releases=(late,))},
            "shop",
        )
    )
    assert index.current == late
    assert [record.id for record in index.records] == ["r2", "r1"]


def test_placement_is_the_records_then_the_containers() -> None:
    """A record also knows hosts that are down; containers tell of an apply that was cut off."""
    containers = (replace(GOOD, service="new"), replace(GOOD, id="c2"))
    index = Index(observed({"b": report(containers=containers, releases=(RECORD,))}, "shop"))
    assert placement(index) == {("new", 1): "b", ("api", 1): "a"}


def test_numbers_of_releases() -> None:
    """Anything else is zero."""
    assert [release_number(text) for text in ("r7", "r12", "r0", "r", "7", "r7\n")] == [7, 12, 0, 0, 0, 0]


def test_the_next_release_is_above_everything_a_container_carries() -> None:
    """A run that was cut off may have used a number without recording it."""
    index = Index(
        observed({"a": report(containers=(replace(GOOD, release="r8"),), releases=(RECORD,))}, "shop")
    )
    assert index.last_number == 8


def test_the_image_of_a_build_is_the_one_in_force() -> None:
    """Hosts that agree are believed; where they know several, the release in force decides or nobody does."""
    build, other, unclear = "b" * 64, "c" * 64, "d" * 64
    release = replace(RECORD, images=(("app", image_id("app")),))
    seen = observed(
        {
            "a": report(images=(ImageReport(image_id("app"), build), ImageReport(image_id("x"), unclear))),
            "b": report(
                images=(
                    ImageReport(image_id("fork"), build),
                    ImageReport(image_id("other"), other),
                    ImageReport(image_id("y"), unclear),
                ),
                releases=(release,),
            ),
            "c": report(images=(ImageReport(image_id("other"), other), ImageReport(image_id("plain")))),
        },
        "shop",
    )
    assert builds(seen) == {build: image_id("app"), other: image_id("other")}
