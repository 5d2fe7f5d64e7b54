"""How the instances of a service are replaced, as frozen models.

Owns the fields of ``update`` with their exact meaning and defaults. Which strategy a service has when
it names none takes the whole project to tell: :mod:`.routing_rules`. It must not know how any of it is
carried out.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from orchestrator.spec.fields import Argv, Duration, PortNumber, UrlPath
from orchestrator.spec.parts import Part
from orchestrator.spec.routing_fields import Share, commands


class CanaryStep(Part):
    """A share of the traffic for a while."""

    weight: int = Field(
        ge=1, le=99, description="Percent of the traffic for the new instances.", examples=[5]
    )
    bake: Duration = Field(
        default=30.0, gt=0, description="How long it must go well before the next step.", examples=["1m"]
    )


class Check(Part):
    """A test of each new instance: exactly one of `command` and `http`."""

    command: Argv | None = Field(
        default=None,
        description="Command run inside the container; exit status 0 passes.",
        examples=[["/bin/smoke"]],
    )
    http: UrlPath | None = Field(
        default=None, description="Path asked for by GET on `port`; 2xx and 3xx pass.", examples=["/ready"]
    )
    port: PortNumber | None = Field(
        default=None,
        description="Port inside the container for `http`; by default the health check's.",
        examples=[8080],
    )
    timeout: Duration = Field(default=30.0, gt=0, description="Longest time it may take.", examples=["10s"])

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.command is None) == (self.http is None):
            raise ValueError(f"expected either command or http, got {'both' if self.http else 'neither'}")
        if self.command == ():
            raise ValueError("expected a command, got an empty one")
        if self.port is not None and self.http is None:
            raise ValueError("only an http check has a port")
        return self


class Job(Part):
    """A command run once per release, in a container of the new image with the new environment.

    A string (split like a shell would) or a list of words is its `command`.
    """

    command: Argv = Field(
        description="Arguments instead of the service's; exit status 0 is success.",
        examples=[["migrate", "--all"]],
    )
    timeout: Duration = Field(default=600.0, gt=0, description="Longest run.", examples=["1h"])

    @model_validator(mode="after")
    def _some_command(self) -> Self:
        if not self.command:
            raise ValueError("expected a command, got an empty one")
        return self


class Jobs(Part):
    """Jobs of a release, one after the other, where the first new instance is.

    A service that gets no new instance has no jobs to run.
    """

    before_cutover: Annotated[tuple[Job, ...], commands] = Field(
        default=(),
        description="Before any traffic moves; a failure fails the release.",
        examples=[[["migrate", "--all"]]],
    )
    after_confirm: Annotated[tuple[Job, ...], commands] = Field(
        default=(),
        description="Once the release stands; a failure is reported and takes nothing back.",
        examples=[["/bin/warm-up"]],
    )


class Update(Part):
    """How the instances of a service are replaced."""

    strategy: Literal["blue-green", "rolling", "canary", "recreate"] | None = Field(
        default=None,
        description="`blue-green`: all new instances beside all old ones, then all traffic at once, on "
        "every host in one transaction. `rolling`: a batch at a time. `canary`: all new ones, then traffic "
        "by steps. `recreate`: stop, then start. By default `recreate` for what cannot exist twice (a fixed "
        "port of the host, a written volume), `blue-green` for a service with a route or an address that "
        "others use, else `rolling`.",
        examples=["canary"],
    )
    max_parallel: Share = Field(
        default="1",
        description="Instances replaced at the same time (`rolling`, `recreate`); a share is rounded down, "
        "to at least 1.",
        examples=["25%"],
    )
    max_unavailable: Share = Field(
        default="0",
        description="`rolling`: there are never fewer healthy instances than `replicas` less this; a share "
        "is rounded down. 0 starts the new one before the old one stops.",
        examples=["1"],
    )
    canary: tuple[CanaryStep, ...] = Field(
        default=(),
        description="Steps of `canary`, of growing weight; then comes everything.",
        examples=[[{"weight": 5, "bake": "30s"}, {"weight": 50, "bake": "60s"}]],
    )
    min_healthy: Duration = Field(
        default=3.0,
        description="How long a new instance must be healthy without a break before it counts; a restart "
        "or a failed check starts it again.",
        examples=["10s"],
    )
    start_deadline: Duration | None = Field(
        default=None,
        gt=0,
        description="Longest time of one instance from started to healthy; by default the `deadline` of its "
        "health check.",
        examples=["5m"],
    )
    progress_deadline: Duration = Field(
        default=600.0,
        gt=0,
        description="Longest time in which no instance of the service becomes healthy while some are being "
        "started; then the update fails. Jobs, bakes, drains and holds do not count.",
        examples=["20m"],
    )
    bake: Duration = Field(
        default=5.0,
        description="How long the new instances must stay healthy under traffic before the cutover is "
        "confirmed.",
        examples=["1m"],
    )
    drain: Duration = Field(
        default=30.0,
        description="Longest wait for the sessions of an instance that leaves; then they are ended.",
        examples=["5m"],
    )
    keep_old: Duration = Field(
        default=0.0,
        description="How long the old instances stay warm, for an instant rollback: they go with the next "
        "change of the service, or with the first apply after that time.",
        examples=["10m"],
    )
    on_unreachable: Literal["abort"] = Field(
        default="abort",
        description="A host that stops answering fails the update. To go on without it, leave it out of "
        "`--limit`.",
        examples=["abort"],
    )
    max_failures: Literal[0] = Field(
        default=0,
        description="Every new instance has to become healthy: the first that does not fails the update.",
        examples=[0],
    )
    on_failure: Literal["revert", "pause"] = Field(
        default="revert",
        description="A failed update: put everything back, or (`rolling` only) leave it as it is for a "
        "person to look at.",
        examples=["pause"],
    )
    hold: bool = Field(
        default=False,
        description="Whether to stop before the cutover, with the new instances running, until "
        "`deploy promote` or `deploy abort`.",
        examples=[True],
    )
    checks: tuple[Check, ...] = Field(
        default=(),
        description="Tests of each new instance, before the cutover and during the bake.",
        examples=[[{"http": "/ready", "port": 8080}]],
    )
    jobs: Jobs = Field(
        default=Jobs(),
        description="What runs once per release.",
        examples=[{"before_cutover": [["migrate", "--all"]]}],
    )

    @field_validator("on_unreachable", mode="before")
    @classmethod
    def _no_skip(cls, value: object) -> object:
        if value == "skip":
            raise ValueError("skip is not supported: a host that stops answering fails the update")
        return value

    @field_validator("max_failures", mode="before")
    @classmethod
    def _no_failures(cls, value: object) -> object:
        if value != 0 or isinstance(value, bool):
            raise ValueError("only 0 is supported: every new instance has to become healthy")
        return value

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"strategy": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start_deadline is not None and not self.min_healthy < self.start_deadline:
            raise ValueError(
                f"min_healthy: {self.min_healthy:g}s can never be over before start_deadline"
                f" ({self.start_deadline:g}s)"
            )
        if self.start_deadline is not None and not self.start_deadline < self.progress_deadline:
            raise ValueError(
                f"start_deadline: {self.start_deadline:g}s must be shorter than progress_deadline"
                f" ({self.progress_deadline:g}s)"
            )
        weights = [step.weight for step in self.canary]
        if any(later <= earlier for earlier, later in itertools.pairwise(weights)):
            raise ValueError(f"canary: expected growing weights, got {', '.join(map(str, weights))}")
        if self.strategy == "canary" and not self.canary:
            raise ValueError("strategy: canary needs canary: [{weight: 5, bake: 30s}, ...]")
        if self.canary and self.strategy not in (None, "canary"):
            raise ValueError(f"canary: the strategy is {self.strategy}, which has no steps")
        return self
