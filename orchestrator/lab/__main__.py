"""``python -m orchestrator.lab sweep FOLDER...``: take down every lab below some folders, whoever left it.

For CI and for whoever killed a run: labs are found by their folders, so nothing has to remember them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from orchestrator.lab.commands import down

_DEPTH = 3


def sweep(folder: Path) -> tuple[Path, ...]:
    """Take down every lab in ``folder`` and up to three levels below it; return where they were."""
    found = {
        record.parent
        for depth in range(_DEPTH + 1)
        for name in ("lab.json", "hosts")
        for record in folder.glob("/".join(["*"] * depth + [name]))
    }
    for root in sorted(found):
        down(root)
    return tuple(sorted(found))


def main() -> int:
    """Sweep the folders named on the command line."""
    match sys.argv[1:]:
        case ["sweep", *folders] if folders:
            for folder in folders:
                for root in sweep(Path(folder)):
                    sys.stdout.write(f"took down the lab in {root}\n")
            return 0
    sys.stderr.write("usage: python -m orchestrator.lab sweep FOLDER...\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
