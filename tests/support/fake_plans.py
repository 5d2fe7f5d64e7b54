"""Steps and plans made by hand, for tests of what carries them out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from orchestrator.planning.types import Desired, DesiredInstance, Plan, Step, StepKind
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import ReleaseRecord

RECORD = ReleaseRecord("r2", 1.0, "ann@ci", "0" * 64)


def config(service: str = "api", image: str = "sha256:new", **fields: object) -> InstanceConfig:
    """Return a configuration."""
    return InstanceConfig("shop", service, image, **fields)  # type: ignore[arg-type]


def start(
    host: str, service: str = "api", slot: int = 1, after: Sequence[str] = (), **fields: object
) -> Step:
    """Return a start of a new instance; ``fields`` are the desired instance's."""
    wanted = fields.pop("config", None) or config(service)
    desired = DesiredInstance(service, slot, host, wanted, "app", **fields)  # type: ignore[arg-type]
    name = f"start {host} {service}[{slot}]"
    return Step(name, StepKind.START, host, tuple(after), service, slot, desired)


def stop(host: str, container: str, service: str = "api", slot: int = 1, after: Sequence[str] = ()) -> Step:
    """Return a stop of an old instance."""
    name = f"stop {host} {service}[{slot}]"
    return Step(name, StepKind.STOP, host, tuple(after), service, slot, container=container)


def ship(host: str, image: str = "sha256:new") -> Step:
    """Return a ship of an image."""
    return Step(f"ship {host} {image}", StepKind.SHIP, host, image=image)


def commit(host: str, after: Sequence[str]) -> Step:
    """Return the commit of one host."""
    return Step(f"commit {host}", StepKind.COMMIT, host, tuple(after), record=RECORD)


def remove(host: str, container: str, after: Sequence[str] = (), service: str = "api") -> Step:
    """Return a clean-up of an old instance."""
    name = f"remove {host} {container}"
    return Step(name, StepKind.REMOVE, host, tuple(after), service, 1, container=container, essential=False)


def plan(**fields: object) -> Plan:
    """Return a plan of nothing in particular: what is done is said by the steps beside it."""
    desired = Desired("shop", "0" * 64, (), (), (), ())
    return Plan("shop", "r2", "apply", desired, (), **fields)  # type: ignore[arg-type]


def undo(steps: Sequence[Step], begun: Collection[str], containers: Mapping[str, str]) -> tuple[Step, ...]:
    """Take back what was begun, in reverse order: the simplest thing that is right."""
    back: list[Step] = []
    for step in reversed(steps):
        if step.id not in begun or step.kind not in _BACK:
            continue
        name = f"undo {step.id}"
        after = tuple(f"undo {s.id}" for s in steps if step.id in s.after and s.id in begun)
        container = containers.get(step.id, "") if step.kind is StepKind.START else step.container
        record = step.record.id if step.record else ""
        kept = tuple(a for a in after if any(b.id == a for b in back))
        back.append(
            Step(
                name, _BACK[step.kind], step.host, kept, step.service, step.slot, None, container, "", record
            )
        )
    return tuple(back)


_BACK = {
    StepKind.START: StepKind.STOP,
    StepKind.STOP: StepKind.RESUME,
    StepKind.RESUME: StepKind.STOP,
    StepKind.COMMIT: StepKind.FORGET,
}
