"""The conversation of both ends, joined without any I/O."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.protocol.connection import (
    TRANSITIONS,
    Cancel,
    Connection,
    Data,
    EndOfData,
    Event,
    Failed,
    HelloEvent,
    Ping,
    Pong,
    Progress,
    Request,
    Response,
    Role,
    State,
    Window,
)
from orchestrator.protocol.frames import (
    HEADER,
    LIMITS,
    MAX_DATA,
    MAX_MESSAGE,
    MAX_STREAMS,
    WINDOW,
    Kind,
    LocalProtocolError,
    RemoteProtocolError,
    pack,
)


@dataclass
class Pair:
    """A controller and an agent whose bytes go straight to each other."""

    controller: Connection = field(default_factory=lambda: Connection(Role.CONTROLLER))
    agent: Connection = field(default_factory=lambda: Connection(Role.AGENT))

    def to_agent(self, event: Event) -> list[Event]:
        """Send from the controller, return what the agent sees."""
        return self.agent.receive_data(self.controller.send(event))

    def to_controller(self, event: Event) -> list[Event]:
        """Send from the agent, return what the controller sees."""
        return self.controller.receive_data(self.agent.send(event))


@pytest.fixture
def pair() -> Pair:
    """Two ends that have greeted."""
    pair = Pair()
    pair.to_controller(HelloEvent({"protocol": 1}))
    return pair


def test_one_request_with_bodies_both_ways(pair: Pair) -> None:
    """Every kind of event arrives as it was sent, and the stream is closed by the answer."""
    for event in (Request(1, "exec", {"command": ["cat"]}), Data(1, b"in"), EndOfData(1), Cancel(1)):
        assert pair.to_agent(event) == [event]
    for event in (Progress(1, [1, "ü"]), Data(1, b"out"), EndOfData(1), Window(1, 2), Response(1, None)):
        assert pair.to_controller(event) == [event]
    assert pair.controller.open_streams == pair.agent.open_streams == ()


def test_heartbeats_need_no_stream(pair: Pair) -> None:
    """Pings and pongs pass in both directions."""
    assert pair.to_agent(Ping()) == [Ping()]
    assert pair.to_controller(Pong()) == [Pong()]


def test_requests_may_precede_the_greeting() -> None:
    """A controller need not wait for the greeting before it asks."""
    pair = Pair()
    assert pair.to_agent(Request(1, "observe", {})) == [Request(1, "observe", {})]
    assert not pair.controller.greeted


def test_agent_says_nothing_before_its_greeting() -> None:
    """The greeting is the first thing from an agent, and both ends hold it to that."""
    pair = Pair()
    pair.to_agent(Request(1, "observe", {}))
    with pytest.raises(LocalProtocolError, match="greeting"):
        pair.agent.send(Response(1, {}))
    with pytest.raises(LocalProtocolError, match="greeting"):
        pair.agent.send(Pong())
    with pytest.raises(RemoteProtocolError, match="before the greeting"):
        pair.controller.receive_data(pack(Kind.RESPONSE, 1, b"{}"))


def test_second_greeting_is_refused(pair: Pair) -> None:
    """An agent greets once, and a controller never."""
    with pytest.raises(LocalProtocolError, match="second"):
        pair.agent.send(HelloEvent({}))
    with pytest.raises(RemoteProtocolError, match="second"):
        pair.controller.receive_data(pack(Kind.HELLO, 0, b"{}"))
    with pytest.raises(RemoteProtocolError):
        pair.agent.receive_data(pack(Kind.HELLO, 0, b"{}"))


def test_late_frames_of_a_controller_are_dropped(pair: Pair) -> None:
    """What was under way when the answer came is no violation, and is not shown."""
    pair.to_agent(Request(1, "load", {}))
    late = [pair.controller.send(event) for event in (Data(1, b"x"), EndOfData(1), Cancel(1))]
    pair.to_controller(Failed(1, {"code": "no-space"}))
    assert [pair.agent.receive_data(data) for data in late] == [[], [], []]
    assert pair.controller.send(Window(1, 1)) == b""


def test_frames_of_an_agent_after_its_answer_are_a_violation(pair: Pair) -> None:
    """An agent knows when it has answered."""
    pair.to_agent(Request(1, "logs", {}))
    pair.to_controller(Response(1, {}))
    with pytest.raises(RemoteProtocolError, match="not open"):
        pair.controller.receive_data(pack(Kind.DATA, 1, b"x"))


def test_windows_bound_what_is_under_way(pair: Pair) -> None:
    """Data beyond the credit cannot be sent, and a peer that sends it anyway is refused."""
    pair.to_agent(Request(1, "load", {}))
    piece = bytes(MAX_DATA)
    for _ in range(WINDOW // MAX_DATA):
        pair.to_agent(Data(1, piece))
    assert pair.controller.credit(1) == 0
    with pytest.raises(LocalProtocolError, match="allowed"):
        pair.controller.send(Data(1, b"x"))
    pair.to_controller(Window(1, 10))
    assert pair.controller.credit(1) == 10
    with pytest.raises(RemoteProtocolError, match="allowed"):
        pair.agent.receive_data(pack(Kind.DATA, 1, bytes(11)))


@pytest.mark.parametrize("credit", [0, 1, WINDOW])
def test_credit_for_nothing_is_refused(pair: Pair, credit: int) -> None:
    """A window never grows beyond its first size."""
    pair.to_agent(Request(1, "load", {}))
    with pytest.raises(LocalProtocolError):
        pair.agent.send(Window(1, credit))
    with pytest.raises(RemoteProtocolError):
        pair.controller.receive_data(pack(Kind.WINDOW, 1, credit.to_bytes(4, "big")))


def test_empty_data_is_refused(pair: Pair) -> None:
    """It would cost memory and no credit."""
    pair.to_agent(Request(1, "load", {}))
    with pytest.raises(LocalProtocolError, match="empty"):
        pair.controller.send(Data(1, b""))
    with pytest.raises(RemoteProtocolError, match="empty"):
        pair.agent.receive_data(pack(Kind.DATA, 1))


def test_streams_are_numbered_and_counted(pair: Pair) -> None:
    """Numbers rise by one; too many open streams are refused on both ends."""
    with pytest.raises(LocalProtocolError, match="follows"):
        pair.controller.send(Request(2, "observe", {}))
    for number in range(1, MAX_STREAMS + 1):
        pair.to_agent(Request(number, "observe", {}))
    with pytest.raises(LocalProtocolError, match="at once"):
        pair.controller.send(Request(MAX_STREAMS + 1, "observe", {}))
    request = pack(Kind.REQUEST, MAX_STREAMS + 1, b'{"method":"observe","params":{}}')
    with pytest.raises(RemoteProtocolError, match="at once"):
        pair.agent.receive_data(request)


def test_a_refused_send_changes_nothing(pair: Pair) -> None:
    """A message that cannot be packed leaves the stream as it was."""
    with pytest.raises(LocalProtocolError, match="allowed"):
        pair.controller.send(Request(1, "perform", "x" * MAX_MESSAGE))
    with pytest.raises(LocalProtocolError, match="JSON"):
        pair.controller.send(Request(1, "perform", {1, 2}))
    with pytest.raises(LocalProtocolError, match="JSON"):
        pair.controller.send(Request(1, "perform", "\ud800"))
    assert pair.to_agent(Request(1, "perform", {})) == [Request(1, "perform", {})]


def test_a_broken_connection_stays_broken(pair: Pair) -> None:
    """After a violation nothing is read or written any more."""
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="unknown kind"):
            pair.controller.receive_data(HEADER.pack(99, 0, 0))
    with pytest.raises(LocalProtocolError, match="broken"):
        pair.controller.send(Ping())
    assert pair.controller.buffered == 0


@pytest.mark.parametrize("kind", list(Kind))
def test_too_long_frames_are_refused_by_their_header(kind: Kind) -> None:
    """A length beyond the limit is never awaited, let alone buffered."""
    connection = Connection(Role.CONTROLLER)
    with pytest.raises(RemoteProtocolError, match="allowed"):
        connection.receive_data(HEADER.pack(kind, 1, LIMITS[kind] + 1))


@pytest.mark.parametrize(
    "payload",
    [b"{", b"\xff", b"NaN", b"[" * 100_000, b'"\\ud800"', b"9" * 5000, b""],
    ids=["open", "utf-8", "nan", "deep", "surrogate", "number", "empty"],
)
def test_bad_json_is_a_violation(pair: Pair, payload: bytes) -> None:
    """Whatever is wrong with it, blame lies with the sender."""
    pair.to_agent(Request(1, "observe", {}))
    with pytest.raises(RemoteProtocolError, match="JSON"):
        pair.controller.receive_data(pack(Kind.RESPONSE, 1, payload))


@pytest.mark.parametrize("payload", [b"[]", b"{}", b'{"method":1,"params":{}}', b'{"method":"x"}'])
def test_requests_have_one_shape(pair: Pair, payload: bytes) -> None:
    """A request is a method's name and parameters."""
    with pytest.raises(RemoteProtocolError, match="request"):
        pair.agent.receive_data(pack(Kind.REQUEST, 1, payload))


STREAM_EVENTS = (
    Request(1, "exec", {}),
    Data(1, b"x"),
    EndOfData(1),
    Cancel(1),
    Progress(1, {}),
    Response(1, {}),
    Failed(1, {}),
)


@given(st.lists(st.tuples(st.sampled_from(Role), st.sampled_from(STREAM_EVENTS)), max_size=12))
def test_what_one_end_may_send_the_other_accepts(script: list[tuple[Role, Event]]) -> None:
    """Whatever the order, sending either raises a local error or is no violation for the reader."""
    pair = Pair()
    pair.to_controller(HelloEvent({}))
    for role, event in script:
        sender, receiver = (
            (pair.controller, pair.agent) if role is Role.CONTROLLER else (pair.agent, pair.controller)
        )
        try:
            data = sender.send(event)
        except LocalProtocolError:
            continue
        assert receiver.receive_data(data) == [event]
        assert pair.controller.open_streams == pair.agent.open_streams


def test_every_state_that_is_reached_is_in_the_table() -> None:
    """The table leads nowhere that it does not describe, but to the end."""
    reached = {(role, state) for (role, _), moves in TRANSITIONS.items() for state in moves.values()}
    assert {state for role, state in reached if (role, state) not in TRANSITIONS} == {State.CLOSED}


@given(st.data())
@settings(max_examples=60)
def test_any_chunking_gives_the_same_events(data: st.DataObject) -> None:
    """The events depend on the bytes, never on how they were cut."""
    sender, receiver = Connection(Role.CONTROLLER), Connection(Role.AGENT)
    events: list[Event] = [Request(1, "load", {"image": "sha256:0"})]
    pieces = data.draw(st.lists(st.binary(min_size=1, max_size=200), max_size=10))
    events += [Data(1, piece) for piece in pieces]
    events += [Ping(), Request(2, "observe", {"a": [None, 1.5, "é"]}), EndOfData(1), Cancel(2)]
    wire = b"".join(sender.send(event) for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=20)))
    seen: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        seen += receiver.receive_data(wire[start:end])
    assert seen == events


FRAMES = st.tuples(
    st.sampled_from([*Kind, 0, 12]),
    st.integers(0, 3),
    st.one_of(st.binary(max_size=20), st.sampled_from([b"{}", b"1", b'{"method":"a","params":{}}'])),
).map(lambda frame: HEADER.pack(frame[0], frame[1], len(frame[2])) + frame[2])


@given(
    st.sampled_from(Role),
    st.lists(st.one_of(st.binary(max_size=64), FRAMES), max_size=20),
    st.booleans(),
)
@settings(max_examples=300)
def test_garbage_is_only_ever_a_remote_error(role: Role, chunks: list[bytes], greeted: bool) -> None:
    """No input gives any other exception, or makes the reader hold more than one frame."""
    connection = Connection(role)
    if role is Role.CONTROLLER:
        connection.send(Request(1, "observe", {}))
        if greeted:
            connection.receive_data(pack(Kind.HELLO, 0, json.dumps({}).encode()))
    try:
        for chunk in chunks:
            connection.receive_data(chunk)
            assert connection.buffered <= HEADER.size + MAX_MESSAGE
    except RemoteProtocolError:
        assert connection.buffered == 0
