"""After everything stands: the record, and what may go then.

Owns the commits (one host after all others' work, the rest after it, so that a release is recorded
nowhere or wherever it should be), the retirement of old instances, late jobs and the clean-up. Nothing
that comes after the record can fail the release.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.planning.rollout import pictures, plain
from orchestrator.planning.rollout.order import sinks
from orchestrator.planning.rollout.parts import Parts
from orchestrator.planning.rollout.pictures import Pictures
from orchestrator.planning.rollout.traffic import Traffic, old
from orchestrator.planning.types import Action, Change, JobPhase, Step, StepKind
from orchestrator.protocol.messages import ReleaseRecord


class Ending:
    """The end of one rollout.

    Args:
        parts: The plan.
        traffic: Who got it before, and gets it now.
        essential: All steps before the record.
        records: What to record on each host.
    """

    def __init__(
        self,
        parts: Parts,
        traffic: Traffic,
        essential: Sequence[Step],
        records: Mapping[str, ReleaseRecord],
    ) -> None:
        self._parts = parts
        self._plan = parts.plan
        self._traffic = traffic
        self._sinks = sinks(essential)
        self._commits: dict[str, Step] = {}
        for host in self._plan.participants:
            first = next(iter(self._commits.values()), None)
            after = self._sinks if first is None else (first.id,)
            name = f"commit {host}"
            self._commits[host] = Step(name, StepKind.COMMIT, host, after, record=records[host])

    def steps(
        self, retired: Sequence[Change], removed: Sequence[Change], routers: Sequence[Pictures]
    ) -> Iterator[Step]:
        """Yield everything from the record on.

        Args:
            retired: Changes whose old instance has had its traffic from a router until now.
            removed: Changes that remove something no router served and that was left until now.
            routers: The pictures of every router that changes.
        """
        yield from self._commits.values()
        late = [*self._retirement(retired), *self._removals(removed)]
        for made in routers:
            host = made.change.host
            ends = tuple(step.id for step in late if step.host == host and step.kind in _ENDS_TRAFFIC)
            late += pictures.finish(self._parts, made, (*self._gate(host), *ends))
        # A plan that records nothing (a destroy) is only done when all of this is.
        yield from (replace(step, essential=not self._commits) for step in late)
        for service, _ in self._parts.order:
            yield from self._parts.jobs(service, JobPhase.AFTER_CONFIRM, self._last)
        for host in self._plan.unholds:
            name = self._parts.name(f"unhold {host}")
            yield Step(name, StepKind.UNHOLD, host, self._gate(host), essential=False)
        stopped = {step.container: step.id for step in late if step.kind is StepKind.STOP}
        warm = {c.current.container.id for c in retired if c.current is not None and self._stays_warm(c)}
        yield from self._clean_up(stopped, warm)

    @property
    def _last(self) -> tuple[str, ...]:
        return tuple(step.id for step in list(self._commits.values())[-1:]) or self._sinks

    def _gate(self, host: str) -> tuple[str, ...]:
        """Return what anything late on a host waits for: its own record, if it gets one."""
        return (self._commits[host].id,) if host in self._commits else self._last

    def _stays_warm(self, change: Change) -> bool:
        """Tell whether an old instance goes on running, without traffic, for a quick way back."""
        served = change.current is not None and any(
            (member.slot, member.release) == old(change)
            for member in self._traffic.served(change.host, change.service)
        )
        place = (change.host, change.service, change.slot)
        wanted = any((item.host, *item.key) == place for item in self._plan.desired.instances)
        return served and wanted and self._parts.policy(change.service, routed=True).keep_old > 0

    def _retirement(self, retired: Sequence[Change]) -> Iterator[Step]:
        for change in retired:
            if self._stays_warm(change):
                continue
            drain = self._traffic.drain(change, self._gate(change.host))
            if drain is not None:
                yield drain
            # A drain that fails holds up nothing, but one that was never tried stands for no record.
            after = (*self._gate(change.host), *((drain.id,) if drain is not None else ()))
            if (stop := self._parts.stop(change, after)) is not None:
                yield stop

    def _removals(self, removed: Sequence[Change]) -> Iterator[Step]:
        for step in plain.removals(self._parts, removed, self._last, {}):
            yield step if step.after else replace(step, after=self._gate(step.host))

    def _clean_up(self, stopped: Mapping[str, str], warm: Collection[str]) -> Iterator[Step]:
        removes: defaultdict[str, list[str]] = defaultdict(list)
        for change in self._plan.changes:
            if change.action is not Action.DISCARD or change.current is None:
                continue
            container = change.current.container.id
            if container in warm:
                continue
            name = self._parts.name(f"remove {change.host} {change.name} {container[:12]}", container)
            gate = self._gate(change.host)
            yield Step(
                name,
                StepKind.REMOVE,
                change.host,
                (*gate, stopped[container]) if container in stopped else gate,
                service=change.service,
                slot=change.slot,
                container=container,
                essential=False,
            )
            removes[change.host].append(name)
        for kind, items in (
            (StepKind.FORGET, self._plan.forgets),
            (StepKind.REMOVE_IMAGE, self._plan.images),
            (StepKind.REMOVE_VOLUME, self._plan.volumes),
        ):
            for host, what in items:
                label = what.removeprefix("sha256:")[:12] if kind is StepKind.REMOVE_IMAGE else what
                yield Step(
                    self._parts.name(f"{kind.value} {host} {label}", what),
                    kind,
                    host,
                    (*self._gate(host), *removes[host]),
                    name=what,
                    essential=False,
                )


_ENDS_TRAFFIC = frozenset({StepKind.DRAIN, StepKind.STOP})
