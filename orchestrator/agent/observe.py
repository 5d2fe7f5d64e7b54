"""The truth of this host about one project: the answer to ``observe``.

Owns the gathering (one listing, then inspects and probes side by side) and the digest of what a plan
depends on. It changes nothing but makes the host's key when there is none, and must not know what a
plan will make of it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from orchestrator.agent import containers, discover, traffic
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.fingerprint import fingerprint
from orchestrator.agent.handler import Context
from orchestrator.agent.health import probe_twice
from orchestrator.agent.imaging.labels import build_of
from orchestrator.agent.journal import Journal
from orchestrator.agent.lease import epoch_of, holder_of
from orchestrator.agent.together import Call, each
from orchestrator.protocol.codec import digest
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import (
    ContainerReport,
    HostReport,
    ImageReport,
    Observe,
    ReleaseRecord,
    VolumeReport,
)

_WORKERS = 16
_LONGEST_PROBE = 5.0
"""Seconds for one try: an answer that takes longer is no sign of health while somebody waits."""


def observe(params: Observe, context: Context) -> HostReport:
    """Report everything planning needs to know of a project."""
    engine, journal = context.engine, Journal(context.paths, params.project)
    traffic.settle(engine, journal)
    inspects = inspect_project(engine, params.project)
    images = Call(lambda: _images(engine, inspects))
    volumes = Call(lambda: _volumes(engine, params.project))
    reports = each(
        lambda inspect: _report(engine, journal, inspect, probe=params.probe), inspects, workers=_WORKERS
    )
    routing = Call(lambda: traffic.routing(engine, journal))
    releases = journal.releases()
    free, total = discover.disk(engine)
    return HostReport(
        epoch=epoch_of(journal.files),
        key=journal.key(),
        containers=reports,
        images=images.result(),
        volumes=volumes.result(),
        releases=releases,
        lease=holder_of(journal.files),
        state=_state(reports, releases, journal),
        routing=routing.result(),
        held=traffic.held(journal),
        disk_free=free,
        disk_total=total,
    )


def state_of(engine: Engine, journal: Journal) -> str:
    """Return the present :attr:`HostReport.state` of a project."""
    reports = [
        _report(engine, journal, inspect, probe=False) for inspect in inspect_project(engine, journal.project)
    ]
    return _state(reports, journal.releases(), journal)


def inspect_project(engine: Engine, project: str) -> List[Dict[str, Any]]:
    """Return the inspects of all instances of a project, sorted by name; those that vanish are left out.

    Its router and its jobs are containers of the project too, and no instances.
    """
    listing = engine.get(
        "/containers/json", {"all": True, "filters": {"label": [f"{containers.PROJECT}={project}"]}}
    )
    found = each(lambda item: _inspect(engine, str(item["Id"])), listing or (), workers=_WORKERS)
    instances = [inspect for inspect in found if inspect is not None and _is_instance(inspect)]
    return sorted(instances, key=containers.name_of)


def _is_instance(inspect: Mapping[str, Any]) -> bool:
    return not {containers.ROUTER, containers.JOB} & set(containers.labels_of(inspect))


def _inspect(engine: Engine, container: str) -> Optional[Dict[str, Any]]:
    try:
        inspect = engine.get(f"/containers/{container}/json")
    except EngineError as error:
        if error.not_found:
            return None
        raise
    return inspect if isinstance(inspect, dict) else None


def is_intact(journal: Journal, inspect: Mapping[str, Any]) -> bool:
    """The container looks to the engine as it did right after creation."""
    return journal.fingerprint(str(inspect.get("Id"))) == fingerprint(inspect)


def _report(engine: Engine, journal: Journal, inspect: Dict[str, Any], *, probe: bool) -> ContainerReport:
    labels, state = containers.labels_of(inspect), inspect.get("State") or {}
    made_from = labels.get(containers.DIGEST, "")
    config = journal.instance(made_from)
    health, detail = "none", ""
    if containers.is_running(inspect):
        health, detail = _health(engine, inspect, journal.project, config) if probe else ("unknown", "")
    slot = labels.get(containers.SLOT, "")
    return ContainerReport(
        id=str(inspect.get("Id", "")),
        name=containers.name_of(inspect),
        service=labels.get(containers.SERVICE, ""),
        slot=int(slot) if slot.isdecimal() else 0,
        release=labels.get(containers.RELEASE, ""),
        digest=made_from,
        image=str(inspect.get("Image", "")),
        state=str(state.get("Status", "")),
        health=health,
        health_detail=detail,
        started_at=str(state.get("StartedAt", "")),
        finished_at=str(state.get("FinishedAt", "")),
        exit_code=int(state.get("ExitCode") or 0),
        restarts=int(inspect.get("RestartCount") or 0),
        intact=is_intact(journal, inspect),
        config=config,
    )


def _health(
    engine: Engine, inspect: Dict[str, Any], project: str, config: Optional[InstanceConfig]
) -> Tuple[str, str]:
    if config is None:
        return ("unknown", "")
    check = replace(config.healthcheck, timeout=min(config.healthcheck.timeout, _LONGEST_PROBE))
    tried = probe_twice(engine, inspect, project, check)
    return ("healthy", "") if tried.ok else ("unhealthy", tried.detail)


def _state(reports: Sequence[ContainerReport], releases: Sequence[ReleaseRecord], journal: Journal) -> str:
    """Digest of what a plan depends on, and of nothing that changes by itself.

    A container in a crash loop is running to the plan: else the plan that ends the loop would be stale
    as often as not.
    """
    lines = [
        [report.id, "running" if report.state == "restarting" else report.state, report.digest]
        for report in sorted(reports, key=lambda report: report.id)
    ]
    return digest([lines, releases[-1].id if releases else "", *traffic.marks(journal)])


def _images(engine: Engine, inspects: Sequence[Mapping[str, Any]]) -> Tuple[ImageReport, ...]:
    used = {str(inspect.get("Image", "")) for inspect in inspects}
    reports = []
    # All: an image whose tag was taken away and that another one stands on would be left out.
    for image in engine.get("/images/json", {"all": True}) or ():
        in_use = image.get("Id") in used
        build = build_of(image, in_use=in_use)
        if build or in_use:
            reports.append(ImageReport(str(image["Id"]), build, int(image.get("Size") or 0)))
    return tuple(sorted(reports, key=lambda report: report.id))


def _volumes(engine: Engine, project: str) -> Tuple[VolumeReport, ...]:
    answer = engine.get("/volumes", {"filters": {"label": [f"{containers.PROJECT}={project}"]}})
    prefix = f"{project}_"
    names = [str(volume.get("Name", "")) for volume in (answer or {}).get("Volumes") or ()]
    return tuple(VolumeReport(name[len(prefix) :]) for name in sorted(names) if name.startswith(prefix))
