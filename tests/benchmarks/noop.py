"""Nothing to do, two containers on each host: how long until that is known.

Every tool runs as a process of its own and connects anew. All look at containers of the same image that
they have made themselves in a first run; the state of every one is checked, by us with a probe of its
health as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import peers
from fleet import Project, access, last_event, targets
from measure import Result, against, in_turn, run

from orchestrator.lab import Lab, busybox_image

HOSTS = 4
RUNS = 5
OURS = "deploy apply"
_IMAGE = "benchmark:1"
_DOCKERFILE = """\
FROM busybox:static
RUN ["/bin/busybox", "mkdir", "/srv"]
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
"""
_SERVICES = ("one", "two")
_OPERATIONS = f"""\
from pyinfra.operations import docker

for name in {_SERVICES!r}:
    docker.container(name=name, container=f"pyinfra-{{name}}", image={_IMAGE!r})
"""


def measure(folder: Path) -> str:
    """Run the benchmark and return its report."""
    with Lab(folder / "lab", hosts=HOSTS) as lab:
        fleet = Fleet(folder, lab)
        results = fleet.compare(RUNS)
        version = in_turn({"": lambda: fleet.project.deploy("--version")}, RUNS)[""]
        trips = last_event(fleet.project.deploy("apply", "--yes", "--json"))["round_trips"]
    assert isinstance(trips, dict)
    return "\n\n".join(
        [
            f"## Nothing to do on {HOSTS} hosts, {len(_SERVICES)} containers each",
            against(results, OURS),
            f"Round trips: {', '.join(f'{host} {count}' for host, count in trips.items())}.",
            f"`deploy --version`: {version.seconds * 1000:.0f} ms.",
        ]
    )


class Fleet:
    """A lab on which every tool has made its containers."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        busybox_image(lab.builder_socket())
        self.project = _project(folder / "project", lab)
        self.project.deploy("apply", "--yes")
        self._folder = folder
        self._forks = len(lab.hosts)
        self._bin = peers.environment()
        for host in lab.hosts:
            images = lab.docker(host, "images", "--quiet", "--no-trunc", "--filter", "label=deploy.build")
            lab.docker(host, "tag", images.stdout.split()[0], _IMAGE)
        peers.write_ansible(folder / "ansible", targets(lab), access(lab), _play())
        peers.write_pyinfra(folder / "pyinfra", targets(lab), access(lab), _OPERATIONS)

    def compare(self, runs: int, *, warm_up: bool = True) -> dict[str, Result]:
        """Measure everybody; in the first round of all, to warm up, the peers make their containers."""
        ansible = peers.ansible(self._bin, self._folder / "ansible")
        return in_turn(
            {
                OURS: lambda: self.project.deploy("apply", "--yes"),
                "pyinfra": lambda: run(peers.pyinfra(self._bin, self._folder / "pyinfra")),
                "Ansible, pipelining": lambda: run(ansible, env=self._settings(pipelining=True)),
                "Ansible": lambda: run(ansible, env=self._settings(pipelining=False)),
            },
            runs,
            warm_up=warm_up,
        )

    def _settings(self, *, pipelining: bool) -> Mapping[str, str]:
        folder = self._folder / "ansible"
        return peers.ansible_environment(self._bin, folder, forks=self._forks, pipelining=pipelining)


def _project(folder: Path, lab: Lab) -> Project:
    service = {
        "image": "web",
        "hosts": ["all"],
        "per_host": 1,
        "healthcheck": {"tcp": 8080, "interval": "100ms", "deadline": "20s"},
    }
    spec = {
        "project": "noop",
        "images": {"web": {"build": {"context": "web"}}},
        "services": dict.fromkeys(_SERVICES, service),
    }
    project = Project(folder, lab, spec)
    project.write("web/Dockerfile", _DOCKERFILE)
    return project


def _play() -> object:
    return {
        "hosts": "all",
        "tasks": [
            {
                "name": name,
                "community.docker.docker_container": {
                    "name": f"ansible-{name}",
                    "image": _IMAGE,
                    "state": "started",
                    "pull": "never",
                },
            }
            for name in _SERVICES
        ],
    }
