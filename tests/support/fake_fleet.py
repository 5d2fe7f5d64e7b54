"""A fleet in memory behind the ports of a run: sessions, messages, and what can befall them.

Nothing happens by itself. :meth:`FakeFleet.pump` does one small thing (a message arrives, an operation
goes one phase further), the next in line or one chosen by a seed, so that every run can be replayed.
Each such thing has a name, its *point* (``web-1 start api[1] creating``), where an effect can be hooked
in: fail, hang, disconnect, or whatever the test likes (an interrupt, another run).
"""

from __future__ import annotations

import collections
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from support.fleet_agent import PARKED, FakeAgent
from support.fleet_host import Effect, Failing, FakeHost, Hanging

from orchestrator.errors import HostUnreachable
from orchestrator.execution.loop import Action
from orchestrator.ports import Call, RequestFailed
from orchestrator.protocol import messages as m


class StuckError(AssertionError):
    """Somebody waits, and nothing in the whole fleet will ever happen again."""


class FakeFleet:
    """All hosts, and everything that is about to happen on them."""

    def __init__(self, hosts: Iterable[str], *, seed: int | None = None, inline: bool = False) -> None:
        self.ids = itertools.count(1)
        self.hosts = {name: FakeHost(name, self.ids) for name in hosts}
        self.points: list[str] = []
        """Everything that happened, in order."""
        self.requests: collections.Counter[tuple[str, str]] = collections.Counter()
        """(host, kind of request) -> how many were made."""
        self.watchers: list[Callable[[], None]] = []
        """Called at every point: what must hold at any moment."""
        self.performed: list[tuple[str, m.Perform]] = []
        """(host, request), in order."""
        self._inline = inline
        self.random = random.Random(seed) if seed is not None else None
        self._tasks: list[Iterator[str | None]] = []
        self._parked: list[Iterator[str | None]] = []
        self._at: dict[int, Effect] = {}
        self._on: dict[str, Effect] = {}

    def at(self, number: int, effect: Effect) -> None:
        """Let ``effect`` happen at the ``number``-th point from now, counted from 0."""
        self._at[len(self.points) + number] = effect

    def on(self, point: str, effect: Effect) -> None:
        """Let ``effect`` happen the first time that ``point`` is reached."""
        self._on[point] = effect

    def controller(self) -> FakeController:
        """Return a new fleet of sessions, as one run has them."""
        return FakeController(self)

    @property
    def running(self) -> dict[str, frozenset[str]]:
        """Host -> ids of the containers that run there."""
        return {name: host.running for name, host in self.hosts.items()}

    def reach(self, host: FakeHost, point: str) -> None:
        """Note that ``point`` of ``host`` is reached, and let the effects hooked there happen."""
        name = f"{host.name} {point}"
        number = len(self.points)
        self.points.append(name)
        for watch in self.watchers:
            watch()
        for effect in (self._at.pop(number, None), self._on.pop(name, None)):
            if effect is not None:
                effect(host)

    def begin(self, task: Iterator[str | None]) -> None:
        """Add something that goes on by one piece at each turn."""
        self._tasks.append(task)
        if self._inline:
            while self.pump():
                pass

    def pump(self) -> bool:
        """Let one thing happen; tell whether anything could."""
        if not self._tasks:
            return False
        number = self.random.randrange(len(self._tasks)) if self.random else 0
        task = self._tasks.pop(number)
        try:
            turn = next(task)
        except StopIteration:
            return True
        (self._parked if turn == PARKED else self._tasks).append(task)
        return True

    def wake(self) -> None:
        """Give what hangs another turn: something was cancelled or closed."""
        self._tasks += self._parked
        self._parked.clear()


class FakeController:
    """One run's view of the fleet: the `Fleet` port, the `Loop` of a simulated run, and a way to ship."""

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet
        self.sessions: dict[str, FakeSession] = {}
        self.slept = 0.0
        """Seconds that passed while nothing happened."""
        self._actions: collections.deque[Action] = collections.deque()

    def session(self, host: str) -> FakeSession:
        """Return the session with ``host``, a new one when the last has ended."""
        there = self.fleet.hosts[host]
        session = self.sessions.get(host)
        if session is None or session.closed:
            if there.down:
                raise HostUnreachable(host, "connection refused")
            session = self.sessions[host] = FakeSession(self.fleet, there)
        return session

    def fresh(self, host: str) -> FakeSession:
        """Return a session of its own, as a new connection gives one."""
        there = self.fleet.hosts[host]
        try:
            self.fleet.reach(there, "connects anew")
        except (Failing, Hanging) as error:
            raise HostUnreachable(host, "connection timed out") from error
        if there.down:
            raise HostUnreachable(host, "connection refused")
        return FakeSession(self.fleet, there)

    def close(self) -> None:
        """End all sessions."""
        for session in self.sessions.values():
            session.close()

    def ship(self, session: Any, image: str, on_progress: Callable[[str, int, int], None]) -> int:
        """Put an image on a host, in one go."""
        host = session.host_state
        try:
            self.fleet.reach(host, f"load {image}")
        except Failing as error:
            raise RequestFailed(host.name, m.RemoteFailure(error.failure.code, str(error))) from error
        session.check()
        on_progress("sending", 50, 100)
        new = image not in host.images
        host.images.add(image)
        return 100 if new else 0

    def post(self, action: Action) -> None:
        """See the port."""
        self._actions.append(action)

    def idle(self) -> bool:
        """See the port."""
        return not self._actions

    def wait(self, seconds: float | None = None) -> Action:
        """See the port; time passes only when nothing else can happen."""
        while not self._actions:
            if not self.fleet.pump():
                if seconds is not None:
                    self.slept += seconds
                    return lambda: None
                raise StuckError(f"nothing is going to happen any more, after {self.fleet.points[-5:]}")
        return self._actions.popleft()

    def spawn(self, work: Action) -> None:
        """See the port."""

        def task() -> Iterator[str | None]:
            work()
            yield

        self.fleet.begin(task())


class FakeCall:
    """One request under way."""

    def __init__(
        self,
        session: FakeSession,
        on_progress: Callable[[Any], None] | None,
        on_done: Callable[[Call], None] | None,
    ) -> None:
        self.session = session
        self.cancelled = False
        self.answered = False
        self._on_progress = on_progress
        self._on_done = on_done
        self._result: Any = None
        self._error: Exception | None = None

    def progress(self, news: Any) -> None:
        """Tell the controller how it goes on."""
        if not self.answered and self._on_progress is not None:
            self._on_progress(news)

    def answer(self, result: Any = None, error: Exception | None = None) -> None:
        """End it, once."""
        if self.answered:
            return
        self.answered = True
        self._result, self._error = result, error
        self.session.calls.remove(self)
        if self._on_done is not None:
            self._on_done(self)

    def result(self, timeout: float | None = None) -> Any:
        """See the port; lets the fleet go on until the answer is there."""
        while not self.answered:
            if timeout == 0:
                raise TimeoutError
            if not self.session.fleet.pump():
                raise StuckError("an answer is waited for that never comes")
        if self._error is not None:
            raise self._error
        return self._result

    def send_body(self, data: bytes) -> None:
        """See the port."""

    def end_body(self) -> None:
        """See the port."""

    def body(self) -> Iterator[bytes]:
        """See the port."""
        return iter(())

    def cancel(self) -> None:
        """See the port."""
        self.cancelled = True
        self.session.fleet.wake()


class FakeSession:
    """A live agent on one host."""

    def __init__(self, fleet: FakeFleet, host: FakeHost) -> None:
        self.fleet = fleet
        self.host_state = host
        self.closed = False
        self.calls: list[FakeCall] = []
        self._round_trips = 0
        host.sessions.append(self)

    @property
    def host(self) -> str:
        """See the port."""
        return self.host_state.name

    @property
    def round_trips(self) -> int:
        """See the port."""
        return self._round_trips

    @property
    def bytes_sent(self) -> int:
        """See the port."""
        return 100 * self._round_trips

    def check(self) -> None:
        """Raise the error of a session that has ended."""
        if self.closed:
            raise HostUnreachable(self.host, "connection lost")

    def request(
        self,
        params: Any,
        *,
        on_progress: Callable[[Any], None] | None = None,
        on_done: Callable[[Call], None] | None = None,
    ) -> FakeCall:
        """See the port."""
        self.check()
        self._round_trips += 1
        kind = next(name for name, method in m.METHODS.items() if isinstance(params, method.params))
        self.fleet.requests[self.host, kind] += 1
        call = FakeCall(self, on_progress, on_done)
        self.calls.append(call)
        self.fleet.begin(FakeAgent(self.fleet, call, kind, params).run())
        return call

    def close(self) -> None:
        """See the port: the agent exits, and with it the lease and everything under way."""
        if self.closed:
            return
        self.closed = True
        host = self.host_state
        host.sessions.remove(self)
        if host.holder is self:
            host.holder = host.lease = None
        for call in list(self.calls):
            call.answer(error=HostUnreachable(host.name, "connection lost"))
        self.fleet.wake()
