"""The executor: order across hosts, few requests, streaming, limits, failures, secrets."""

from __future__ import annotations

import base64

import pytest
from support.fake_fleet import FakeFleet, StuckError
from support.fleet_host import disconnects, fails, goes_down, hangs
from support.plans_by_hand import commit, config, image, remove, ship, start, stop
from support.runs import Run

from orchestrator.events import StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted
from orchestrator.execution.executor import execute
from orchestrator.execution.lanes import Limits
from orchestrator.execution.loop import Interrupt, ThreadLoop
from orchestrator.execution.operations import Terms
from orchestrator.execution.world import Aborted, World
from orchestrator.planning.types import Step, StepKind
from orchestrator.protocol.instance import Config, SecretRef


def leased(fleet: FakeFleet, run: Run) -> Terms:
    """Give ``run`` the lease on all hosts, without a word."""
    for name, host in fleet.hosts.items():
        host.epoch = 1
        host.holder = run.world.fleet.session(name)
    return Terms("shop", "r2", tuple((name, 1) for name in sorted(fleet.hosts)))


def go(fleet: FakeFleet, steps, *, limits=None, tolerate=None):
    """Execute ``steps`` and return the run and the result."""
    run = Run(fleet, limits or Limits())
    return run, execute(run.world, leased(fleet, run), steps, tolerate=tolerate)


def replacement(fleet: FakeFleet, host: str, service: str = "api", slot: int = 1, after=()):
    """Return ship, start and stop for an instance whose old one runs."""
    old = fleet.hosts[host].add(config(service, "old"), slot)
    new = start(host, service, slot, after=[f"ship {host} new", *after])
    return [new, stop(host, old, service, slot, after=[new.id])]


def test_an_apply_is_one_ship_one_perform_and_one_commit_for_each_host():
    """Five instances a host, chained start and stop: three requests, of which one carries layers."""
    fleet = FakeFleet(["a", "b", "c"])
    steps = [ship(host) for host in fleet.hosts]
    for host in fleet.hosts:
        for slot in range(1, 6):
            steps += replacement(fleet, host, slot=slot)
    ends = [step.id for step in steps if step.kind is StepKind.STOP]
    run, result = go(fleet, [*steps, *(commit(host, ends) for host in fleet.hosts)])
    assert not result.failures
    assert result.done == {step.id for step in steps} | {f"commit {host}" for host in fleet.hosts}
    assert fleet.requests == {(h, kind): 1 for h in fleet.hosts for kind in ("perform", "commit")}
    assert all(session.round_trips == 2 for session in run.controller.sessions.values())


def test_streamed_progress_unlocks_other_hosts_before_the_request_ends():
    """Host b starts while a is still stopping its old instance: no barrier anywhere."""
    fleet = FakeFleet(["a", "b"])
    steps = [
        ship("a"),
        *replacement(fleet, "a"),
        ship("b"),
        *replacement(fleet, "b", after=["start a api[1]"]),
    ]
    fleet.on("a stop api[1] stopped", hangs)
    with pytest.raises(StuckError):
        go(fleet, steps)
    assert "b start api[1] healthy" in fleet.points


@pytest.mark.parametrize("seed", range(20))
def test_the_end_is_when_every_host_has_answered(seed):
    """Not when it has told of its last operation: it cleans up after that, and hanging up would stop it."""
    fleet = FakeFleet(["a", "b", "c"], seed=seed)
    run, result = go(
        fleet, [step for host in fleet.hosts for step in (ship(host), *replacement(fleet, host))]
    )
    assert len(result.done) == 9
    assert not any(session.calls for session in run.controller.sessions.values())


@pytest.mark.parametrize("seed", range(20))
def test_every_step_starts_after_all_it_waits_for(seed):
    """Whatever order things happen in; every step is announced, begun and ended exactly once."""
    fleet = FakeFleet(["a", "b", "c"], seed=seed)
    steps = [ship(h) for h in fleet.hosts]
    previous: list[str] = []
    for service in ("db", "api", "web"):
        made = [s for h in fleet.hosts for s in replacement(fleet, h, service, after=previous)]
        previous = [s.id for s in made if s.kind is StepKind.START]
        steps += made
    run, result = go(fleet, steps)
    assert len(result.done) == len(steps)
    began = {name: number for number, name in enumerate(_story(run, StepStarted))}
    ended = {name: number for number, name in enumerate(_story(run, StepFinished))}
    assert sorted(run.names(StepStarted)) == sorted(run.names(StepFinished)) == sorted(s.id for s in steps)
    assert all(ended[before] < began[step.id] for step in steps for before in step.after)


def _story(run: Run, kind: type) -> list[str]:
    """Return one place per event, filled where it is of ``kind``."""
    return [e.step.id if isinstance(e, kind) else f"#{n}" for n, e in enumerate(run.events)]


def test_the_steps_of_a_chain_are_announced_when_their_turn_comes():
    """A stop that waits inside its request for the start is not shown as stopping."""
    fleet = FakeFleet(["a"])
    fleet.hosts["a"].images.add(image("new"))
    fleet.on("a start api[1] healthy", hangs)
    run = Run(fleet)
    new, old = replacement(fleet, "a")
    steps = [Step(**{**vars(new), "after": ()}), old]
    with pytest.raises(StuckError):
        execute(run.world, leased(fleet, run), steps)
    assert run.names(StepStarted) == ["start a api[1]"]


def test_contents_and_secrets_travel_only_with_the_starts_that_need_them():
    """In base64, in the request of that host, and in no event, repr or other request."""
    secret, text = b"hunter2-not-in-any-log", b"port=80"
    fleet = FakeFleet(["a", "b"])
    for host in fleet.hosts.values():
        host.images.add(image("new"))
    old = fleet.hosts["b"].add(config(version="old"))
    wanted = config(configs=(Config("/etc/x", "ab" * 32),), secrets=(SecretRef("PW", "pw", "cd" * 32),))
    steps = [
        start("a", config=wanted, contents=(("ab" * 32, text),), secrets=(("cd" * 32, secret),)),
        stop("b", old),
    ]
    fleet.on("a start api[1] healthy", fails())
    run, result = go(fleet, steps)
    sent = dict(fleet.performed)
    assert sent["a"].contents == {"ab" * 32: base64.b64encode(text).decode()}
    assert sent["a"].secrets == {"cd" * 32: base64.b64encode(secret).decode()}
    assert sent["b"].contents == sent["b"].secrets == {}
    shown = repr((run.events, result, sent, steps))
    assert secret.decode() not in shown
    assert base64.b64encode(secret).decode() not in shown


def test_the_first_failure_stops_what_was_not_begun():
    """What is under way on other hosts is cancelled and awaited; what waited is skipped, once each."""
    fleet = FakeFleet(["a", "b"])
    for host in fleet.hosts.values():
        host.images.add(image("new"))
    steps = [
        start("a"),
        start("a", "web", after=["start a api[1]"]),
        start("b", "slow"),
        start("b", "last", after=["start b slow[1]"]),
        commit("a", ["start a web[1]", "start b last[1]"]),
    ]
    fleet.on("a start api[1] healthy", fails())
    fleet.on("b start slow[1] healthy", hangs)
    run, result = go(fleet, steps)
    assert result.stopped == "start a api[1]"
    assert result.cause.failure.probes == ("GET /health answered 500",)
    assert run.names(StepFailed) == ["start a api[1]", "start b slow[1]"]
    assert {(e.step.id, e.because) for e in run.heard(StepSkipped)} == {
        ("start a web[1]", "start a api[1]"),
        ("start b last[1]", "start a api[1]"),
        ("commit a", "start a api[1]"),
    }
    assert len(run.heard(StepSkipped)) == 3
    assert result.uncertain == {"start a api[1]", "start b slow[1]"}


def test_a_failed_clean_up_fails_nothing_else():
    """Non-essential steps are reported, and everything else goes on."""
    fleet = FakeFleet(["a", "b"])
    running, stopped = fleet.hosts["a"].add(config()), fleet.hosts["b"].add(config(), state="exited")
    run, result = go(fleet, [remove("a", running), remove("b", stopped)])
    assert run.names(StepFailed) == [f"remove a {running}"]
    assert result.done == {f"remove b {stopped}"}
    assert not result.stopped


def test_a_refused_request_fails_its_heads_and_skips_its_chain():
    """One error, said once: the refusal is not repeated for what would have come later."""
    fleet = FakeFleet(["a"])
    run = Run(fleet)
    terms = leased(fleet, run)
    fleet.hosts["a"].epoch = 9
    result = execute(
        run.world,
        terms,
        [start("a"), stop("a", "c9", after=["start a api[1]"])],
    )
    assert run.names(StepFailed) == ["start a api[1]"]
    assert [(e.step.id, e.because) for e in run.heard(StepSkipped)] == [("stop a api[1]", "start a api[1]")]
    assert result.cause.failure.code == "stale-epoch"


def test_a_lost_host_leaves_every_step_handed_to_it_uncertain():
    """Even those whose turn had not come as far as we heard: the agent may have been ahead of its words."""
    fleet = FakeFleet(["a", "b"])
    for host in fleet.hosts.values():
        host.images.add(image("new"))
    fleet.on("a start api[1] checking", disconnects)
    _run, result = go(fleet, [start("a"), stop("a", "c9", after=["start a api[1]"]), start("b")])
    assert result.lost == {"a": "connection lost"}
    assert {"start a api[1]", "stop a api[1]"} <= result.uncertain
    assert result.cause.failure.code == "unreachable"


def test_nothing_more_is_tried_on_a_host_that_was_lost():
    """A new session would hold no lease; clean-up there is left to the next run."""
    fleet = FakeFleet(["a"])
    old = [fleet.hosts["a"].add(config(), state="exited", slot=n) for n in (1, 2)]
    first = remove("a", old[0])
    second = Step("later", StepKind.FORGET, "a", name="r1", essential=False)
    fleet.on("a remove api[1] removing", disconnects)
    run, _result = go(fleet, [first, second], limits=Limits(operations_per_host=1))
    assert sorted(run.names(StepFailed)) == sorted([first.id, "later"])
    assert fleet.requests["a", "perform"] == 1
    assert len(run.controller.sessions) == 1


def test_a_host_that_is_gone_fails_all_its_steps_without_waiting():
    """Sending fails at once, again and again: what a limit had held back must not be forgotten."""
    fleet = FakeFleet(["a"])
    run = Run(fleet)
    terms = leased(fleet, run)
    goes_down(fleet.hosts["a"])
    ships = [Step(f"s{n}", StepKind.SHIP, "a", image=image("new"), essential=False) for n in range(3)]
    execute(run.world, terms, ships, tolerate=lambda _failed, _later: True)
    assert run.names(StepFailed) == ["s0", "s1", "s2"]


def test_what_is_unlocked_together_leaves_together():
    """News that has arrived is all heard before anything is sent: one request, not one for each."""
    fleet = FakeFleet(["a", "b"], inline=True)
    for host in fleet.hosts.values():
        host.images.add(image("new"))
    first = [start("a", slot=n) for n in (1, 2, 3)]
    second = [start("b", "web", n, after=[f"start a api[{n}]"]) for n in (1, 2, 3)]
    go(fleet, [*first, *second])
    assert fleet.requests["b", "perform"] == 1


def test_progress_and_what_was_sent_are_reported():
    """Bytes while sending, phases while starting, notes at the end."""
    fleet = FakeFleet(["a", "b"])
    fleet.hosts["b"].images.add(image("new"))
    run, result = go(fleet, [ship("a"), ship("b"), start("a", after=["ship a new"])])
    sending = [e for e in run.heard(StepProgress) if e.phase == "sending"]
    assert (sending[0].done, sending[0].total) == (50, 100)
    assert [e.phase for e in run.heard(StepProgress) if e.step.kind is StepKind.START] == [
        "creating",
        "starting",
        "checking",
    ]
    notes = {e.step.id: (e.bytes_sent, e.note) for e in run.heard(StepFinished)}
    assert notes["ship a new"] == (100, "")
    assert notes["ship b new"] == (0, "present already")
    assert result.bytes_sent == 100
    assert result.containers["start a api[1]"] in fleet.hosts["a"].running


def test_limits_hold_over_the_fleet():
    """With one lane overall, one instance at a time, whatever host it is on."""
    fleet = FakeFleet(["a", "b"], seed=1)
    steps = [ship("a"), ship("b"), *replacement(fleet, "a"), *replacement(fleet, "b")]
    go(fleet, steps, limits=Limits(operations=1))
    order = [point.split()[0] for point in fleet.points if " start " in point or " stop " in point]
    assert order in (["a"] * 6 + ["b"] * 6, ["b"] * 6 + ["a"] * 6)


def test_an_interrupt_cancels_what_is_under_way_and_skips_the_rest():
    """The step in flight is given up by its host; nothing new begins."""
    fleet = FakeFleet(["a"])
    fleet.hosts["a"].images.add(image("new"))
    run = Run(fleet)
    fleet.on("a start api[1] checking", lambda _: run.interrupt.press())
    steps = [start("a"), start("a", "web", after=["start a api[1]"])]
    result = execute(run.world, leased(fleet, run), steps)
    assert result.stopped == "interrupted"
    assert [(e.step.id, e.because) for e in run.heard(StepSkipped)] == [("start a web[1]", "interrupted")]
    assert run.heard(StepFailed)[0].failure.code == "cancelled"


def test_a_ship_under_way_is_given_up():
    """The progress callback is where a ship learns that nobody wants it any more."""
    fleet = FakeFleet(["a", "b"])
    fleet.hosts["b"].images.add(image("new"))
    run = Run(fleet)
    fleet.on("a load " + image("new"), lambda _: run.interrupt.press())
    result = execute(run.world, leased(fleet, run), [ship("a"), start("b")])
    assert result.stopped == "interrupted"
    assert result.uncertain


def test_a_second_ctrl_c_waits_for_nobody():
    """Even a host that hangs: what is known so far comes with the exception."""
    fleet = FakeFleet(["a"])
    fleet.hosts["a"].images.add(image("new"))
    run = Run(fleet)

    def press_twice(_):
        run.interrupt.press()
        run.interrupt.press()

    fleet.on("a start api[1] starting", press_twice)
    with pytest.raises(Aborted) as aborted:
        execute(run.world, leased(fleet, run), [start("a")])
    assert aborted.value.execution.uncertain == {"start a api[1]"}


def test_a_defect_in_a_worker_surfaces():
    """A thread never dies in silence."""
    fleet = FakeFleet(["a"], inline=True)
    run = Run(fleet)
    terms = leased(fleet, run)

    def broken(_session, _image, _on_progress):
        raise ZeroDivisionError

    world = World(run.controller, broken, run.events.append, Interrupt(), ThreadLoop(), lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        execute(world, terms, [ship("a")])


def test_it_works_with_real_threads():
    """The same run on the real loop, with ships in threads."""
    fleet = FakeFleet(["a", "b"], inline=True)
    run = Run(fleet)
    terms = leased(fleet, run)
    steps = [ship("a"), ship("b"), *replacement(fleet, "a"), *replacement(fleet, "b")]
    world = World(
        run.controller, run.controller.ship, run.events.append, Interrupt(), ThreadLoop(), lambda: 0.0
    )
    assert execute(world, terms, steps).done == {step.id for step in steps}


def test_a_commit_without_a_record_is_a_defect():
    """Planning always gives one."""
    with pytest.raises(ValueError, match="nothing to commit"):
        go(FakeFleet(["a"]), [Step("commit a", StepKind.COMMIT, "a")])
