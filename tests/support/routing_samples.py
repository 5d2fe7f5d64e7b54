"""A routed fleet for the tests of the views: what its routers say, right and wrong."""

from __future__ import annotations

from dataclasses import replace

from support.report_samples import NOW, container, plan, record

from orchestrator.planning.types import Observed, ObservedHost, Plan, Reason, RouterChange
from orchestrator.protocol.messages import Held, HostReport, ReleasedInstance, ReleaseRecord
from orchestrator.protocol.routing import (
    Assigned,
    Backend,
    Guard,
    Listener,
    Remote,
    Route,
    RouterConfig,
    RoutingReport,
)

ROUTER_IMAGE = "sha256:" + "ef56" * 16


def picture(*, other: str = "web-2", path: str = "/") -> RouterConfig:
    """Return a router's picture: one site over http and https, one TCP port."""
    return RouterConfig(
        project="shop",
        image=ROUTER_IMAGE,
        backends=(
            Backend("api", 8080, remotes=(Remote(other, "10.0.0.2", 41000, "token"),)),
            Backend("db", 5432, mode="tcp"),
        ),
        listeners=(
            Listener(80, routes=(Route("plain", "api_8080", host="shop.example", redirect_https=True),)),
            Listener(443, tls=True, routes=(Route("shop", "api_8080", host="shop.example", path=path),)),
            Listener(5432, address="10.0.0.1", mode="tcp", routes=(Route("db", "db_5432"),)),
        ),
    )


def assigned(
    service: str = "api", slot: int = 1, *, server: str = "s1", release: str = "r4", **fields
) -> Assigned:
    """Return a server that is as it should be."""
    fields.setdefault("backend", "api_8080" if service == "api" else "db_5432")
    fields.setdefault("container", f"{service}{slot}{release}")
    values = {"address": "172.18.0.5:8080", "state": "UP", "weight": 256, "recorded_weight": 256} | fields
    return Assigned(server=server, service=service, slot=slot, release=release, **values)


def remote(host: str, **fields) -> Assigned:
    """Return a remote that is as it should be."""
    values = {"address": "10.0.0.2:41000", "state": "UP", "weight": 1, "recorded_weight": 1} | fields
    return Assigned("api_8080", f"r_{host}", "api", **values)


def running(service: str, slot: int, *, release: str = "r4", digest: str = ""):
    """Return a container that :func:`assigned` names."""
    return replace(container(service, slot, release=release, digest=digest), id=f"{service}{slot}{release}")


ROWS = (
    ReleasedInstance("web-1", "api", 1, "digest-api-1"),
    ReleasedInstance("web-2", "api", 2, "digest-api-2"),
    ReleasedInstance("web-1", "db", 1, "digest-db-1"),
)


def routed_plan() -> Plan:
    """Return a plan that changes routers and traffic too, and is held."""
    return replace(
        plan(),
        hold=True,
        routers=(
            RouterChange("db-1", None, picture()),
            RouterChange("web-1", picture(), None, (Reason("new", "new"),)),
            RouterChange("web-2", picture(), picture(), (Reason("config-changed", "route shop added"),)),
        ),
        unserved=(("web-1", "api"),),
        armed=(("web-2", "r4-8"),),
        unholds=("web-1",),
    )


def routed_record(router: RouterConfig | None) -> ReleaseRecord:
    """Return the release in force as one host remembers it."""
    return record(4, instances=ROWS, router=router, routers=(("web-1", "d1"), ("web-2", "d2")))


def good() -> Observed:
    """Return a fleet whose routers serve what they should."""
    first, second = picture(), picture(other="web-1")
    second = replace(second, backends=second.backends[:1], listeners=second.listeners[:2])
    return Observed(
        (
            ObservedHost(
                "web-1",
                HostReport(
                    epoch=8,
                    key="5ec7e7",
                    containers=(running("api", 1), running("db", 1)),
                    releases=(routed_record(first),),
                    routing=RoutingReport(
                        config=first.digest,
                        image=ROUTER_IMAGE,
                        running=True,
                        servers=(
                            assigned(sessions=3, requests=1200, responses_5xx=1),
                            remote("web-2"),
                            assigned("db", sessions=12, requests=12),
                        ),
                        guard=Guard("r4-8", "confirmed", NOW),
                    ),
                ),
            ),
            ObservedHost(
                "web-2",
                HostReport(
                    epoch=8,
                    key="5ec7e7",
                    containers=(running("api", 2),),
                    releases=(routed_record(second),),
                    routing=RoutingReport(
                        config=second.digest,
                        image=ROUTER_IMAGE,
                        running=True,
                        servers=(assigned(slot=2), remote("web-1")),
                        maintenance=("shop",),
                    ),
                ),
            ),
        )
    )


def held() -> Held:
    """Return a release that waits since five minutes."""
    rows = (ReleasedInstance("web-1", "api", 1, "digest-green-1"), *ROWS[1:])
    return Held(record(5, instances=rows, router=picture()), NOW - 300, retires=ROWS[:1])


def troubled() -> Observed:
    """Return a fleet with everything that can be wrong, and a release held on one host."""
    first = picture()
    return Observed(
        (
            ObservedHost(
                "web-1",
                HostReport(
                    epoch=8,
                    key="5ec7e7",
                    containers=(
                        running("api", 1),
                        running("api", 1, release="r5", digest="digest-green-1"),
                        running("api", 3, release="r3", digest="digest-old"),
                    ),
                    releases=(routed_record(first),),
                    held=held(),
                    routing=RoutingReport(
                        config="0f" * 32,
                        image=ROUTER_IMAGE,
                        running=True,
                        servers=(
                            assigned(state="DOWN", weight=256),
                            assigned(server="s2", release="r5", state="DRAIN", weight=0, recorded_weight=0),
                            assigned(slot=3, server="s3", release="r3", weight=128),
                            assigned("db", container="gone", state="MAINT", weight=0),
                        ),
                        guard=Guard("r5-9", "armed", NOW + 30),
                    ),
                ),
            ),
            ObservedHost(
                "web-2",
                HostReport(
                    epoch=8,
                    key="5ec7e7",
                    containers=(running("api", 2),),
                    releases=(routed_record(picture(other="web-1")),),
                    routing=RoutingReport(
                        config=picture(other="web-1").digest,
                        image=ROUTER_IMAGE,
                        running=False,
                        error="run/admin.sock: connection refused",
                        guard=Guard("r4-8", "reverted", NOW - 60),
                    ),
                ),
            ),
            ObservedHost("web-3", HostReport(epoch=8, key="5ec7e7", releases=(routed_record(picture()),))),
            ObservedHost("web-4", error="web-4: no answer within 10 s"),
        )
    )
