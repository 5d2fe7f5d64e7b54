"""Graph and plan for 2,000 services on 500 hosts: seconds and peak memory.

In a process of its own, so that its memory is that of nothing else; the spec and the inventory are read
before the clock starts.
"""

from __future__ import annotations

import sys
from pathlib import Path

from measure import in_turn, run, table

SERVICES, HOSTS, RUNS = 2000, 500, 3
_SCRIPT = """
import resource, sys, time
from orchestrator.planning import graph
from orchestrator.planning.desired import Inputs, desired
from orchestrator.planning.observed import observed
from orchestrator.planning.reconcile import reconcile
from orchestrator.planning.types import Artifact
from orchestrator.protocol.messages import HostReport
from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.model import Project

services, hosts = int(sys.argv[1]), int(sys.argv[2])
project = Project.model_validate({
    "project": "large",
    "images": {"app": {"build": {"context": "."}}},
    "services": {
        f"s{number}": {
            "image": "app", "hosts": ["all"], "environment": {"N": str(number)},
            "depends_on": [f"s{number - 1}"] if number % 10 else [],
        }
        for number in range(services)
    },
})
inventory = Inventory(hosts=tuple(Host(name=f"h{number}", address=f"h{number}") for number in range(hosts)))
reports = {host.name: HostReport(epoch=0, key="00" * 32) for host in inventory.hosts}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.perf_counter()
graph.build(project)
drawn = time.perf_counter()
seen = observed(reports, "large")
artifacts = {"app": Artifact("app", "b" * 64, "", "sha256:" + "a" * 64)}
keys = {name: report.key for name, report in reports.items()}
wanted = desired(project, inventory, Inputs("d" * 64, artifacts, keys, lambda text, context, *, file: text))
plan = reconcile(wanted, seen)
done = time.perf_counter()
assert len(plan.changes) == services, len(plan.changes)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(drawn - begun, done - drawn, peak / 1024, before / 1024)
"""


def measure(_folder: Path) -> str:
    """Run the benchmark and return its report."""
    argv = [sys.executable, "-c", _SCRIPT, str(SERVICES), str(HOSTS)]
    (result,) = in_turn({"": lambda: run(argv)}, RUNS).values()
    rows = [[float(word) for word in sample.output.split()] for sample in result.samples]
    graph, plan, peak, before = min(rows, key=lambda row: row[0] + row[1])
    return "\n\n".join(
        [
            f"## Graph and plan of {SERVICES:,} services on {HOSTS} hosts",
            table(
                ("", "seconds"),
                [
                    ("graph", f"{graph:.2f} s"),
                    ("plan", f"{plan:.2f} s"),
                    ("both", f"{graph + plan:.2f} s"),
                ],
            ),
            f"Peak memory: {peak:.0f} MiB, {before:.0f} MiB of it before, for the program and the spec.",
        ]
    )
