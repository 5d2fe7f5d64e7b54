"""What one slot needs: the decision between its desired instance and the containers there are.

Owns the rules, one slot at a time. It must not know other slots, hosts that are down, or retention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.planning.observed import ACTIVE, release_number
from orchestrator.planning.reasons import differences, state_reasons
from orchestrator.planning.types import Action, Change, DesiredInstance, Reason, Running
from orchestrator.protocol.messages import ReleasedInstance

_UNCHANGED = (Reason("unchanged", "unchanged"),)


@dataclass(frozen=True)
class Rules:
    """What the decision depends on besides the slot itself."""

    released: int
    """Number of the release in force: containers with a higher one were left by a run that was cut off."""
    gone: Reason
    """Why a slot that is not desired goes."""
    rollback: Reason | None = None
    """Set for a rollback: stopped containers of the right configuration are resumed."""
    warm: frozenset[tuple[str, str, int, str]] = frozenset()
    """(host, service, slot, digest) of what may run beside, for a quick way back, while nothing changes."""


def decide(
    slot: tuple[str, int],
    want: DesiredInstance | None,
    found: Sequence[Running],
    recorded: ReleasedInstance | None,
    rules: Rules,
) -> Iterator[Change]:
    """Yield what happens to a slot; nothing for stopped containers, which retention looks after.

    Args:
        slot: (service, number).
        want: What should run.
        found: All containers of the slot.
        recorded: What the release in force has in this slot.
        rules: See there.
    """
    active = [item for item in found if item.container.state in ACTIVE]
    if want is None:
        for item in active:
            yield Change(Action.REMOVE, *slot, item.host, (rules.gone,), current=item)
        return
    here = [item for item in found if item.host == want.host]
    fit = [item for item in here if _serves(item, want)]
    if fit:
        change = Change(Action.KEEP, *slot, want.host, _UNCHANGED, desired=want, current=max(fit, key=_age))
    else:
        change = _start(want, here, active, recorded, rules)
    yield change
    for item in active:
        warm = change.action is Action.KEEP and (item.host, *slot, item.container.digest) in rules.warm
        if item not in (change.current, change.resumes) and not warm:
            moved = item.host != want.host
            reason = (
                Reason("moved", f"moved to {want.host}")
                if moved
                else Reason("leftover", "a second container")
            )
            yield Change(Action.REMOVE, *slot, item.host, (reason,), current=item)


def _serves(item: Running, want: DesiredInstance) -> bool:
    container = item.container
    return (
        container.state == "running"
        and container.health != "unhealthy"
        and container.intact
        and container.digest == want.config.digest
    )


def _age(item: Running) -> tuple[int, str]:
    return (release_number(item.container.release), item.container.id)


def _start(
    want: DesiredInstance,
    here: Sequence[Running],
    active: Sequence[Running],
    recorded: ReleasedInstance | None,
    rules: Rules,
) -> Change:
    """Return the change that brings ``want`` up on its host."""
    twins = [item for item in here if item.container.digest == want.config.digest and item.container.intact]
    half = [item for item in twins if _half_started(item, rules)]
    stopped = [item for item in twins if item.container.state == "exited"] if rules.rollback else []
    resumes = max(half or stopped, key=_age, default=None)
    at_home = recorded is not None and recorded.host == want.host
    current = max(
        (item for item in here if item in active and item is not resumes),
        key=lambda item: (
            at_home and recorded is not None and recorded.digest == item.container.digest,
            _age(item),
        ),
        default=None,
    )
    if current is None and recorded is not None and at_home:
        # Nothing serves here, but the release in force says what should: that one is replaced.
        current = max(
            (item for item in here if item.container.digest == recorded.digest and item is not resumes),
            key=_age,
            default=None,
        )
    if half or resumes is None:
        swap = Action.REPLACE_STOP_FIRST if want.stop_first else Action.REPLACE
        action = Action.CREATE if current is None else swap
    else:
        action = Action.RESUME
    reasons = tuple(_reasons(want, current, active, recorded, rules))
    return Change(action, want.service, want.slot, want.host, reasons, want, current, resumes)


def _half_started(item: Running, rules: Rules) -> bool:
    """Whether a run that was cut off left it on its way up; a failed one is ``exited``."""
    return (
        item.container.state in ("created", "running")
        and release_number(item.container.release) > rules.released
    )


def _reasons(
    want: DesiredInstance,
    current: Running | None,
    active: Sequence[Running],
    recorded: ReleasedInstance | None,
    rules: Rules,
) -> Iterator[Reason]:
    if rules.rollback is not None:
        yield rules.rollback
    if current is not None:
        old = current.container
        if old.digest != want.config.digest:
            yield from differences(old.config, want.config, want.image)
        yield from state_reasons(old, active=old.state in ACTIVE)
        return
    before = active[0].host if active else recorded.host if recorded else want.host
    if before != want.host:
        yield Reason("moved", f"moved from {before}")
    elif recorded is not None:
        yield Reason("stopped", "its container is gone")
    elif rules.rollback is None:
        yield Reason("new", "new")
