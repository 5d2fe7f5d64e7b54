"""What each step is called, in one place, so that all views say the same.

Owns the words for steps and changes and the little a view remembers to choose them well (the plan, the
names of images). Must not know how a line is laid out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.events import BuildFinished, Event, Planned
from orchestrator.planning.types import Action, Change, Plan, Step, StepKind
from orchestrator.report.text import clean, short_id

_DOING: Mapping[StepKind, str] = {
    StepKind.SHIP: "sending",
    StepKind.START: "starting",
    StepKind.STOP: "stopping",
    StepKind.RESUME: "resuming",
    StepKind.REMOVE: "removing",
    StepKind.COMMIT: "recording",
    StepKind.FORGET: "forgetting",
    StepKind.REMOVE_VOLUME: "removing",
    StepKind.REMOVE_IMAGE: "removing",
    StepKind.ROUTER: "configuring",
    StepKind.ATTACH: "attaching",
    StepKind.DETACH: "detaching",
    StepKind.SHIFT: "shifting",
    StepKind.DRAIN: "draining",
    StepKind.WATCH: "watching",
    StepKind.CHECK: "checking",
    StepKind.JOB: "running",
    StepKind.ARM: "arming",
    StepKind.DISARM: "disarming",
    StepKind.CONFIRM: "confirming",
    StepKind.HOLD: "holding",
    StepKind.UNHOLD: "forgetting",
}
_DONE: Mapping[StepKind, str] = {
    StepKind.SHIP: "sent",
    StepKind.START: "healthy",
    StepKind.STOP: "stopped",
    StepKind.RESUME: "resumed",
    StepKind.REMOVE: "removed",
    StepKind.COMMIT: "recorded",
    StepKind.FORGET: "forgotten",
    StepKind.REMOVE_VOLUME: "removed",
    StepKind.REMOVE_IMAGE: "removed",
    StepKind.ROUTER: "configured",
    StepKind.ATTACH: "attached",
    StepKind.DETACH: "detached",
    StepKind.SHIFT: "shifted",
    StepKind.DRAIN: "drained",
    StepKind.WATCH: "stayed healthy",
    StepKind.CHECK: "passed",
    StepKind.JOB: "ran",
    StepKind.ARM: "armed",
    StepKind.DISARM: "disarmed",
    StepKind.CONFIRM: "confirmed",
    StepKind.HOLD: "held",
    StepKind.UNHOLD: "forgotten",
}
_INSTANCE_STEPS = frozenset(
    (
        StepKind.START,
        StepKind.STOP,
        StepKind.RESUME,
        StepKind.REMOVE,
        StepKind.ATTACH,
        StepKind.DETACH,
        StepKind.DRAIN,
        StepKind.CHECK,
    )
)
_TRAFFIC_STEPS = frozenset((StepKind.SHIFT, StepKind.WATCH))
_HOST_STEPS: Mapping[StepKind, str] = {
    StepKind.ROUTER: "router",
    StepKind.ARM: "way back",
    StepKind.DISARM: "way back",
    StepKind.CONFIRM: "cutover",
}

CREATES = frozenset((Action.CREATE,))
REPLACES = frozenset((Action.REPLACE, Action.REPLACE_STOP_FIRST, Action.RESUME))
REMOVES = frozenset((Action.REMOVE,))


@dataclass
class Memory:
    """What a view remembers of the run so far in order to word what comes next."""

    plan: Plan | None = None
    names: dict[str, str] = field(default_factory=dict)
    """Image id -> its name in the spec."""

    def observe(self, event: Event) -> None:
        """Take note of the plan and of images that got their ids."""
        if isinstance(event, Planned):
            self.plan = event.plan
            self.names.update({item.id: item.name for item in event.plan.desired.artifacts if item.id})
        elif isinstance(event, BuildFinished):
            self.names[event.id] = event.image

    def image(self, identity: str) -> str:
        """Return the name of an image, or the start of its id when it has none."""
        return clean(self.names.get(identity, "")) or short_id(identity)

    def subject(self, step: Step) -> str:
        """Return what ``step`` is about: ``api[1]``, ``image tomcat``, ``release r5``."""
        if step.kind in _INSTANCE_STEPS:
            named = clean(f"{step.service}[{step.slot}]")
            return named if step.service else f"container {short_id(step.container)}"
        if about := _about_traffic(step):
            return about
        if step.kind is StepKind.SHIP:
            return f"image {self.image(step.image)}"
        if step.kind is StepKind.REMOVE_IMAGE:
            return f"image {self.image(step.name or step.image)}"
        if step.kind is StepKind.REMOVE_VOLUME:
            return clean(f"volume {step.name}")
        release = step.name or (step.record.id if step.record else "")
        return clean(f"release {release}")

    def standing(self, step: Step) -> str:
        """Return what still runs after ``step`` failed, one clause; empty when nothing is known."""
        change = self._change(step)
        if change is None or step.kind not in {StepKind.START, StepKind.RESUME}:
            return ""
        if change.action is Action.CREATE or change.current is None:
            return f"nothing ran as {clean(change.name)} before; no other instance is touched by this"
        old = clean(f"{change.name} of release {change.current.container.release}")
        if change.action is Action.REPLACE_STOP_FIRST:
            return f"{old} was stopped first and is started again"
        if change.current.container.state != "running":
            return f"{old} was {clean(change.current.container.state)} before and stays so"
        return f"{old} keeps running"

    def _change(self, step: Step) -> Change | None:
        if self.plan is None:
            return None
        wanted = (step.service, step.slot, step.host)
        found = (c for c in self.plan.changes if (c.service, c.slot, c.host) == wanted)
        return next((c for c in found if c.action is not Action.DISCARD), None)


def _about_traffic(step: Step) -> str:
    """Return what a step is about that concerns routers as a whole, a service's traffic or a job."""
    if step.kind in _TRAFFIC_STEPS:
        return clean(f"{step.service}{_share(step)}")
    if step.kind is StepKind.JOB:
        return clean(f"job {step.name}")
    return _HOST_STEPS.get(step.kind, "")


def _share(step: Step) -> str:
    """Return `` 5%`` for a step of a canary, else nothing."""
    _, _, share = step.id.rpartition(" ")
    return f" {share}" if share.endswith("%") else ""


def doing(step: Step) -> str:
    """Return the word for a step under way: ``starting``."""
    return _DOING[step.kind]


def done(step: Step) -> str:
    """Return the word for a step that ended well: ``healthy``, or ``running`` where nothing checks."""
    if step.kind is StepKind.START and step.desired and step.desired.config.healthcheck.type == "none":
        return "running"
    return _DONE[step.kind]


def counts(plan: Plan) -> dict[str, int]:
    """Return how many instances are created, replaced, removed and kept, as ``Finished.changes`` has them.

    A resumed instance counts as replaced; discarding a leftover changes nothing that serves, so it is
    not counted.
    """
    actions = [change.action for change in plan.changes]
    return {
        "create": sum(action in CREATES for action in actions),
        "replace": sum(action in REPLACES for action in actions),
        "remove": sum(action in REMOVES for action in actions),
        "keep": actions.count(Action.KEEP),
    }
