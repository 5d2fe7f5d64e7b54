"""The flow of a change, on one screen.

::

    load -> observe -> desired -> plan -> confirm -> build -> plan again -> apply

Owns the order of the stages and nothing else: every stage is a function of another module. Rollback,
destroy and prune are the same flow with another plan.
"""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.errors import DeployError, Interrupted, PlanStale, RequestError
from orchestrator.events import Finished, Listener, Planned
from orchestrator.execution.apply import Outcome, apply
from orchestrator.execution.loop import Interrupt
from orchestrator.headstart import HeadStart
from orchestrator.inputs import Loaded, load
from orchestrator.options import Options
from orchestrator.planning import destroy, prune, rollback, saved
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.types import Observed, Plan
from orchestrator.wiring import Workbench

Confirm = Callable[[Plan], bool]
"""Asks about the plan that was just announced; ``False`` means no."""


class Work(Protocol):
    """One kind of change."""

    @property
    def options(self) -> Options:
        """What the user asked for."""
        ...

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:
        """Return what to do, given what is there and which images exist."""
        ...


@dataclass(frozen=True)
class Apply:
    """Make the fleet what the spec says."""

    options: Options
    saved: Mapping[str, Any] | None = None
    """A saved plan's document: carry out exactly that, or refuse."""

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:
        """See :class:`Work`."""
        return reconcile(bench.desired(seen, known), seen, limit=bench.limit)


@dataclass(frozen=True)
class Rollback:
    """Put an earlier release in force again, with its own configuration."""

    options: Options
    release: str | None = None
    """``None``: the one before the current."""

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:  # noqa: ARG002 - a release knows its images
        """See :class:`Work`."""
        return rollback.rollback(bench.loaded.name, seen, self.release, limit=bench.limit)


@dataclass(frozen=True)
class Destroy:
    """Remove everything of the project."""

    options: Options
    volumes: bool = False

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:  # noqa: ARG002
        """See :class:`Work`."""
        return destroy.destroy(bench.loaded.name, seen, volumes=self.volumes, limit=bench.limit)


@dataclass(frozen=True)
class Prune:
    """Remove what no kept release needs."""

    options: Options
    keep: int | None = None

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:  # noqa: ARG002
        """See :class:`Work`."""
        return prune.prune(bench.loaded.name, seen, keep=self.keep, limit=bench.limit)


def run(
    work: Work,
    listener: Listener,
    *,
    confirm: Confirm | None,
    interrupt: Interrupt,
    ahead: HeadStart | None = None,
) -> Outcome:
    """Carry one change out from start to end, and say how it went in a last ``Finished`` event."""
    started = time.monotonic()
    bench: Workbench | None = None
    try:
        loaded = load(work.options, ahead.inventory if ahead is not None else None)
        with Workbench(loaded, listener, interrupt, ahead) as bench:
            outcome = _carry_out(work, bench, confirm)
    except DeployError as failed:
        outcome = Outcome(ok=False, error=failed)
    except KeyboardInterrupt:
        outcome = Outcome(ok=False, error=Interrupted("interrupted; nothing was changed"))
    error = outcome.error
    sessions = bench.fleet.sessions if bench is not None else {}
    listener(
        Finished(
            ok=outcome.ok,
            exit_code=0 if error is None else error.exit_code,
            release=outcome.release,
            changes=outcome.counts,
            bytes_sent=sum(session.bytes_sent for session in sessions.values()),
            round_trips={host: session.round_trips for host, session in sorted(sessions.items())},
            seconds=time.monotonic() - started,
            error=error.message if error is not None else "",
            hint=(error.hint or "") if error is not None else "",
            context=error.context if error is not None else (),
        )
    )
    return outcome


def _carry_out(work: Work, bench: Workbench, confirm: Confirm | None) -> Outcome:
    with bench.interrupt.harmless():
        made = _settle(work, bench, confirm)
    if made is None:
        return Outcome(ok=False, error=Interrupted("not confirmed; nothing was changed"))
    world = bench.world(made.epoch + 1, time.monotonic)
    return apply(made, world, author=author(), clock=time.time)


def _settle(work: Work, bench: Workbench, confirm: Confirm | None) -> Plan | None:
    """Return the plan to carry out, its images built, or ``None`` when the user does not want it."""
    seen = bench.observe()
    known = bench.known(seen)
    made = work.plan(bench, seen, known)
    if isinstance(work, Apply) and work.saved is not None:
        refuse_if_stale(work.saved, made)
    bench.listener(Planned(made))
    if confirm is not None and not made.empty and not confirm(made):
        return None
    lacking = _lacking(bench, made)
    if isinstance(work, Apply) and (lacking or made.builds):
        known = bench.build({key: id_ for key, id_ in known.items() if id_ not in lacking}, made.starts)
        made = work.plan(bench, seen, known)
    return made


def _lacking(bench: Workbench, made: Plan) -> set[str]:
    """Return the image ids to build anew: a placeholder for what has none, and ids nobody holds."""
    images = {image for _, image in made.ships}
    return {image for image in images if not image.startswith("sha256:") or not bench.obtainable(image)}


def plan(options: Options, listener: Listener, ahead: HeadStart | None = None) -> tuple[Plan, Loaded]:
    """Return what an apply would do.

    Raises:
        DeployError: The spec is wrong, or a host that matters cannot be reached.
    """
    loaded = load(options, ahead.inventory if ahead is not None else None)
    with Workbench(loaded, listener, ahead=ahead) as bench:
        seen = bench.observe()
        return Apply(options).plan(bench, seen, bench.known(seen)), bench.loaded


def build(options: Options, listener: Listener) -> dict[str, str]:
    """Build the images that changed; return an id for every image of the spec, by name."""
    with Workbench(load(options), listener) as bench:
        own = {recipe.key: id_ for recipe in bench.recipes if (id_ := bench.store.image(recipe.key))}
        known = bench.build(own)
        return {recipe.name: known[recipe.key] for recipe in bench.recipes}


def document(made: Plan, options: Options) -> dict[str, Any]:
    """Return the plan as a document that `deploy apply` takes: no secrets, and how it was asked for."""
    asked = {
        "specs": [str(path) for path in options.specs],
        "inventory": str(options.inventory) if options.inventory is not None else None,
        "limit": list(options.limit),
        "builder": options.builder,
    }
    return saved.plan_document(made, asked)


def options_of(saved_plan: Mapping[str, Any], environ: Mapping[str, str]) -> Options:
    """Return the options a saved plan was made with.

    Raises:
        RequestError: It is not such a document.
    """
    try:
        asked = saved_plan["request"]
        return Options(
            specs=tuple(Path(path) for path in asked["specs"]),
            inventory=Path(asked["inventory"]) if asked["inventory"] is not None else None,
            limit=tuple(str(term) for term in asked["limit"]),
            builder=asked["builder"],
            environ=environ,
        )
    except (KeyError, TypeError) as error:
        raise RequestError(
            "cannot read the saved plan: it is damaged", hint="make it again with `deploy plan --out`"
        ) from error


def refuse_if_stale(saved_plan: Mapping[str, Any], fresh: Plan) -> None:
    """Return when ``fresh`` is the very plan that was saved.

    Raises:
        PlanStale: It differs; the context says in what.
    """
    changed = saved.differences(saved_plan, saved.plan_document(fresh))
    if changed:
        raise PlanStale(
            "the saved plan is out of date; nothing was changed",
            hint="look at the new plan: deploy plan",
            context=changed,
        )


def author() -> str:
    """Return ``user@machine``, as others see it while this run holds the lease."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
