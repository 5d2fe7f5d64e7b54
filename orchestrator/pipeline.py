"""The flow of a change, on one screen.

::

    load -> observe -> desired -> plan -> confirm -> build -> plan again -> apply

Owns the order of the stages and nothing else: every stage is a function of another module. Rollback,
promote, destroy and the rest are the same flow with another plan: see `works`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from orchestrator.errors import DeployError, Interrupted, PlanStale, RequestError
from orchestrator.events import Finished, Listener, Planned, Warned
from orchestrator.execution.apply import Outcome, apply, carry_out
from orchestrator.execution.loop import Interrupt
from orchestrator.headstart import HeadStart
from orchestrator.inputs import Loaded, load
from orchestrator.options import Options
from orchestrator.planning import hold, saved
from orchestrator.planning.observed import Index
from orchestrator.planning.types import Plan
from orchestrator.wiring import Workbench, author
from orchestrator.works import Apply, Work

Confirm = Callable[[Plan], bool]
"""Asks about the plan that was just announced; ``False`` means no."""


def run(
    work: Work,
    listener: Listener,
    *,
    confirm: Confirm | None,
    interrupt: Interrupt,
    ahead: HeadStart | None = None,
) -> Outcome:
    """Carry one change out from start to end, and say how it went in a last ``Finished`` event."""
    started = time.monotonic() if ahead is None else ahead.began
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
            release=outcome.release or outcome.held,
            held=bool(outcome.held),
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
    plan = made.plan if isinstance(made, hold.Settlement) else made
    world = bench.world(plan.epoch + 1, time.monotonic)
    if isinstance(made, hold.Settlement):
        return carry_out(plan, made.steps, world, author=author(), clock=time.time)
    return apply(plan, world, author=author(), clock=time.time)


def _settle(work: Work, bench: Workbench, confirm: Confirm | None) -> Plan | hold.Settlement | None:
    """Return what to carry out, its images built, or ``None`` when the user does not want it."""
    seen = bench.observe()
    known = bench.known(seen)
    made = work.plan(bench, seen, known)
    plan = made.plan if isinstance(made, hold.Settlement) else made
    if isinstance(work, Apply) and work.saved is not None:
        refuse_if_stale(work.saved, plan)
    bench.listener(Planned(plan))
    if confirm is not None and not plan.empty and not confirm(plan):
        return None
    lacking = _lacking(bench, plan)
    if isinstance(work, Apply) and (lacking or plan.builds):
        held = {key: id_ for key, id_ in known.items() if id_ not in lacking}
        known = bench.build(held, _wanted(plan, lacking))
        return work.plan(bench, seen, known)
    return made


def _lacking(bench: Workbench, made: Plan) -> set[str]:
    """Return the image ids to build anew: a placeholder for what has none, and ids nobody holds."""
    images = {image for _, image in made.ships}
    return {image for image in images if not image.startswith("sha256:") or not bench.obtainable(image)}


def _wanted(made: Plan, lacking: Collection[str]) -> set[str]:
    """Return the names of the images that the plan cannot do without: of services, and of routers."""
    gone = {artifact.name for artifact in made.desired.artifacts if artifact.id in lacking}
    return {*made.starts, *gone, *(artifact.name for artifact in made.builds)}


def plan(options: Options, listener: Listener, ahead: HeadStart | None = None) -> tuple[Plan, Loaded]:
    """Return what an apply would do.

    Raises:
        DeployError: The spec is wrong, or a host that matters cannot be reached.
    """
    loaded = load(options, ahead.inventory if ahead is not None else None)
    with Workbench(loaded, listener, ahead=ahead) as bench:
        seen = bench.observe()
        if held := hold.releases(Index(seen)):
            listener(
                Warned(
                    f"release {held[0]} is held: an apply is refused until it is promoted or aborted",
                    f"deploy promote {held[0]}, deploy abort {held[0]}, or deploy apply --replace-held",
                )
            )
        return Apply(options, replace_held=True).plan(bench, seen, bench.known(seen)), bench.loaded


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
