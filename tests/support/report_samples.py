"""One run's worth of values for the tests of the views: a plan, its steps, one event of every type."""

from __future__ import annotations

import typing

from orchestrator import events as ev
from orchestrator.planning.types import (
    Action,
    Artifact,
    Change,
    Desired,
    DesiredInstance,
    Observed,
    ObservedHost,
    Plan,
    Reason,
    Running,
    Step,
    StepKind,
)
from orchestrator.protocol.instance import Healthcheck, InstanceConfig
from orchestrator.protocol.messages import (
    ContainerReport,
    Failure,
    HostReport,
    LeaseInfo,
    ReleasedInstance,
    ReleaseRecord,
)

NOW = 1_700_000_000.0
"""2023-11-14 22:13:20 UTC."""
IMAGE = "sha256:" + "ab12" * 16
OLD_IMAGE = "sha256:" + "cd34" * 16


def config(service: str = "api", **fields: typing.Any) -> InstanceConfig:
    """Return a configuration with an http healthcheck."""
    fields.setdefault("image", IMAGE)
    fields.setdefault("healthcheck", Healthcheck(type="http", port=8080, path="/health"))
    return InstanceConfig(project="shop", service=service, **fields)


def instance(
    service: str = "api", slot: int = 1, host: str = "web-1", **fields: typing.Any
) -> DesiredInstance:
    """Return a desired instance."""
    fields.setdefault("config", config(service))
    return DesiredInstance(service=service, slot=slot, host=host, image="tomcat", **fields)


def container(
    service: str = "api",
    slot: int = 1,
    *,
    release: str = "r4",
    state: str = "running",
    digest: str = "",
    **fields: typing.Any,
) -> ContainerReport:
    """Return a container as a host reports it."""
    fields.setdefault("health", "healthy" if state == "running" else "none")
    fields.setdefault("started_at", "2023-11-14T19:01:20.123456789Z")
    return ContainerReport(
        id="f00d" * 16,
        name=f"shop-{service}-{slot}-{release}",
        service=service,
        slot=slot,
        release=release,
        digest=digest or f"digest-{service}-{slot}",
        image=IMAGE,
        state=state,
        **fields,
    )


def plan() -> Plan:
    """Return a plan with every action in it."""
    api2 = instance(slot=2, host="web-2")
    old = Running("web-2", container(slot=2))
    return Plan(
        project="shop",
        release="r5",
        reason="apply",
        desired=Desired(
            project="shop",
            spec_digest="5bec" * 16,
            instances=(instance(), api2),
            artifacts=(Artifact("tomcat", build="b1" * 32, id=IMAGE),),
            depends_on=(("api", ("cache",)), ("cache", ())),
            keep_releases=(("api", 3), ("cache", 3)),
            explanations=(("api[1]", "hosts: web, the least used of 2"),),
        ),
        changes=(
            Change(Action.CREATE, "api", 1, "web-1", (Reason("new", "new"),), desired=instance()),
            Change(
                Action.REPLACE,
                "api",
                2,
                "web-2",
                (
                    Reason("config-changed", "environment LOG_LEVEL changed", "environment.LOG_LEVEL"),
                    Reason("image-changed", "image tomcat changed", "image"),
                ),
                desired=api2,
                current=old,
            ),
            Change(Action.KEEP, "cache", 1, "db-1", (Reason("unchanged", "unchanged"),)),
            Change(
                Action.REPLACE_STOP_FIRST,
                "db",
                1,
                "db-1",
                (Reason("config-changed", "volume data moved to /data"),),
                desired=instance("db", 1, "db-1", stop_first=True),
                current=Running("db-1", container("db")),
            ),
            Change(Action.REMOVE, "old", 1, "web-1", (Reason("not-in-spec", "no longer in the spec"),)),
            Change(Action.DISCARD, "old", 2, "web-1", (Reason("leftover", "a failed start of r3"),)),
            Change(Action.RESUME, "web", 1, "web-1", (Reason("rollback", "runs as in r3"),)),
        ),
        builds=(
            Artifact("front", build="c2" * 32),
            Artifact("redis", reference="redis:7@sha256:0123"),
        ),
        skipped=(("web-9", "unreachable, and it holds nothing to change"),),
        forgets=(("web-1", "r1"), ("web-2", "r1")),
    )


def start(host: str = "web-1", service: str = "api", slot: int = 1, **fields: typing.Any) -> Step:
    """Return a start step."""
    fields.setdefault("desired", instance(service, slot, host))
    return Step(f"start {host} {service}[{slot}]", StepKind.START, host, service=service, slot=slot, **fields)


def ship(host: str = "web-1") -> Step:
    """Return a ship step."""
    return Step(f"ship {host} tomcat", StepKind.SHIP, host, image=IMAGE)


def failure() -> Failure:
    """Return a failure with everything filled in."""
    refused = "GET http://172.18.0.2:8080/health: connection refused"
    return Failure(
        code="unhealthy",
        message="not healthy within 60 s",
        probes=(refused, refused, "GET http://172.18.0.2:8080/health: status 503"),
        logs=("starting", "cannot reach cache:6379"),
        seconds=60.0,
    )


def record(
    number: int = 4, *, instances: tuple[ReleasedInstance, ...] | None = None, **fields: typing.Any
) -> ReleaseRecord:
    """Return a release record."""
    fields.setdefault("parent", f"r{number - 1}" if number > 1 else "")
    fields.setdefault("created_at", NOW - 3600 * (10 - number))
    rows = instances or (
        ReleasedInstance("web-1", "api", 1, "digest-api-1"),
        ReleasedInstance("web-2", "api", 2, "digest-api-2"),
    )
    return ReleaseRecord(
        id=f"r{number}",
        author="ann@laptop",
        spec_digest="5bec" * 16,
        reason="apply",
        instances=rows,
        images=(("tomcat", IMAGE),),
        services=(("api", 3),),
        depends_on=(("api", ("cache",)),),
        **fields,
    )


def observed() -> Observed:
    """Return a fleet with a good, an unhealthy, a missing, a changed and an old instance, one host down."""
    first = record(3, instances=(ReleasedInstance("web-1", "api", 1, "digest-old"),))
    rows = (
        ReleasedInstance("web-1", "api", 1, "digest-api-1"),
        ReleasedInstance("web-2", "api", 2, "digest-api-2"),
        ReleasedInstance("web-2", "cache", 1, "digest-cache-1"),
    )
    current = record(4, instances=rows)
    return Observed(
        hosts=(
            ObservedHost(
                "web-1",
                HostReport(
                    epoch=7,
                    key="5ec7e7",
                    containers=(
                        container(),
                        container(release="r3", state="exited", digest="digest-old"),
                        container("job", 1, intact=False),
                    ),
                    releases=(first, current),
                    lease=LeaseInfo("ann@laptop", "apply", "r5", NOW - 65, 7),
                ),
            ),
            ObservedHost(
                "web-2",
                HostReport(
                    epoch=7,
                    key="5ec7e7",
                    containers=(
                        container(
                            slot=2, health="unhealthy", restarts=3, health_detail="GET /health: status 503"
                        ),
                    ),
                    releases=(current,),
                ),
            ),
            ObservedHost("web-3", error="web-3: no answer within 10 s"),
        )
    )


def run() -> tuple[ev.Event, ...]:
    """Return a run that holds at least one event of every type, a failure among them."""
    step, other = start(), start("web-2", "api", 2)
    return (
        ev.HostConnecting("web-1"),
        ev.HostConnecting("web-2"),
        ev.HostConnecting("web-9"),
        ev.HostConnected("web-1", 0.06),
        ev.HostConnected("web-2", 0.31, shipped_agent=True),
        ev.HostFailed("web-9", "web-9: no route to host"),
        ev.Warned("the clock of web-2 is 90 s behind", "run the bootstrap playbook"),
        ev.Planned(plan()),
        ev.BuildStarted("front", "local", "src/index.html changed"),
        ev.BuildOutput("front", "Step 1/2 : FROM scratch"),
        ev.BuildFinished("front", OLD_IMAGE, 3.2),
        ev.BuildFinished("tomcat", IMAGE, 0.01, cached=True),
        ev.LeaseTaken(8, ("web-1", "web-2")),
        ev.StepStarted(ship()),
        ev.StepProgress(ship(), "sending", done=40_000, total=81_000),
        ev.StepProgress(ship(), "sending", done=81_000, total=81_000),
        ev.StepFinished(ship(), 0.52, 81_000),
        ev.StepFinished(ship("web-2"), 0.01, note="present already"),
        ev.StepStarted(step),
        ev.StepProgress(step, "checking", "GET /health: connection refused"),
        ev.StepFinished(step, 2.13),
        ev.StepStarted(other),
        ev.StepFailed(other, "not healthy within 60 s", failure(), 60.0),
        ev.StepSkipped(Step("commit web-2", StepKind.COMMIT, "web-2", record=record(5)), other.id),
        ev.RestoreStarted("start web-2 api[2] failed", 1),
        ev.RestoreFinished(ok=True, states=(("web-1", "as before"), ("web-2", "as before"))),
        ev.Finished(
            ok=False,
            exit_code=3,
            release="r4",
            changes={"create": 1, "replace": 3, "remove": 1, "keep": 1},
            bytes_sent=81_000,
            round_trips={"web-1": 5, "web-2": 4},
            seconds=63.4,
            error="api[2] on web-2 did not become healthy",
            hint="see its log",
            context=("GET /health: status 503",),
        ),
    )


def finished() -> ev.Finished:
    """Return the end of a run that went well."""
    return ev.Finished(
        ok=True,
        exit_code=0,
        release="r5",
        changes={"create": 1, "replace": 3, "remove": 1, "keep": 1},
        bytes_sent=81_000,
        round_trips={"web-1": 5, "web-2": 4},
        seconds=3.4,
    )
