"""The kinds of change a run can be: what each of them plans.

Owns which planner a command means, and what it takes to ask one. It must not know how a plan is
confirmed or carried out: that is the same for all, and `pipeline`'s.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from orchestrator.options import Options
from orchestrator.planning import destroy, hold, prune, rollback
from orchestrator.planning.hold import Settlement
from orchestrator.planning.observed import Index
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.types import Observed, Plan
from orchestrator.wiring import Workbench


class Work(Protocol):
    """One kind of change."""

    @property
    def options(self) -> Options:
        """What the user asked for."""
        ...

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan | Settlement:
        """Return what to do, given what is there and which images exist; with steps if it brings its own."""
        ...


@dataclass(frozen=True)
class Apply:
    """Make the fleet what the spec says."""

    options: Options
    saved: Mapping[str, Any] | None = None
    """A saved plan's document: carry out exactly that, or refuse."""
    hold: bool = False
    """Stop before the cutover, whatever the spec says; without anything to start there is no cutover."""
    replace_held: bool = False
    """Put the new release in the place of one that is held."""

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Plan:
        """See :class:`Work`.

        Raises:
            RequestError: A release is held and nobody said that it may go.
        """
        index = Index(seen)
        if not self.replace_held:
            hold.refuse(index)
        made = reconcile(bench.desired(seen, known), seen, limit=bench.limit, now=time.time())
        return replace(
            made, hold=made.hold or (self.hold and bool(made.starts)), unholds=tuple(hold.held(index))
        )


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
class Promote:
    """Give a held release the traffic."""

    options: Options
    release: str | None = None
    """``None``: the one that is held."""

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Settlement:  # noqa: ARG002
        """See :class:`Work`."""
        return hold.promote(bench.loaded.name, seen, self.release)


@dataclass(frozen=True)
class Abort:
    """Give a held release up."""

    options: Options
    release: str | None = None
    """``None``: the one that is held."""

    def plan(self, bench: Workbench, seen: Observed, known: Mapping[str, str]) -> Settlement:  # noqa: ARG002
        """See :class:`Work`."""
        return hold.abort(bench.loaded.name, seen, self.release)


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
