"""Runs the benchmarks named on the command line, or all of them, and prints their tables as Markdown.

Nothing here passes or fails by time: what matters are ratios to the other tools, measured in the same
run on the same machine. As root, on a machine that can run the lab.
"""

from __future__ import annotations

import datetime as dt
import importlib
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

BENCHMARKS = ("noop", "many", "shipping", "planning")


def machine() -> str:
    """Return the machine's facts, on one line."""
    text = Path("/proc/cpuinfo").read_text()
    models = {line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[0]
    today = dt.datetime.now(tz=dt.UTC).date()
    return (
        f"{today}: {os.cpu_count()} x {', '.join(sorted(models)) or platform.machine()},"
        f" {memory:.0f} GiB, Linux {platform.release()}, Python {platform.python_version()},"
        f" load {load:.1f} when it began."
    )


def main() -> None:
    """Run what was asked for."""
    names = sys.argv[1:] or BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    sys.stdout.write(f"{machine()}\n")
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix=f"deploy-bench-{name}-"))
        try:
            sys.stdout.write(f"\n{importlib.import_module(name).measure(folder)}\n")
            sys.stdout.flush()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
