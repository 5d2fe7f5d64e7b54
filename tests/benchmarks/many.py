"""Nothing to do on twenty hosts, near and far.

The hosts have engines of their own like those of :mod:`noop`; far ones are behind the lab's relay, which
adds 50 ms each way.
"""

from __future__ import annotations

from pathlib import Path

from measure import against
from noop import OURS, Fleet

from orchestrator.lab import Lab

HOSTS = 20
RUNS = 3
DELAY = 50.0
"""Milliseconds each way."""


def measure(folder: Path) -> str:
    """Run the benchmark and return its report."""
    with Lab(folder / "lab", hosts=HOSTS) as lab:
        fleet = Fleet(folder, lab)
        near = fleet.compare(RUNS)
        for host in lab.hosts:
            lab.slow(host, DELAY)
        far = fleet.compare(RUNS, warm_up=False)
    return "\n\n".join(
        [
            f"## Nothing to do on {HOSTS} hosts, 2 containers each",
            against(near, OURS),
            f"### The same with {2 * DELAY:.0f} ms of latency",
            against(far, OURS),
        ]
    )
