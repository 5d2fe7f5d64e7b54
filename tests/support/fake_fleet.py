"""A fleet in memory behind the ports of a run: hosts, containers, leases, journals, and their failures.

Nothing happens by itself. :meth:`FakeFleet.pump` does one small thing (a message arrives, an operation
goes one phase further), the next in line or one chosen by a seed, so that every run can be replayed.
Each such thing has a name, its *point* (``web-1 start api[1] creating``), where an effect can be hooked
in: fail, hang, disconnect, or whatever the test likes (an interrupt, another run).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from orchestrator.errors import HostUnreachable
from orchestrator.execution.loop import Action
from orchestrator.ports import Call, RequestFailed
from orchestrator.protocol import messages as m
from orchestrator.protocol.codec import digest
from orchestrator.protocol.instance import InstanceConfig

Effect = Callable[["FakeHost"], None]

PARKED = "parked"
"""A task says so when it can only go on after :meth:`FakeFleet.wake`."""


class StuckError(AssertionError):
    """Somebody waits, and nothing in the whole fleet will ever happen again."""


class Hanging(Exception):  # noqa: N818
    """Raised by an effect: what was about to happen never does."""


class Failing(Exception):  # noqa: N818
    """Raised by an effect: the host refuses or fails with this code."""

    def __init__(self, code: str = "unhealthy", message: str = "GET /health answered 500") -> None:
        super().__init__(message)
        self.failure = m.Failure(code, message, probes=(message,), logs=("boom",), seconds=2.0)


def fails(code: str = "unhealthy", message: str = "GET /health answered 500") -> Effect:
    """Return an effect that makes the operation or request fail."""

    def effect(_: FakeHost) -> None:
        raise Failing(code, message)

    return effect


def hangs(_: FakeHost) -> None:
    """Effect: nothing more comes of it, until it is cancelled."""
    raise Hanging


def disconnects(host: FakeHost) -> None:
    """Effect: the sessions with the host end and its agent with them; it can be reached again."""
    host.disconnect()


def goes_down(host: FakeHost) -> None:
    """Effect: the host is gone for good."""
    host.down = True
    host.disconnect()


@dataclasses.dataclass
class FakeContainer:
    """One container of a host."""

    id: str
    service: str
    slot: int
    release: str
    config: InstanceConfig
    state: str = "created"


class FakeHost:
    """What survives on a host between sessions."""

    def __init__(self, fleet: FakeFleet, name: str) -> None:
        self.fleet = fleet
        self.name = name
        self.down = False
        self.containers: dict[str, FakeContainer] = {}
        self.images: set[str] = set()
        self.volumes: set[str] = set()
        self.configs: set[str] = set()
        self.secrets: set[str] = set()
        self.releases: dict[str, m.ReleaseRecord] = {}
        self.epoch = 0
        self.holder: FakeSession | None = None
        self.lease: m.LeaseInfo | None = None
        self.sessions: list[FakeSession] = []

    def add(self, config: InstanceConfig, slot: int = 1, release: str = "r1", state: str = "running") -> str:
        """Put a container there as if an earlier run had; return its id."""
        self.images.add(config.image)
        self.configs.update(c.sha256 for c in config.configs)
        self.secrets.update(s.hmac for s in config.secrets)
        container = FakeContainer(f"c{next(self.fleet.ids)}", config.service, slot, release, config, state)
        self.containers[container.id] = container
        return container.id

    @property
    def running(self) -> frozenset[str]:
        """Ids of the containers that run."""
        return frozenset(c.id for c in self.containers.values() if c.state == "running")

    @property
    def state(self) -> str:
        """What a plan depends on, as a digest."""
        return digest(
            [[c.id, c.state] for c in sorted(self.containers.values(), key=lambda c: c.id)]
            + [list(self.releases)[-1:]]
        )

    def report(self) -> m.HostReport:
        """Answer an ``observe``."""
        return m.HostReport(
            epoch=self.epoch,
            key="00" * 32,
            containers=tuple(_report(c) for c in self.containers.values()),
            images=tuple(m.ImageReport(image) for image in sorted(self.images)),
            volumes=tuple(m.VolumeReport(volume) for volume in sorted(self.volumes)),
            releases=tuple(self.releases.values()),
            lease=self.lease,
            state=self.state,
        )

    def disconnect(self) -> None:
        """End all sessions with this host."""
        for session in list(self.sessions):
            session.close()


class FakeFleet:
    """All hosts, and everything that is about to happen on them."""

    def __init__(self, hosts: Iterable[str], *, seed: int | None = None, inline: bool = False) -> None:
        self.ids = itertools.count(1)
        self.hosts = {name: FakeHost(self, name) for name in hosts}
        self.points: list[str] = []
        """Everything that happened, in order."""
        self.requests: collections.Counter[tuple[str, str]] = collections.Counter()
        """(host, kind of request) -> how many were made."""
        self.secrets_seen: list[m.Perform] = []
        self._inline = inline
        self._random = random.Random(seed) if seed is not None else None
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
        number = self._random.randrange(len(self._tasks)) if self._random else 0
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
        self._actions: collections.deque[Action] = collections.deque()

    def session(self, host: str) -> FakeSession:
        """Return the session with ``host``, a new one when the last has ended."""
        there = self.fleet.hosts[host]
        session = self.sessions.get(host)
        if session is None or session.closed:
            if there.down:
                raise HostUnreachable(host, "connection refused")
            session = self.sessions[host] = FakeSession(there)
        return session

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

    def wait(self) -> Action:
        """See the port."""
        while not self._actions:
            if not self.fleet.pump():
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
            if not self.session.host_state.fleet.pump():
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
        self.session.host_state.fleet.wake()


class FakeSession:
    """A live agent on one host."""

    def __init__(self, host: FakeHost) -> None:
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
        self.host_state.fleet.requests[self.host, kind] += 1
        call = FakeCall(self, on_progress, on_done)
        self.calls.append(call)
        self.host_state.fleet.begin(_Agent(call, kind, params).run())
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
        host.fleet.wake()


class _Agent:
    """What the agent does with one request."""

    def __init__(self, call: FakeCall, kind: str, params: Any) -> None:
        self.call = call
        self.kind = kind
        self.params = params
        self.session = call.session
        self.host = call.session.host_state
        self.fleet = self.host.fleet

    def run(self) -> Iterator[str | None]:
        try:
            yield from self._run()
        except Failing as error:
            failure = m.RemoteFailure(error.failure.code, str(error), context=error.failure.logs)
            self.call.answer(error=RequestFailed(self.host.name, failure))
        except Hanging:
            while not self.call.cancelled and not self.session.closed:
                yield PARKED
            failure = m.RemoteFailure("cancelled", "stopped on request")
            self.call.answer(error=RequestFailed(self.host.name, failure))

    def _run(self) -> Iterator[str | None]:
        if self.kind != "perform":
            self.fleet.reach(self.host, f"{self.kind} arrives")
        yield
        if self.session.closed:
            return
        if m.METHODS[self.kind].needs_lease:
            self._check_lease()
        result = yield from getattr(self, f"_{self.kind}")()
        if self.session.closed:
            return
        if self.kind != "perform":
            self.fleet.reach(self.host, f"{self.kind} answers")
        self.call.answer(result)

    def _check_lease(self) -> None:
        if self.host.holder is not self.session:
            raise Failing("no-lease", "this session holds no lease")
        if self.params.epoch != self.host.epoch:
            raise Failing("stale-epoch", "another epoch is in force")

    def _observe(self) -> Iterator[str | None]:
        yield
        return self.host.report()

    def _acquire(self) -> Iterator[str | None]:
        yield
        host, wanted = self.host, self.params
        if host.holder is not None:
            failure = m.RemoteFailure("lease-held", "somebody else holds the lease", lease=host.lease)
            self.call.answer(error=RequestFailed(host.name, failure))
            return None
        if wanted.epoch <= host.epoch:
            raise Failing("stale-epoch", f"epoch {host.epoch} was seen")
        if wanted.state and wanted.state != host.state:
            raise Failing("state-changed", "the host has changed")
        host.epoch = wanted.epoch
        host.holder = self.session
        host.lease = m.LeaseInfo(wanted.owner, wanted.reason, wanted.release, 1000.0, wanted.epoch)
        return m.Acquired(wanted.epoch)

    def _release(self) -> Iterator[str | None]:
        yield
        self.host.holder = self.host.lease = None
        return m.Done()

    def _commit(self) -> Iterator[str | None]:
        yield
        self.host.releases[self.params.record.id] = self.params.record
        return m.Done()

    def _perform(self) -> Iterator[str | None]:
        self.host.configs.update(self.params.contents)
        self.host.secrets.update(self.params.secrets)
        self.fleet.secrets_seen.append(self.params)
        outcomes: dict[int, m.OperationProgress] = {}
        working: dict[int, Iterator[m.OperationProgress]] = {}
        hung: set[int] = set()
        open_ = {op.id: op for op in self.params.operations}
        while open_ and not self.session.closed:
            self._admit(open_, working, outcomes)
            going = [number for number in open_ if number in working and number not in hung]
            if not going:
                if open_:
                    assert hung, "an operation waits for one that is not there"
                    yield PARKED
                continue
            number = self.fleet._random.choice(going) if self.fleet._random else going[0]
            try:
                news = next(working[number], None)
            except Failing as error:
                outcomes[number] = self._tell(open_.pop(number), error.failure)
            except Hanging:
                hung.add(number)
            else:
                self._go_on(number, news, open_, outcomes)
            yield
        return m.Performed(tuple(outcomes[number] for number in sorted(outcomes)))

    def _admit(self, open_: dict[int, Any], working: dict[int, Any], outcomes: dict[int, Any]) -> None:
        """Begin what may begin, and end what never will."""
        for op in list(open_.values()):
            if any(outcomes[b].phase == "failed" for b in op.after if b in outcomes):
                outcomes[op.id] = self._tell(op, m.Failure("upstream", "an earlier one failed"))
                del open_[op.id]
            elif self.call.cancelled:
                outcomes[op.id] = self._tell(op, m.Failure("cancelled", "stopped on request"))
                del open_[op.id]
            elif op.id not in working and all(b in outcomes for b in op.after):
                working[op.id] = self._operation(op)

    def _go_on(self, number: int, news: Any, open_: dict[int, Any], outcomes: dict[int, Any]) -> None:
        if news is None or self.session.closed:
            return
        self.call.progress(news)
        if news.phase == "done":
            outcomes[number] = news
            del open_[number]

    def _tell(self, op: m.Operation, failure: m.Failure) -> m.OperationProgress:
        news = m.OperationProgress(op.id, "failed", failure=failure, seconds=failure.seconds)
        self.call.progress(news)
        return news

    def _operation(self, op: m.Operation) -> Iterator[m.OperationProgress]:
        def at(phase: str) -> None:
            name = f"{op.service}[{op.slot}]" if op.service else op.name
            self.fleet.reach(self.host, f"{op.kind} {name} {phase}")

        return getattr(self, f"_op_{op.kind}")(op, at)

    def _op_start(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("creating")
        if self.session.closed:
            return
        config = op.config
        assert config is not None
        if config.image not in self.host.images:
            raise Failing("engine", f"no such image: {config.image}")
        if {c.sha256 for c in config.configs} - self.host.configs:
            raise Failing("bad-request", "the content of a config is missing")
        if {s.hmac for s in config.secrets} - self.host.secrets:
            raise Failing("bad-request", "the value of a secret is missing")
        ours = [
            c
            for c in self.host.containers.values()
            if (c.service, c.slot, c.release, c.config) == (op.service, op.slot, op.release, config)
        ]
        found = ours[0].id if ours else self.host.add(config, op.slot, op.release, "created")
        yield m.OperationProgress(op.id, "creating", found)
        at("starting")
        if self.session.closed:
            return
        self._run_container(found)
        yield m.OperationProgress(op.id, "starting", found)
        at("checking")
        if self.session.closed:
            return
        yield m.OperationProgress(op.id, "checking", found)
        at("healthy")
        yield m.OperationProgress(op.id, "done", found, "adopted" if ours else "", seconds=1.0)

    def _op_resume(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("starting")
        if self.session.closed:
            return
        if op.container not in self.host.containers:
            raise Failing("not-found", f"no such container: {op.container}")
        self._run_container(op.container)
        yield m.OperationProgress(op.id, "starting", op.container)
        at("healthy")
        yield m.OperationProgress(op.id, "done", op.container, seconds=1.0)

    def _op_stop(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("stopping")
        if self.session.closed:
            return
        yield m.OperationProgress(op.id, "stopping", op.container)
        if self.session.closed:
            return
        for container in self.host.containers.values():
            same = (container.service, container.slot, container.release) == (op.service, op.slot, op.release)
            if container.id == op.container or (not op.container and same):
                container.state = "exited"
        at("stopped")
        yield m.OperationProgress(op.id, "done", op.container, seconds=1.0)

    def _op_remove(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("removing")
        if self.session.closed:
            return
        if op.container in self.host.running:
            raise Failing("conflict", "it runs")
        self.host.containers.pop(op.container, None)
        yield m.OperationProgress(op.id, "done", op.container)

    def _op_forget(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("forgetting")
        self.host.releases.pop(op.name, None)
        yield m.OperationProgress(op.id, "done")

    def _op_remove_volume(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("removing")
        self.host.volumes.discard(op.name)
        yield m.OperationProgress(op.id, "done")

    def _op_remove_image(self, op: m.Operation, at: Callable[[str], None]) -> Iterator[m.OperationProgress]:
        at("removing")
        self.host.images.discard(op.name)
        yield m.OperationProgress(op.id, "done")

    def _run_container(self, container: str) -> None:
        this = self.host.containers[container]
        wanted = {p.published for p in this.config.ports if p.published}
        for other in self.host.containers.values():
            taken = {p.published for p in other.config.ports}
            if other is not this and other.state == "running" and wanted & taken:
                raise Failing("conflict", f"port {min(wanted & taken)} is taken")
        this.state = "running"


def _report(container: FakeContainer) -> m.ContainerReport:
    running = container.state == "running"
    return m.ContainerReport(
        id=container.id,
        name=f"{container.service}-{container.slot}-{container.release}",
        service=container.service,
        slot=container.slot,
        release=container.release,
        digest=container.config.digest,
        image=container.config.image,
        state=container.state,
        health="healthy" if running else "none",
        config=container.config,
    )
