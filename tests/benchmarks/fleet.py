"""The lab and the small project the benchmarks deploy on it.

Owns the project's files and how the command is run. What is measured is in the module of a benchmark.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from measure import Sample, run
from peers import Access, Target

from orchestrator.lab import Lab

DEPLOY = (str(Path(sys.executable).with_name("deploy")),)


def access(lab: Lab) -> Access:
    """Return how to log in to the lab's hosts."""
    return Access(lab.layout.identity, lab.layout.known_hosts)


def targets(lab: Lab) -> list[Target]:
    """Return the lab's hosts."""
    return [Target(host.name, host.address, 22) for host in lab.hosts]


class Project:
    """A folder with a spec, images and the lab's inventory.

    Args:
        folder: Made when missing.
        lab: Where it is deployed.
        spec: The whole spec, written as JSON, which is YAML.
    """

    def __init__(self, folder: Path, lab: Lab, spec: Mapping[str, object]) -> None:
        self.folder = folder
        self._lab = lab
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "spec.yaml").write_text(json.dumps(spec, indent=2))
        (folder / "inventory.yaml").write_text(lab.layout.inventory.read_text())

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file of the project."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def deploy(self, *arguments: str) -> Sample:
        """Run ``deploy`` in the folder."""
        return run([*DEPLOY, *arguments], cwd=self.folder, env=self.environment)

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of every run: which engine builds, and a cache of the benchmark's own."""
        return {
            "DOCKER_HOST": f"unix://{self._lab.builder_socket()}",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
        }


def last_event(sample: Sample) -> dict[str, object]:
    """Return the ``finished`` line of a run with ``--json``."""
    lines: Sequence[str] = sample.output.splitlines()
    found: dict[str, object] = json.loads(lines[-1])
    return found
