"""``update:`` with its defaults, and the jobs of a release."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planning import project
from support.routed_fleet import RoutedFleet, applied, planned, wanted

from orchestrator.planning.limit import Limit
from orchestrator.planning.routing.policies import policies, policy, resolve
from orchestrator.planning.types import CanaryStep, CheckPolicy, JobPhase, Strategy

ROUTES = {"r": {"service": "web", "port": 80}}
WEB = {"expose": [80], "replicas": 4}


@pytest.mark.parametrize(
    ("services", "fields", "strategy"),
    [
        ({"web": WEB}, {}, Strategy.ROLLING),
        ({"web": WEB}, {"routes": ROUTES}, Strategy.BLUE_GREEN),
        ({"web": WEB, "user": {"depends_on": ["web"]}}, {"router": {}}, Strategy.BLUE_GREEN),
        ({"web": WEB, "user": {"depends_on": ["web"]}}, {}, Strategy.ROLLING),
        ({"web": {**WEB, "volumes": ["d:/d"]}}, {"routes": ROUTES}, Strategy.RECREATE),
        ({"web": {**WEB, "volumes": ["d:/d:ro"]}}, {"routes": ROUTES}, Strategy.BLUE_GREEN),
        ({"web": {**WEB, "ports": ["80:80"]}}, {}, Strategy.RECREATE),
        ({"web": {**WEB, "ports": ["80"]}}, {}, Strategy.ROLLING),
        ({"web": {**WEB, "update": {"canary": [{"weight": 5}]}}}, {"routes": ROUTES}, Strategy.CANARY),
        ({"web": {**WEB, "update": "rolling"}}, {"routes": ROUTES}, Strategy.ROLLING),
    ],
)
def test_default_strategy(services: Any, fields: Any, strategy: Strategy) -> None:
    """What a service is decides, unless it says."""
    assert dict(policies(project(services, **fields), {"web": 4}))["web"].strategy is strategy


@given(st.integers(0, 500), st.integers(0, 100))
def test_shares(count: int, percent: int) -> None:
    """A share is rounded down: it never takes away more than was said."""
    assert resolve(f"{percent}%", count) * 100 <= percent * count < (resolve(f"{percent}%", count) + 1) * 100
    assert resolve(str(count), 7) == count


def test_shares_of_a_service() -> None:
    """At least one at a time; what stops first is unavailable for a moment."""
    update = {"max_parallel": "10%", "max_unavailable": "25%"}
    found = policy(project({"web": {**WEB, "update": update}}), "web", 4)
    assert (found.max_parallel, found.max_unavailable) == (1, 1)
    assert policy(project({"web": {**WEB, "volumes": ["d:/d"]}}), "web", 4).max_unavailable == 1


def test_everything_else_is_passed_on() -> None:
    """Every field arrives; a check without a port asks the health check's."""
    update = {
        "strategy": "canary", "canary": [{"weight": 5, "bake": "30s"}, {"weight": 50}], "min_healthy": "1s",
        "start_deadline": "2s", "progress_deadline": "3s", "bake": "4s", "drain": "5s", "keep_old": "6s",
        "on_failure": "revert", "hold": True,
        "checks": [{"http": "/ready"}, {"command": "a b", "timeout": 1}],
    }  # fmt: skip
    service = {**WEB, "healthcheck": {"http": "/", "port": 80}, "update": update}
    found = policy(project({"web": service}, routes=ROUTES), "web", 4)
    assert found.canary == (CanaryStep(5, 30.0), CanaryStep(50, 30.0))
    assert found.checks == (CheckPolicy(http="/ready", port=80), CheckPolicy(("a", "b"), timeout=1.0))
    deadlines = (found.min_healthy, found.start_deadline, found.progress_deadline)
    assert (*deadlines, found.bake, found.drain, found.keep_old) == (1, 2, 3, 4, 5, 6)
    assert (found.on_failure, found.hold) == ("revert", True)


JOBS = {
    "before_cutover": ["migrate --all"],
    "after_confirm": [["warm", "up"], {"command": "x", "timeout": "1m"}],
}


def test_jobs() -> None:
    """A job is the new instance with another command, without ports and without a health check."""
    service = {
        **WEB, "environment": {"A": "1"}, "healthcheck": {"http": "/", "port": 80},
        "ports": ["80"], "update": {"jobs": JOBS},
    }  # fmt: skip
    want = wanted(project({"web": service}), RoutedFleet(["a", "b"]))
    assert [(name, phase, job.slot, job.config.command) for name, phase, job in want.jobs] == [
        ("web", JobPhase.BEFORE_CUTOVER, 1, ("migrate", "--all")),
        ("web", JobPhase.AFTER_CONFIRM, 2, ("warm", "up")),
        ("web", JobPhase.AFTER_CONFIRM, 3, ("x",)),
    ]
    for _, _, job in want.jobs:
        assert job.config.environment == (("A", "1"),)
        assert (job.config.ports, job.config.healthcheck.type) == ((), "none")
    assert [job.config.healthcheck.deadline for _, _, job in want.jobs] == [600.0, 600.0, 60.0]


def test_jobs_run_where_something_starts() -> None:
    """Only for services that get a new instance, and on a host that is part of the plan."""
    model = RoutedFleet(["a", "b"])
    spec = {"web": {"per_host": 1, "update": {"jobs": JOBS}}, "other": {"update": {"jobs": JOBS}}}
    plan = planned(project(spec), model, limit=Limit(hosts=frozenset({"b"})))
    assert {(name, job.host) for name, _, job in plan.desired.jobs if name == "web"} == {("web", "b")}
    applied(project(spec), model)
    assert planned(project(spec), model).desired.jobs == ()
    spec["web"] = {**spec["web"], "environment": {"A": "1"}}
    assert {name for name, _, _ in planned(project(spec), model).desired.jobs} == {"web"}
