"""Which function carries out which operation on traffic, and the methods ``confirm`` and ``maintain``.

Owns the table, the check of what comes from outside, and finding the container a message names. What
each does is in the module it names.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterator, Set, Tuple

from orchestrator.agent import containers
from orchestrator.agent.containers import Identity
from orchestrator.agent.engine import Engine
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.journal import Journal
from orchestrator.agent.router import guard, holding, jobs, moves, observing, watchman
from orchestrator.agent.router.lifecycle import Lifecycle
from orchestrator.agent.router.moves import Located
from orchestrator.agent.router.requests import LONGEST, given
from orchestrator.agent.router.steering import Steering
from orchestrator.agent.router.table import Key
from orchestrator.protocol.messages import Confirm, Confirmed, Done, Maintain, Operation
from orchestrator.protocol.routing import Arm, Check, RouterConfig, Shift, Watch

Tell = Callable[[str, str, str], None]

CUTOVER_KINDS = frozenset({"router", "attach", "detach", "shift", "drain", "arm"})
"""Whoever asks for one of these has the project in his hands: an older run's cutover is over."""


@dataclass(frozen=True)
class Scene:
    """What an operation acts on."""

    journal: Journal
    context: Context
    epoch: int

    @property
    def engine(self) -> Engine:
        """The host's engine."""
        return self.context.engine

    @property
    def cancelled(self) -> threading.Event:
        """Set when somebody asks to stop."""
        return self.context.cancelled

    def steering(self) -> Steering:
        """Return the router in force; raises ``OperationFailed`` when there is none."""
        steering = Lifecycle(self.engine, self.journal).steering()
        steering.cancelled = self.cancelled
        return steering

    def find(self, key: Key) -> Dict[str, Any]:
        """Return the inspect of the container of (service, slot, release).

        Raises:
            OperationFailed: ``not-found``: there is none.
        """
        service, slot, release = key
        labels = [
            f"{containers.PROJECT}={self.journal.project}",
            f"{containers.SERVICE}={service}",
            f"{containers.SLOT}={slot}",
            f"{containers.RELEASE}={release}",
        ]
        listing = self.engine.get("/containers/json", {"all": True, "filters": {"label": labels}}) or ()
        found = [item for item in listing if containers.JOB not in (item.get("Labels") or {})]
        if not found:
            raise OperationFailed("not-found", f"there is no container {service}[{slot}] of {release}")
        return dict(self.engine.get(f"/containers/{found[0]['Id']}/json"))


def settle(context: Context, journal: Journal, epoch: int, kinds: Set[str]) -> None:
    """Take back what an older run left unconfirmed, before this one moves anything.

    Raises:
        Refusal, EngineError, OSError: It did not work out; nothing must be moved.
    """
    if kinds & CUTOVER_KINDS:
        with _answering():
            guard.settle(context.engine, journal, epoch)


def carry_out(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    """Carry out one operation on traffic; return (container id or empty, remark).

    Raises:
        OperationFailed: It did not work out.
        RouterSilent, RouterRefused, EngineError, OSError, BadNameError: Likewise.
    """
    return _KINDS[operation.kind](scene, operation, tell)


def confirm(params: Confirm, context: Context) -> Confirmed:
    """Decide a cutover, over a connection that was made after it; the cutover is the capability."""
    journal = Journal(context.paths, params.project)
    state = guard.confirm(journal, params.cutover)
    if state == guard.REVERTED:
        with _answering():
            guard.settle(context.engine, journal)
    return Confirmed(state)


def maintain(params: Maintain, context: Context) -> Done:
    """Switch a route's maintenance page, at once and for good.

    Raises:
        Refusal: ``not-found``: there is no such route; ``bad-request``: the spec says otherwise.
    """
    journal = Journal(context.paths, params.project)
    lifecycle = Lifecycle(context.engine, journal)
    config = lifecycle.home.picture()
    routes = {route.name: route for one in (config.listeners if config else ()) for route in one.routes}
    route = routes.get(params.route)
    if route is None:
        raise Refusal("not-found", f"the router has no route {params.route[:80]!r}")
    if route.maintenance and not params.on:
        message = f"the spec keeps route {route.name!r} in maintenance"
        raise Refusal("bad-request", message, hint="change the spec")
    with _answering(), lifecycle.home.locked():
        steering = lifecycle.steering()
        steering.record(moves.healed(steering).maintained(params.route, on=params.on))
    return Done()


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    """Give the reason why traffic could not be moved as the answer to a request of its own."""
    try:
        yield
    except OperationFailed as failed:
        raise Refusal(failed.failure.code, failed.failure.message, context=failed.failure.logs) from failed


# --- one function a kind ----------------------------------------------------------------------------


def _router(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    lifecycle = Lifecycle(scene.engine, scene.journal)
    with lifecycle.home.locked():
        if operation.router is None:
            return "", lifecycle.remove()
        config: RouterConfig = operation.router
        return "", lifecycle.ensure(config, lambda detail: tell("routing", "", detail))


def _attach(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    key = _key(operation)
    inspect = scene.find(key)
    container = str(inspect["Id"])
    address = containers.address_of(inspect, scene.journal.project)
    if not containers.is_running(inspect) or address is None:
        name = containers.name_of(inspect)
        raise OperationFailed("exited", f"container {name!r} does not run", container=container)
    tell("attaching", container, "")
    return container, moves.attach(scene.steering(), key, Located(container, address))


def _detach(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    tell("detaching", "", "")
    if Lifecycle(scene.engine, scene.journal).home.picture() is None:
        return "", "was out already"
    return "", moves.detach(scene.steering(), _key(operation))


def _shift(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    shift: Shift = given(operation.shift, operation)
    steering = scene.steering()
    table = steering.home.table()
    if table.shifted(shift.service, shift.members) != table:
        guard.refuse_after_revert(scene.journal, scene.epoch)
    tell("shifting", "", "")
    return "", moves.shift(steering, shift)


def _drain(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    tell("draining", "", "")
    if Lifecycle(scene.engine, scene.journal).home.picture() is None:
        return "", "was out already"
    told: Callable[[str], None] = lambda detail: tell("draining", "", detail)  # noqa: E731
    return "", moves.drain(scene.steering(), _key(operation), operation.seconds, told)


def _watch(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    order: Watch = given(operation.watch, operation)
    tell("watching", "", f"{order.service} for {order.seconds:g} s")
    config = Lifecycle(scene.engine, scene.journal).home.picture()
    routed = config is not None and any(one.service == order.service for one in config.backends)
    steering = scene.steering() if routed else None
    remark = observing.watch(
        scene.engine, scene.journal, steering, order, find=scene.find, cancelled=scene.cancelled
    )
    return "", remark


def _check(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    order: Check = given(operation.check, operation)
    inspect = scene.find((order.service, order.slot, order.release))
    container = str(inspect["Id"])
    tell("checking", container, " ".join(order.command) or order.http)
    return container, observing.check(scene.engine, scene.journal.project, order, inspect)


def _job(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    config = given(operation.config, operation)
    identity = Identity(scene.journal.project, operation.service, operation.slot, operation.release)
    remark = jobs.run(
        scene.engine,
        scene.journal,
        identity,
        config,
        name=operation.name,
        seconds=operation.seconds or LONGEST,
        cancelled=scene.cancelled,
        tell=lambda container: tell("running", container, operation.name),
    )
    return "", remark


def _arm(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    order: Arm = given(operation.arm, operation)
    tell("arming", "", "")
    lifecycle = Lifecycle(scene.engine, scene.journal)
    with lifecycle.home.locked():
        remark = guard.arm(scene.journal, order)
    try:
        watchman.start(scene.engine, scene.journal, scene.context.paths.root)
    except BaseException:
        guard.disarm(scene.journal, order.cutover)
        raise
    return "", remark


def _disarm(scene: Scene, operation: Operation, tell: Tell) -> Tuple[str, str]:
    tell("disarming", "", "")
    return "", guard.disarm(scene.journal, given(operation.arm, operation).cutover)


def _hold(scene: Scene, operation: Operation, _: Tell) -> Tuple[str, str]:
    holding.hold(scene.journal, given(operation.held, operation))
    return "", ""


def _unhold(scene: Scene, _: Operation, __: Tell) -> Tuple[str, str]:
    holding.unhold(scene.journal)
    return "", ""


_KINDS: Dict[str, Callable[[Scene, Operation, Tell], Tuple[str, str]]] = {
    "router": _router,
    "attach": _attach,
    "detach": _detach,
    "shift": _shift,
    "drain": _drain,
    "watch": _watch,
    "check": _check,
    "job": _job,
    "arm": _arm,
    "disarm": _disarm,
    "hold": _hold,
    "unhold": _unhold,
}

KINDS = frozenset(_KINDS)
"""Operations that are carried out here."""


def _key(operation: Operation) -> Key:
    return (operation.service, operation.slot, operation.release)
