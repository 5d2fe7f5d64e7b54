"""Shares of a canary, pictures during a cutover, and the way back."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.routed import picture

from orchestrator.planning.rollout.pictures import pictures
from orchestrator.planning.rollout.two_phase import split
from orchestrator.planning.types import RouterChange, Step, StepKind
from orchestrator.planning.undo import forward, undo
from orchestrator.protocol.routing import Member, Mesh, Shift


@given(percent=st.integers(1, 99), new=st.integers(1, 8), old=st.integers(1, 8))
def test_shares_are_as_exact_as_weights_allow(percent: int, new: int, old: int) -> None:
    """No weight drains, none is too great, and the share is off by no more than one step of a weight."""
    high, low = split(percent, new, old)
    assert 1 <= min(high, low) <= max(high, low) == 256
    share = 100 * new * high / (new * high + old * low)
    least, most = sorted(
        100 * new * (high + a) / (new * (high + a) + old * (low + b)) for a, b in ((1, 0), (0, 1))
    )
    assert min(least, share) - 1 <= percent <= max(most, share) + 1 or min(high, low) == 1


def test_a_share_needs_both_sides() -> None:
    """A host with one side has no steps."""
    with pytest.raises(ValueError, match="both sides"):
        split(5, 0, 1)


OLD = [("api", 1, "a", "1"), ("old", 1, "a", "1")]
NEW = [("api", 1, "a", "1"), ("new", 1, "b", "1")]


def test_no_route_leads_to_a_backend_before_it_has_somebody() -> None:
    """Old routes and all backends first, new routes and all backends then, the new picture last."""
    before = picture("a", OLD, {"site": "old"})
    after = picture("a", NEW, {"site": "new"})
    made = pictures(RouterChange("a", after, before))
    assert made.staged is not None
    assert made.cut_over is not None
    assert made.final
    assert made.staged.listeners == before.listeners
    assert made.cut_over.listeners == after.listeners
    names = {backend.name for backend in made.staged.backends}
    assert names == {"api_80", "old_80", "new_80"} == {backend.name for backend in made.cut_over.backends}


def test_a_first_router_and_one_that_stands_still_have_one_picture() -> None:
    """There is nothing to keep, or nothing to change."""
    want = picture("a", OLD, {"site": "old"})
    for current in (None, want):
        made = pictures(RouterChange("a", want, current))
        assert (made.staged, made.cut_over, made.final) == (want, None, False)


def test_different_checks_are_a_connection_for_as_long_as_both_sides_run() -> None:
    """The old ones may not know the new path, nor the new ones the old."""
    before = picture("a", OLD, {"site": "old"})
    after = replace(before, backends=tuple(replace(item, check_path="/new") for item in before.backends))
    made = pictures(RouterChange("a", after, before))
    assert made.staged is None  # it is what is served already: a connection
    assert made.final


def test_what_has_no_reverse_hands_on_the_order() -> None:
    """Traffic goes back before the guard is released, and that before anything stops."""
    before, then = Shift("api", (Member(1, "r1"),)), Shift("api", (Member(1, "r2"),))
    steps = (
        Step("start", StepKind.START, "a", service="api", slot=1),
        Step("attach", StepKind.ATTACH, "a", ("start",), service="api", slot=1),
        Step("check", StepKind.CHECK, "a", ("attach",), service="api", slot=1),
        Step("arm", StepKind.ARM, "a", ("check",), name="r2-7"),
        Step("shift", StepKind.SHIFT, "a", ("arm",), service="api", routing=then, back=before),
        Step("watch", StepKind.WATCH, "a", ("shift",), service="api"),
        Step("confirm", StepKind.CONFIRM, "a", ("watch",), name="r2-7"),
        Step("commit", StepKind.COMMIT, "a", ("confirm",)),
        Step("stop", StepKind.STOP, "a", ("commit",), container="c1", essential=False),
    )
    touched = {step.id for step in steps[:6]}
    back = undo(steps, touched, {"start": "c2"})
    assert [(step.kind.value, step.after) for step in back] == [
        ("shift", ()),
        ("disarm", ("undo shift",)),
        ("detach", ("undo arm",)),
        ("stop", ("undo attach",)),
    ]
    assert back[0].routing == before
    assert back[1].name == "r2-7"
    assert back[3].container == "c2"
    done = {step.id for step in steps[:7]}
    assert [step.id for step in forward(steps, done)] == ["commit", "stop"]
    assert [step.id for step in forward(steps, done, clean_up=False)] == ["commit"]


def test_what_ran_before_keeps_its_place_in_the_router() -> None:
    """Only what the run has started is taken out."""
    attach = Step("attach", StepKind.ATTACH, "a", service="api", slot=1)
    assert undo((attach,), {"attach"}, {}) == ()


def test_a_host_that_serves_no_more_is_reached_until_the_others_know() -> None:
    """Its last instance goes: its mesh stays bound where it was, under the token the others send."""
    want = picture("a", OLD, {"site": "old"})
    before = replace(want, mesh=(Mesh("api_80", 24000),), mesh_address="192.0.2.1", mesh_token="0" * 32)
    made = pictures(RouterChange("a", want, before))
    assert (made.staged, made.cut_over, made.final) == (None, None, True)
