"""What the agents of the fleet in memory do with a request: the real agent's semantics, in small pieces.

After a cancel nothing is begun; a start under way is taken back, anything else is finished. A start
that does not become healthy is stopped and kept. A session that ends leaves everything as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from support.fleet_host import Failing, Hanging
from support.fleet_router import KINDS

from orchestrator.ports import RequestFailed
from orchestrator.protocol import messages as m

if TYPE_CHECKING:
    from support.fake_fleet import FakeCall, FakeFleet

PARKED = "parked"
"""A task says so when it can only go on after :meth:`FakeFleet.wake`."""

Turns = Iterator[str | None]
Piece = Iterator[m.OperationProgress]


class FakeAgent:
    """What the agent does with one request."""

    def __init__(self, fleet: FakeFleet, call: FakeCall, kind: str, params: Any) -> None:
        self.fleet = fleet
        self.call = call
        self.kind = kind
        self.params = params
        self.session = call.session
        self.host = call.session.host_state

    def run(self) -> Turns:
        """Do it, one piece at each turn, and answer."""
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

    def _run(self) -> Turns:
        if self.kind != "perform":
            self.fleet.reach(self.host, f"{self.kind} arrives")
        yield None
        if self.session.closed:
            return
        if m.METHODS[self.kind].needs_lease:
            self._check_lease()
        result = getattr(self, f"_{self.kind}")()
        if self.kind == "perform":
            result = yield from result
        else:
            yield None
            self.fleet.reach(self.host, f"{self.kind} answers")
        if not self.session.closed:
            self.call.answer(result)

    def _check_lease(self) -> None:
        if self.host.holder is not self.session:
            raise Failing("no-lease", "this session holds no lease")
        if self.params.epoch != self.host.epoch:
            raise Failing("stale-epoch", "another epoch is in force")

    def _observe(self) -> m.HostReport:
        return self.host.report()

    def _acquire(self) -> m.Acquired:
        host, wanted = self.host, self.params
        if host.holder is not None:
            held = m.RemoteFailure("lease-held", "somebody else holds the lease", lease=host.lease)
            self.call.answer(error=RequestFailed(host.name, held))
        elif wanted.epoch <= host.epoch:
            raise Failing("stale-epoch", f"epoch {host.epoch} was seen")
        elif wanted.state and wanted.state != host.state:
            raise Failing("state-changed", "the host has changed")
        else:
            host.epoch = wanted.epoch
            host.holder = self.session
            host.lease = m.LeaseInfo(wanted.owner, wanted.reason, wanted.release, 1000.0, wanted.epoch)
        return m.Acquired(host.epoch)

    def _release(self) -> m.Done:
        self.host.holder = self.host.lease = None
        return m.Done()

    def _maintain(self) -> m.Done:
        change = self.host.maintenance.add if self.params.on else self.host.maintenance.discard
        change(self.params.route)
        return m.Done()

    def _commit(self) -> m.Done:
        self.host.releases[self.params.record.id] = self.params.record
        return m.Done()

    def _confirm(self) -> m.Confirmed:
        return self.host.router.confirm(self.params.cutover)

    def _perform(self) -> Iterator[str | None]:
        for op in self.params.operations:
            if op.kind in {"stop", "resume", "remove"} and not op.container:
                raise Failing("bad-request", "a container without an id")
        self.host.configs.update(self.params.contents)
        self.host.secrets.update(self.params.secrets)
        self.fleet.performed.append((self.host.name, self.params))
        return (yield from _Operations(self).run())


class _Operations:
    """The operations of one ``perform``."""

    def __init__(self, agent: FakeAgent) -> None:
        self.fleet, self.host = agent.fleet, agent.host
        self.call, self.session = agent.call, agent.session
        self.open = {op.id: op for op in agent.params.operations}
        self.working: dict[int, Piece] = {}
        self.hung: set[int] = set()
        self.outcomes: dict[int, m.OperationProgress] = {}
        self.made: dict[int, str] = {}

    def run(self) -> Iterator[str | None]:
        while self.open and not self.session.closed:
            self._admit()
            going = [n for n in self.open if n in self.working and n not in self.hung]
            if going:
                self._go_on(self.fleet.random.choice(going) if self.fleet.random else going[0])
                yield None
            elif self.open:
                assert self.hung, "an operation waits for one that is not there"
                yield PARKED
        return m.Performed(tuple(self.outcomes[number] for number in sorted(self.outcomes)))

    def _admit(self) -> None:
        """Begin what may begin, and end what never will."""
        for op in list(self.open.values()):
            if any(self.outcomes[b].phase == "failed" for b in op.after if b in self.outcomes):
                self._fail(op.id, m.Failure("upstream", "an earlier one failed"))
            elif self.call.cancelled and (op.id not in self.working or op.id in self.hung):
                self._fail(op.id, m.Failure("cancelled", "stopped on request"))
            elif self.call.cancelled and op.kind == "start":
                self._fail(op.id, m.Failure("cancelled", "stopped on request"))
                self.host.containers.pop(self.made.get(op.id, ""), None)
            elif op.id not in self.working and all(b in self.outcomes for b in op.after):
                self.working[op.id] = self._operation(op)

    def _go_on(self, number: int) -> None:
        try:
            news = next(self.working[number], None)
        except Failing as error:
            if container := self.host.containers.get(self.made.get(number, "")):
                container.state = "exited"
            self._fail(number, error.failure)
        except Hanging:
            self.hung.add(number)
        else:
            if news is None or self.session.closed:
                return
            self.call.progress(news)
            if news.phase == "done":
                self.outcomes[number] = news
                del self.open[number]

    def _fail(self, number: int, failure: m.Failure) -> None:
        container = self.made.get(number, "") or self.open[number].container
        news = m.OperationProgress(number, "failed", container, failure=failure, seconds=failure.seconds)
        self.outcomes[number] = news
        del self.open[number]
        self.call.progress(news)

    def _operation(self, op: m.Operation) -> Piece:
        def at(phase: str) -> bool:
            """Reach a point; tell whether the agent still lives after it."""
            name = f"{op.service}[{op.slot}]" if op.service else op.name
            self.fleet.reach(self.host, f"{op.kind} {name} {phase}")
            return not self.session.closed

        if op.kind in KINDS:
            return self.host.router.carry_out(op, at)
        piece: Piece = getattr(self, f"_{op.kind}", self._dispose)(op, at)
        return piece

    def _start(self, op: m.Operation, at: Callable[[str], bool]) -> Piece:
        if not at("creating"):
            return
        config = op.config
        assert config is not None
        if config.image not in self.host.images:
            raise Failing("engine", f"no such image: {config.image}")
        if {c.sha256 for c in config.configs} - self.host.configs:
            raise Failing("bad-request", "the content of a config is missing")
        if {s.hmac for s in config.secrets} - self.host.secrets:
            raise Failing("bad-request", "the value of a secret is missing")
        wanted = (op.service, op.slot, op.release, config)
        ours = [
            c.id
            for c in self.host.containers.values()
            if (c.service, c.slot, c.release, c.config) == wanted and c.state in {"created", "running"}
        ]
        found = ours[0] if ours else self.host.add(config, op.slot, op.release, "created")
        self.made[op.id] = found
        yield m.OperationProgress(op.id, "creating", "")
        if not at("starting"):
            return
        self.host.run(found)
        yield m.OperationProgress(op.id, "starting", found)
        if not at("checking"):
            return
        yield m.OperationProgress(op.id, "checking", found)
        if at("healthy"):
            yield m.OperationProgress(op.id, "done", found, "adopted" if ours else "", seconds=1.0)

    def _resume(self, op: m.Operation, at: Callable[[str], bool]) -> Piece:
        if not at("starting"):
            return
        if op.container not in self.host.containers:
            raise Failing("not-found", f"no such container: {op.container}")
        if op.container not in self.host.running:
            self.made[op.id] = op.container
            self.host.run(op.container)
        yield m.OperationProgress(op.id, "starting", op.container)
        if at("healthy"):
            yield m.OperationProgress(op.id, "done", op.container, seconds=1.0)

    def _stop(self, op: m.Operation, at: Callable[[str], bool]) -> Piece:
        if not at("stopping"):
            return
        yield m.OperationProgress(op.id, "stopping", op.container)
        if self.session.closed:
            return
        if op.container in self.host.running:
            self.host.router.stops(op.container)
            self.host.containers[op.container].state = "exited"
        if at("stopped"):
            yield m.OperationProgress(op.id, "done", op.container, seconds=1.0)

    def _dispose(self, op: m.Operation, at: Callable[[str], bool]) -> Piece:
        """Carry out one of the kinds that take away."""
        if not at("removing"):
            return
        if op.kind == "remove" and op.container in self.host.running:
            raise Failing("conflict", "it runs")
        self.host.containers.pop(op.container, None)
        if op.kind == "forget":
            self.host.releases.pop(op.name, None)
        self.host.volumes.discard(op.name)
        self.host.images.discard(op.name)
        yield m.OperationProgress(op.id, "done", op.container)
