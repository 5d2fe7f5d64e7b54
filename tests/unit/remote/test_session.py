"""Sessions: requests, bodies, the loss of a host, and hosts that misbehave."""

import queue
import threading
from collections.abc import Iterable, Iterator

import pytest
from support.scripted_host import HELLO, ScriptedHost, silent

from orchestrator.errors import HostUnreachable, ProtocolViolation
from orchestrator.ports import RequestFailed
from orchestrator.protocol.codec import encode
from orchestrator.protocol.connection import (
    Cancel,
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
    Window,
)
from orchestrator.protocol.frames import MAX_DATA, MAX_MESSAGE, WINDOW, Kind, pack
from orchestrator.protocol.messages import (
    Done,
    Exec,
    Exited,
    FindImage,
    Found,
    HostReport,
    LayersWanted,
    Loaded,
    LoadImage,
    Logs,
    Observe,
    RemoteFailure,
)
from orchestrator.remote.session import AgentSession

REPORT = HostReport(epoch=3, key="00")
OBSERVE = Observe("shop")
LOGS = Logs("shop", "c1")
TIMEOUT = 10


def answering(event: Event) -> Iterable[Event]:
    """Answer what needs no thought."""
    if isinstance(event, Request):
        results = {"observe": REPORT, "find": Found(), "logs": Done(), "exec": Exited(0)}
        return [Response(event.stream, encode(results[event.method]))]
    return []


@pytest.fixture
def sessions() -> Iterator[list[AgentSession]]:
    """Sessions that are closed in the end."""
    opened: list[AgentSession] = []
    yield opened
    for session in opened:
        session.close()


def open_session(sessions: list[AgentSession], host: ScriptedHost, **options: float) -> AgentSession:
    """Open a session over ``host``."""
    session = AgentSession("web-1", host, **options)
    sessions.append(session)
    return session


def test_requests_are_answered_by_dataclasses(sessions: list[AgentSession]) -> None:
    """A request finds its method by the class of its parameters, the answer becomes its result class."""
    session = open_session(sessions, ScriptedHost(answering))
    assert session.hello == HELLO
    calls = [session.request(OBSERVE), session.request(FindImage("b1"))]
    assert [call.result(TIMEOUT) for call in calls] == [REPORT, Found()]
    assert session.round_trips == 2
    assert session.bytes_sent > 0


def test_a_request_may_precede_the_greeting(sessions: list[AgentSession]) -> None:
    """Nothing waits for the hello but who wants it."""
    host = ScriptedHost(greet=False)
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    host.say(HelloEvent(encode(HELLO)), Response(1, encode(REPORT)))
    assert call.result(TIMEOUT) == REPORT


def test_refusals_carry_the_agents_code(sessions: list[AgentSession]) -> None:
    """A refusal is not the end of the session."""
    failure = RemoteFailure("no-engine", "cannot find a container engine")

    def refuse(event: Event) -> Iterable[Event]:
        return [Failed(event.stream, encode(failure))] if isinstance(event, Request) else []

    session = open_session(sessions, ScriptedHost(refuse))
    for _ in range(2):
        with pytest.raises(RequestFailed, match="web-1: cannot find") as caught:
            session.request(OBSERVE).result(TIMEOUT)
        assert caught.value.failure == failure


def test_callbacks_run_on_the_sessions_thread_in_order(sessions: list[AgentSession]) -> None:
    """Progress comes before the end, decoded."""
    seen: list[object] = []
    names: set[str] = set()
    ended = threading.Event()

    def wanted(event: Event) -> Iterable[Event]:
        if isinstance(event, Request):
            yield Progress(event.stream, encode(LayersWanted(present=True)))
            yield Response(event.stream, encode(Loaded("sha256:1", loaded=False)))

    def note(item: object) -> None:
        seen.append(item)
        names.add(threading.current_thread().name)

    def done(call: object) -> None:
        note(call)
        ended.set()

    session = open_session(sessions, ScriptedHost(wanted))
    call = session.request(LoadImage("shop", 1, "sha256:1", "{}"), on_progress=note, on_done=done)
    assert ended.wait(TIMEOUT)
    assert seen == [LayersWanted(present=True), call]
    assert names == {"read-web-1"}
    assert session.round_trips == 0, "layer data is no round trip"


def test_a_body_is_echoed_whole_within_its_windows(sessions: list[AgentSession]) -> None:
    """More than two windows pass in each direction, with credit for each piece."""
    owed = bytearray()
    ended = False

    def echo(event: Event) -> Iterable[Event]:
        nonlocal ended
        if isinstance(event, Data):
            owed.extend(event.data)
            yield Window(event.stream, len(event.data))
        ended = ended or isinstance(event, EndOfData)
        while owed and (count := min(host.agent.credit(1), MAX_DATA)):
            yield Data(1, bytes(owed[:count]))
            del owed[:count]
        if ended and not owed:
            yield EndOfData(1)
            yield Response(1, encode(Exited(7)))

    host = ScriptedHost(echo)
    session = open_session(sessions, host)
    call = session.request(Exec("shop", "c1", ("cat",)))
    piece = bytes(range(256)) * 4096 * 3
    sent = WINDOW * 2 // len(piece) + 1

    def feed() -> None:
        for _ in range(sent):
            call.send_body(piece)
        call.end_body()
        call.end_body()

    feeder = threading.Thread(target=feed)
    feeder.start()
    received = b"".join(call.body())
    feeder.join(TIMEOUT)
    assert received == piece * sent
    assert call.result(TIMEOUT) == Exited(7)


def test_a_sender_waits_for_credit(sessions: list[AgentSession]) -> None:
    """A host that consumes nothing is sent one window, and cancelling releases the sender."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(Exec("shop", "c1", ("cat",)))
    sender = threading.Thread(target=call.send_body, args=(bytes(WINDOW + 1),))
    sender.start()
    sender.join(0.2)
    assert sender.is_alive()
    assert sum(len(event.data) for event in host.received(Data)) == WINDOW
    call.cancel()
    sender.join(TIMEOUT)
    assert not sender.is_alive()
    assert host.seen[-1] == Cancel(1)
    call.send_body(b"late")
    call.end_body()
    call.cancel()
    assert host.seen[-1] == Cancel(1)


def test_an_answer_releases_a_sender(sessions: list[AgentSession]) -> None:
    """When the agent has answered there is no point in more body, and that is no error of the sender."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(Exec("shop", "c1", ("true",)))
    sender = threading.Thread(target=call.send_body, args=(bytes(WINDOW * 2),))
    sender.start()
    sender.join(0.1)
    host.say(Response(1, encode(Exited(0))))
    sender.join(TIMEOUT)
    assert not sender.is_alive()
    assert list(call.body()) == []


def test_small_pieces_are_joined(sessions: list[AgentSession]) -> None:
    """A host that sends bytes one by one costs no more memory than the bytes."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(LOGS)
    host.say(*[Data(1, b"x")] * 5000, Response(1, encode(Done())))
    call.result(TIMEOUT)
    assert list(call.body()) == [b"x" * 5000]


def test_a_refused_body_ends_and_the_result_says_why(sessions: list[AgentSession]) -> None:
    """Whoever reads a body is not told of the refusal twice."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(LOGS)
    host.say(Data(1, b"half"), Failed(1, encode(RemoteFailure("not-found", "no such container"))))
    assert list(call.body()) == [b"half"]
    with pytest.raises(RequestFailed):
        call.result(TIMEOUT)


def test_what_comes_after_a_cancel_is_dropped(sessions: list[AgentSession]) -> None:
    """The body ends for its reader; the answer still comes."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(LOGS)
    call.cancel()
    host.say(Data(1, b"x"), Response(1, encode(Done())))
    assert list(call.body()) == []
    assert call.result(TIMEOUT) == Done()


def test_a_call_times_out_alone(sessions: list[AgentSession]) -> None:
    """Waiting too long is the waiter's business: the call goes on."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    with pytest.raises(TimeoutError):
        call.result(0.01)
    host.say(Response(1, encode(REPORT)))
    assert call.result(TIMEOUT) == REPORT


def test_a_message_that_is_too_large_is_refused_here(sessions: list[AgentSession]) -> None:
    """The request fails by its own; the session lives."""
    session = open_session(sessions, ScriptedHost(answering))
    with pytest.raises(RequestFailed) as caught:
        session.request(FindImage("x" * MAX_MESSAGE))
    assert caught.value.failure.code == "bad-request"
    assert session.request(OBSERVE).result(TIMEOUT) == REPORT


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeoutError(), "no sign of life for 20 seconds"),
        (ConnectionResetError(104, "reset by peer"), "reset by peer"),
    ],
)
def test_a_lost_host_settles_every_call(
    sessions: list[AgentSession], error: BaseException, message: str
) -> None:
    """Nobody waits for ever: calls, bodies, new requests and the greeting all say why."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    calls = [session.request(OBSERVE), session.request(LOGS)]
    ended = threading.Event()
    session.request(OBSERVE, on_done=lambda _: ended.set())
    host.fail(error)
    assert ended.wait(TIMEOUT)
    for call in calls:
        with pytest.raises(HostUnreachable, match=message):
            call.result(TIMEOUT)
        with pytest.raises(HostUnreachable):
            list(call.body())
        with pytest.raises(HostUnreachable):
            call.send_body(b"x")
    with pytest.raises(HostUnreachable):
        session.request(OBSERVE)
    assert host.closed


def test_a_defect_in_a_callback_is_loud_and_leaves_nobody_waiting(
    sessions: list[AgentSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown as any uncaught exception of a thread, and every call ends."""
    shown: queue.SimpleQueue[object] = queue.SimpleQueue()
    monkeypatch.setattr(threading, "excepthook", lambda args: shown.put(args.exc_value))

    def defect(_call: object) -> None:
        raise KeyError("oops")

    host = ScriptedHost()
    session = open_session(sessions, host)
    other = session.request(OBSERVE)
    call = session.request(OBSERVE, on_done=defect)
    host.say(Response(2, encode(REPORT)))
    assert call.result(TIMEOUT) == REPORT
    with pytest.raises(HostUnreachable, match="internal"):
        other.result(TIMEOUT)
    assert isinstance(shown.get(timeout=TIMEOUT), KeyError)


def test_the_end_of_the_stream_shows_the_last_words(sessions: list[AgentSession]) -> None:
    """What the agent wrote to stderr is in the context."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    host.say(b"")
    with pytest.raises(HostUnreachable) as caught:
        call.result(TIMEOUT)
    assert caught.value.context == ("Killed",)


def test_a_host_that_takes_nothing_is_lost(sessions: list[AgentSession]) -> None:
    """A failing write ends the session for all."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    host.closed = True
    with pytest.raises(HostUnreachable, match="lost"):
        session.request(OBSERVE)
    with pytest.raises(HostUnreachable, match="lost"):
        call.result(TIMEOUT)


@pytest.mark.parametrize(
    "answer",
    [
        pack(Kind.RESPONSE, 7, b"{}"),
        b"\xff" * 20,
        pack(Kind.RESPONSE, 1, b"{}"),
        pack(Kind.RESPONSE, 1, b'{"epoch":"3","key":""}'),
        pack(Kind.RESPONSE, 1, b"[]"),
        pack(Kind.FAILED, 1, b"{}"),
        pack(Kind.PROGRESS, 1, b"{}"),
        pack(Kind.WINDOW, 1, b"\0\0\0\1"),
        pack(Kind.HELLO, 0, b"{}"),
        pack(Kind.DATA, 1, bytes(MAX_DATA)) * (WINDOW // MAX_DATA) + pack(Kind.DATA, 1, b"x"),
    ],
    ids=["stream", "kind", "missing", "type", "array", "failure", "progress", "credit", "hello", "window"],
)
def test_a_misbehaving_host_is_trusted_no_further(sessions: list[AgentSession], answer: bytes) -> None:
    """Whatever it says wrong: a violation by name, and the session is over."""
    host = ScriptedHost()
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    host.say(answer)
    with pytest.raises(ProtocolViolation, match="web-1"):
        call.result(TIMEOUT)
    assert host.closed


@pytest.mark.parametrize("payload", [{}, {**encode(HELLO), "protocol": 2}, {**encode(HELLO), "extra": 1}])
def test_a_strange_greeting_is_a_violation(sessions: list[AgentSession], payload: object) -> None:
    """The greeting is checked like everything else."""
    host = ScriptedHost(greet=False)
    session = open_session(sessions, host)
    host.say(HelloEvent(payload))
    with pytest.raises(ProtocolViolation):
        _ = session.hello


def test_no_greeting_is_not_waited_for_for_ever(sessions: list[AgentSession]) -> None:
    """A host that says nothing is lost."""
    session = open_session(sessions, ScriptedHost(greet=False), silence_limit=0.01)
    with pytest.raises(HostUnreachable, match="greeting"):
        _ = session.hello


def test_signs_of_life_are_sent_and_answered(sessions: list[AgentSession]) -> None:
    """Pings go out by themselves, and a ping of the agent is answered at once."""
    pinged, ponged = threading.Event(), threading.Event()

    def notice(event: Event) -> Iterable[Event]:
        if isinstance(event, Ping):
            pinged.set()
            return [Pong()]
        if isinstance(event, Pong):
            ponged.set()
        return []

    open_session(sessions, ScriptedHost(notice), ping_interval=0.01)
    assert pinged.wait(TIMEOUT)
    patient = ScriptedHost(notice)
    open_session(sessions, patient)
    patient.say(Ping())
    assert ponged.wait(TIMEOUT)


def test_closing_ends_everything(sessions: list[AgentSession]) -> None:
    """Close is final, may be repeated, and is what open calls are told."""
    host = ScriptedHost(silent)
    session = open_session(sessions, host)
    call = session.request(OBSERVE)
    session.close()
    session.close()
    with pytest.raises(HostUnreachable, match="closed"):
        call.result(TIMEOUT)
    assert host.closed
