"""Bundles whose agent is the tiny one, in any number of versions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from orchestrator.remote.bundle import ENTRY, PACKAGE, Bundle, build

TINY = Path(__file__).with_name("tiny_agent.py")


def tiny_bundle(folder: Path, *, version: int = 1, change: tuple[str, str] = ("", "")) -> Bundle:
    """Return a bundle of the tiny agent.

    Args:
        folder: Where its sources are put together.
        version: Bundles of different versions have different digests.
        change: A text of the agent's source and what takes its place.
    """
    main = folder / f"main-{version}.py"
    source = TINY.read_text()
    main.write_text(f"{source.replace(*change) if change[0] else source}\n# version {version}\n")
    empty = folder / "empty.py"
    empty.write_text("")
    files = [
        ("__main__.py", ENTRY),
        ("orchestrator/__init__.py", empty),
        ("orchestrator/agent/__init__.py", empty),
    ]
    files += [("orchestrator/agent/__main__.py", main)]
    files += [(f"orchestrator/protocol/{path.name}", path) for path in (PACKAGE / "protocol").glob("*.py")]
    data = build(sorted(files))
    return Bundle(data, hashlib.sha256(data).hexdigest())
