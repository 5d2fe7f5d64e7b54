"""Who gets the traffic, as routers report it."""

from orchestrator.planning.observed import Index
from orchestrator.planning.routing.serving import serving
from orchestrator.planning.types import Observed, ObservedHost
from orchestrator.protocol.messages import HostReport
from orchestrator.protocol.routing import Assigned, Member, RoutingReport, Shift


def test_another_hosts_instances_are_no_members_of_this_host():
    """A remote server has a service and a weight, and no slot: it is the other host's to move."""
    here = Assigned("api_80", "s1", "api", 1, "r1", "c" * 64, state="UP", weight=256, recorded_weight=256)
    there = Assigned("api_80", "r_web-2", "api", state="UP", weight=256, recorded_weight=256)
    report = HostReport(
        epoch=1, key="ab" * 16, routing=RoutingReport("d" * 64, running=True, servers=(here, there))
    )
    index = Index(Observed((ObservedHost("web-1", report),)))
    assert serving(index, {"web-1"}) == (("web-1", Shift("api", (Member(1, "r1", 256),))),)
