"""What must never happen, whatever the spec and the fleet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.fleet_model import FleetModel
from support.planning import applied, inventory, planned, project, rolled_out, wanted

from orchestrator.errors import HostUnreachable
from orchestrator.planning.destroy import destroy
from orchestrator.planning.graph import build, generations
from orchestrator.planning.observed import ACTIVE
from orchestrator.planning.prune import prune
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.rollback import rollback
from orchestrator.planning.types import Action, Observed, StepKind
from orchestrator.planning.undo import undo
from orchestrator.spec.inventory_types import Inventory

HOSTS = ("web-1", "web-2", "web-3")
SERVICES = ("api", "cache", "db", "front")


@st.composite
def specs(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Services that may depend on those before them, of every kind that is planned differently."""
    names = draw(st.lists(st.sampled_from(SERVICES), unique=True))
    ports = iter(range(8000, 9000)) if draw(st.booleans()) else iter([8080] * len(names))
    services: dict[str, dict[str, Any]] = {}
    for name in names:
        service: dict[str, Any] = {
            "environment": {"LEVEL": draw(st.sampled_from(["info", "debug"]))},
            "keep_releases": draw(st.integers(0, 2)),
            "depends_on": draw(st.lists(st.sampled_from(sorted(services)), unique=True)) if services else [],
            "image": draw(st.sampled_from(["app", "other"])),
        }
        kind = draw(st.sampled_from(["replicas", "per_host", "port", "volume"]))
        if kind == "replicas":
            service["replicas"] = draw(st.integers(0, 4))
        elif kind == "per_host":
            service["per_host"] = draw(st.integers(1, 2))
            service["hosts"] = draw(st.lists(st.sampled_from(HOSTS), min_size=1, unique=True))
        elif kind == "port":
            # The same port on hosts of its own, so that it moves between services and never clashes.
            service["hosts"] = [HOSTS[len(services) % len(HOSTS)]]
            service["ports"] = [f"{next(ports) + len(services) // len(HOSTS)}:80"]
        else:
            service["volumes"] = [f"{name}:/data"]
        services[name] = service
    return services


def fleet() -> FleetModel:
    """Return an empty fleet."""
    return FleetModel(HOSTS)


histories = st.lists(specs(), min_size=1, max_size=4)


@st.composite
def damage(draw: st.DrawFn, model: FleetModel) -> None:
    """Do to the fleet what happens to fleets."""
    for host in model.hosts.values():
        for key, container in sorted(host.containers.items()):
            match draw(st.sampled_from(["", "", "", "exit", "sick", "touch", "lose", "forget"])):
                case "exit" if container.state in ACTIVE:
                    host.containers[key] = replace(container, state="exited", health="none", exit_code=137)
                case "sick" if container.state in ACTIVE:
                    host.containers[key] = replace(container, health="unhealthy")
                case "touch":
                    host.containers[key] = replace(container, intact=False)
                case "lose":
                    del host.containers[key]
                case "forget":
                    host.containers[key] = (
                        replace(container, config=None) if container.state not in ACTIVE else container
                    )


@settings(max_examples=60, deadline=None)
@given(st.data(), histories)
def test_the_plan_after_an_apply_is_empty(data: st.DataObject, history: list[dict[str, Any]]) -> None:
    """Whatever was there and whatever happened to it, one apply is enough."""
    model = fleet()
    for services in history:
        applied(project(services), model)
        data.draw(damage(model))
        plan = applied(project(services), model)
        again = planned(project(services), model)
        assert again.empty, (plan, again)
        assert {item.host for item in wanted(project(services), model).instances} <= set(HOSTS)
        right = sorted(item.config.digest for item in wanted(project(services), model).instances)
        assert sorted(model.running().values()) == right


@settings(max_examples=60, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_dependencies_come_first(history: list[dict[str, Any]], random: Any) -> None:
    """A new instance starts after all new instances of what its service depends on; steps form no cycle."""
    model = fleet()
    for services in history:
        plan = planned(project(services), model)
        steps = rolled_out(plan, max_parallel=random.randint(1, 3))
        seen: set[str] = set()
        started: dict[str, set[str]] = {}
        before: dict[str, set[str]] = {}
        for step in steps:
            assert set(step.after) <= seen, f"{step.id} stands before what it waits for"
            assert step.id not in seen
            seen.add(step.id)
            before[step.id] = set(step.after).union(*(before[item] for item in step.after))
            if step.kind in (StepKind.START, StepKind.RESUME):
                started.setdefault(step.service, set()).add(step.id)
        needs = dict(plan.desired.depends_on)
        for service, ids in started.items():
            for needed in needs[service]:
                for name in ids:
                    assert started.get(needed, set()) <= before[name]
        commits = [step for step in steps if step.kind is StepKind.COMMIT]
        for commit in commits:
            assert {
                step.id for step in steps if step.essential and step.kind is not StepKind.COMMIT
            } <= before[commit.id]
        model.apply(plan, steps)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_what_is_right_is_never_touched(history: list[dict[str, Any]]) -> None:
    """An instance of the digest that is wanted keeps running, and no step removes what is wanted."""
    model = fleet()
    for services in history:
        plan = planned(project(services), model)
        kept = {
            change.current.container.id
            for change in plan.changes
            if change.action is Action.KEEP and change.current
        }
        digests = {
            (change.host, *change.desired.key): change.desired.config.digest
            for change in plan.changes
            if change.desired
        }
        for change in plan.changes:
            if (
                change.action in (Action.REPLACE, Action.REPLACE_STOP_FIRST)
                and change.current
                and change.desired
            ):
                assert change.current.container.digest != change.desired.config.digest
            if change.action is Action.REMOVE and change.current:
                assert (
                    digests.get((change.host, change.service, change.slot)) != change.current.container.digest
                )
        for step in rolled_out(plan):
            assert not (step.kind in (StepKind.STOP, StepKind.REMOVE) and step.container in kept)
            model.step(plan.release, step)
        assert kept <= set(model.running())


@settings(max_examples=60, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_the_order_of_inputs_is_irrelevant(history: list[dict[str, Any]], random: Any) -> None:
    """Shuffled services, hosts and reports give the same plan and the same steps."""
    model = fleet()
    for services in history:
        plan = planned(project(services), model)
        names, hosts = list(services), list(HOSTS)
        random.shuffle(names)
        random.shuffle(hosts)
        seen = model.observed()
        shuffled = []
        for host in seen.hosts:
            assert host.report is not None
            containers = list(host.report.containers)
            random.shuffle(containers)
            shuffled.append(replace(host, report=replace(host.report, containers=tuple(containers))))
        desired = wanted(project({name: services[name] for name in names}), model, hosts=inventory(*hosts))
        other = reconcile(desired, Observed(tuple(shuffled)))
        assert replace(other, previous=None) == replace(plan, previous=None)
        assert rolled_out(other) == rolled_out(plan)
        model.apply(plan, rolled_out(plan))


@settings(max_examples=60, deadline=None)
@given(specs(), specs(), st.sampled_from(HOSTS))
def test_a_host_that_is_down_never_gets_a_step(old: dict[str, Any], new: dict[str, Any], down: str) -> None:
    """It is planned around, or nothing is planned at all; what it holds stays on record."""
    model = fleet()
    applied(project(old), model)
    model.hosts[down].down = True
    held = [item for item in _recorded(model) if item.host == down]
    try:
        plan = planned(project(new), model)
    except HostUnreachable:
        return
    steps = rolled_out(plan)
    assert all(step.host != down for step in steps)
    model.apply(plan, steps)
    if plan.participants:
        assert [item for item in _recorded(model) if item.host == down] == held


def _recorded(model: FleetModel) -> tuple[Any, ...]:
    records = [record for host in model.hosts.values() if not host.down for record in host.releases.values()]
    newest = max(records, key=lambda record: int(record.id[1:]), default=None)
    return newest.instances if newest else ()


@settings(max_examples=60, deadline=None)
@given(st.data(), specs(), specs())
def test_an_undo_after_any_prefix_brings_the_old_set_back(data: st.DataObject, old: Any, new: Any) -> None:
    """Whatever was done of an apply, the same containers run as before, and none is lost."""
    model = fleet()
    applied(project(old), model)
    before = model.running()
    plan = planned(project(new), model)
    steps = [step for step in rolled_out(plan) if step.essential]
    done = data.draw(st.integers(0, len(steps)), label="steps done")
    made = model.apply(plan, steps[:done])
    back = undo(steps, {step.id for step in steps[:done]}, made)
    seen: set[str] = set()
    for step in back:
        assert set(step.after) <= seen
        seen.add(step.id)
        assert step.kind is not StepKind.REMOVE
        model.step(plan.release, step)
    assert model.running() == before
    assert planned(project(old), model).participants == ()


@settings(max_examples=60, deadline=None)
@given(st.data(), specs(), specs())
def test_an_apply_that_was_cut_off_is_healed_by_the_next(data: st.DataObject, old: Any, new: Any) -> None:
    """After a crash at any step, the next apply finishes, and a third has nothing to do."""
    model = fleet()
    applied(project(old), model)
    plan = planned(project(new), model)
    steps = rolled_out(plan)
    model.apply(plan, steps[: data.draw(st.integers(0, len(steps)), label="steps done")])
    applied(project(new), model)
    assert planned(project(new), model).empty
    right = sorted(item.config.digest for item in wanted(project(new), model).instances)
    assert sorted(model.running().values()) == right
    if plan.participants:
        assert {item.digest for item in _recorded(model)} == set(right)


@settings(max_examples=60, deadline=None)
@given(specs(), specs())
def test_a_rollback_brings_back_what_ran(old: dict[str, Any], new: dict[str, Any]) -> None:
    """The digests of the old release run again, in the very containers that are kept."""
    model = fleet()
    keeping = [{name: {**item, "keep_releases": 3} for name, item in spec.items()} for spec in (old, new)]
    applied(project(keeping[0]), model)
    before = model.running()
    changed = applied(project(keeping[1]), model)
    if not changed.participants or not before:
        return
    back = rollback("shop", model.observed())
    model.apply(back, rolled_out(back))
    assert model.running() == before
    again = rollback("shop", model.observed(), "r1")
    assert again.empty, again


@settings(max_examples=40, deadline=None)
@given(histories, st.integers(0, 1))
def test_only_a_destroy_with_volumes_removes_volumes(history: list[dict[str, Any]], keep: int) -> None:
    """Apply, prune and destroy leave them; a destroy leaves nothing else."""
    model = fleet()
    plans = [applied(project(services), model) for services in history]
    volumes = {name: set(host.volumes) for name, host in model.hosts.items()}
    running = model.running()
    pruned = prune("shop", model.observed(), keep=keep)
    model.apply(pruned, rolled_out(pruned))
    assert model.running() == running
    assert prune("shop", model.observed(), keep=keep).empty
    gone = destroy("shop", model.observed())
    model.apply(gone, rolled_out(gone))
    assert not any(plan.volumes for plan in (*plans, pruned, gone))
    for name, host in model.hosts.items():
        assert not host.containers
        assert not host.releases
        assert host.volumes == volumes[name]
    last = destroy("shop", model.observed(), volumes=True)
    model.apply(last, rolled_out(last))
    assert not any(host.volumes for host in model.hosts.values())


@settings(max_examples=40, deadline=None)
@given(specs())
def test_the_graph_is_acyclic_and_in_order(services: dict[str, dict[str, Any]]) -> None:
    """Every node stands in a layer after all it needs."""
    graph = build(project(services))
    layer = {node: number for number, nodes in enumerate(generations(graph)) for node in nodes}
    assert all(layer[before] < layer[after] for before, after in graph.edges)


def test_an_inventory_of_no_hosts_is_no_crash() -> None:
    """A project without services needs no hosts."""
    model = FleetModel([])
    assert planned(project({}), model, hosts=Inventory(groups={"all": ()})).empty
