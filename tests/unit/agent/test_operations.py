"""The graph of operations, and requests nobody should send."""

import base64
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agent_world import PROJECT, RecordingChannel

from orchestrator.agent.engine import Engine
from orchestrator.agent.handler import Context, Refusal, failure_of
from orchestrator.agent.instances import Instances, Outcome
from orchestrator.agent.operations import perform
from orchestrator.agent.paths import BadNameError, Paths
from orchestrator.protocol.codec import WireError, decode
from orchestrator.protocol.messages import OPERATIONS, Operation, Perform


def context(tmp_path, cancelled=None) -> Context:
    """Return a context without a living engine."""
    return Context(
        paths=Paths(tmp_path / "state"),
        channel=RecordingChannel(),
        engine=Engine("/nonexistent"),
        cancelled=cancelled,
    )


def stop(number: int, *after: int) -> Operation:
    """Return an operation that stops the container of that number."""
    return Operation(number, "stop", after, container=f"{number:064x}")


@st.composite
def graphs(draw):
    """A request whose operations wait for earlier ones, and which of them fail."""
    count = draw(st.integers(0, 12))
    shuffled = draw(st.permutations(range(count)))
    built = [
        stop(number, *draw(st.sets(st.sampled_from(shuffled[:position])) if position else st.just(set())))
        for position, number in enumerate(shuffled)
    ]
    return tuple(draw(st.permutations(built))), draw(st.sets(st.integers(0, 11)))


@settings(deadline=None)
@given(graphs())
def test_order_and_failures_over_all_graphs(tmp_path_factory, graph):
    """Each runs once and after all it waits for; what waits for a failure never runs; the rest does."""
    requested, failing = graph
    ran, lock = [], threading.Lock()

    def fake_stop(self, container, tell):
        number = int(container, 16)
        with lock:
            ran.append(number)
        if number in failing:
            raise OSError("on purpose")
        return Outcome(container)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Instances, "stop", fake_stop)
        outcomes = perform(Perform(PROJECT, 1, requested), context(tmp_path_factory.mktemp("p"))).outcomes
    by_number = {outcome.id: outcome for outcome in outcomes}
    assert [outcome.id for outcome in outcomes] == sorted(operation.id for operation in requested)
    assert len(set(ran)) == len(ran)
    for operation in requested:
        outcome = by_number[operation.id]
        broken = any(by_number[before].phase == "failed" for before in operation.after)
        if broken:
            assert operation.id not in ran
            assert outcome.failure.code == "upstream"
        else:
            assert all(ran.index(before) < ran.index(operation.id) for before in operation.after)
            assert (outcome.phase == "failed") == (operation.id in failing)


def test_a_cancel_keeps_the_rest_from_beginning(tmp_path, monkeypatch):
    """The one under way ends, nothing else begins, and everything has an outcome."""
    cancelled = threading.Event()

    def fake_stop(self, container, tell):
        cancelled.set()
        return Outcome(container)

    monkeypatch.setattr(Instances, "stop", fake_stop)
    outcomes = perform(
        Perform(PROJECT, 1, (stop(1), stop(2, 1), stop(3, 2))), context(tmp_path, cancelled)
    ).outcomes
    assert [outcome.failure.code if outcome.failure else outcome.phase for outcome in outcomes] == [
        "done",
        "cancelled",
        "cancelled",
    ]


@pytest.mark.parametrize(
    "requested",
    [
        (stop(1, 2), stop(2, 1)),
        (stop(1, 1),),
        (stop(1, 9),),
        (stop(1), stop(1)),
        (Operation(1, "update"),),
        (Operation(1, "start"),),
        (Operation(1, "stop", container="../../images"),),
        (Operation(1, "forget", name="../r1"),),
        (Operation(1, "remove_volume", name="a/b"),),
        (Operation(1, "remove_image", name="nginx:latest"),),
    ],
)
def test_requests_that_make_no_sense_do_nothing(tmp_path, requested):
    """Cycles, unknown numbers, unknown kinds, names that are paths: refused before anything is touched."""
    with pytest.raises((Refusal, BadNameError)) as refused:
        perform(Perform(PROJECT, 1, (stop(7), *requested)), context(tmp_path))
    assert failure_of(refused.value).code == "bad-request"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("contents", "secrets", "code"),
    [
        ({"0" * 64: "eA=="}, {}, "digest-mismatch"),
        ({}, {"0" * 64: base64.b64encode(b"hunter2hunter2").decode()}, "digest-mismatch"),
        ({"0" * 64: "!"}, {}, "bad-request"),
        ({"0" * 64: "\u00e9"}, {}, "bad-request"),
        ({"../x": "eA=="}, {}, "digest-mismatch"),
    ],
)
def test_contents_that_do_not_match_are_refused_without_being_told(tmp_path, contents, secrets, code):
    """No value appears in the answer."""
    request = Perform(PROJECT, 1, (), contents, secrets)
    with pytest.raises((Refusal, BadNameError, ValueError)) as refused:
        perform(request, context(tmp_path))
    failure = failure_of(refused.value)
    assert failure.code == code
    assert "hunter2" not in repr(failure) + repr(request)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
OPERATION = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(-2, 3),
        "kind": st.sampled_from(OPERATIONS) | st.text(max_size=8),
        "after": st.lists(st.integers(-2, 3), max_size=3),
        "service": st.text(max_size=8),
        "slot": st.integers(),
        "release": st.text(max_size=8),
        "config": JSON,
        "container": st.text(max_size=70),
        "name": st.text(max_size=70),
    },
)


@settings(deadline=None, max_examples=200)
@given(st.text(max_size=10) | st.just(PROJECT), st.lists(OPERATION | JSON, max_size=4), JSON, JSON)
def test_hostile_requests_end_in_an_answer(tmp_path_factory, project, requested, contents, secrets):
    """Never anything but an outcome or a refusal with a code of ours, and no file outside the state."""
    folder = tmp_path_factory.mktemp("h")
    data = {"project": project, "epoch": 1, "operations": requested, "contents": contents, "secrets": secrets}
    code = "done"
    try:
        outcomes = perform(decode(Perform, data), context(folder)).outcomes
    except (WireError, Refusal, BadNameError) as error:
        code, outcomes = failure_of(error).code, ()
    assert code in ("done", "bad-request", "digest-mismatch")
    assert all(outcome.phase in ("done", "failed") for outcome in outcomes)
    assert [path.name for path in folder.iterdir()] in ([], ["state"])
