"""An image of about 120 MB to four hosts for the first time, and then 10 KB of it changed.

Against ``docker save | ssh docker load``, plain and gzipped, against a registry on this machine (push, then
pulls through ``ssh -R``), and, for the first deploy, against ``docker load`` of the same archive on the
hosts themselves, with no network at all. What is built is built before the clock starts. Bytes are those
that crossed the hosts' links towards them.

``deploy apply`` does more than the others in its time: it takes leases, starts the container, waits until
it is healthy and records the release. The time of shipping alone is in the table too.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet import Project
from measure import Sample, run, table

from orchestrator.lab import Lab, base_image, docker_client

HOSTS = 4
RUNS = 3
_PORT = 5000
_DOCKERFILE = """\
FROM debian:bookworm-slim
COPY ballast /usr/share/ballast
COPY page.html /srv/page.html
CMD ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"]
"""
_BALLAST = 40_000_000
"""Bytes on top of Debian's own, as compressible as programs are: to a half."""
_CHANGE = 10_000
_SPEC = {
    "project": "shipping",
    "images": {"app": {"build": {"context": "app"}}},
    "services": {
        "app": {
            "image": "app",
            "hosts": ["all"],
            "per_host": 1,
            "stop_grace_period": "1s",
            "keep_releases": 1,
            "healthcheck": {"command": ["true"], "interval": "100ms", "successes": 1, "deadline": "20s"},
        }
    },
}


@dataclass(frozen=True)
class Cost:
    """What one way of bringing an image to all hosts took."""

    seconds: float
    cpu: float
    sent: int
    shipping: float = 0.0
    """Of ours: seconds from the first host that was offered the image to the last that had it."""


def measure(folder: Path) -> str:
    """Run the benchmark and return its report."""
    with Lab(folder / "lab", hosts=HOSTS) as lab:
        base_image(lab.builder_socket())
        bench = _Bench(folder, lab)
        first: dict[str, list[Cost]] = {}
        change: dict[str, list[Cost]] = {}
        with bench.registry():
            for _ in range(RUNS):
                for name, bring in bench.contenders().items():
                    bench.clean()
                    bench.new_version(ballast=True)
                    bench.prepare(name)
                    first.setdefault(name, []).append(bench.cost(bring))
                    if name == "docker load, no network":
                        continue
                    bench.new_version()
                    bench.prepare(name)
                    change.setdefault(name, []).append(bench.cost(bring))
        size = bench.size
    return "\n\n".join(
        [
            f"## An image of {size / 1e6:.0f} MB to {HOSTS} hosts for the first time",
            _report(first),
            f"## {_CHANGE // 1000} KB of it changed",
            _report(change),
        ]
    )


class _Bench:
    """The fleet, the image and the ways to bring one to the other."""

    def __init__(self, folder: Path, lab: Lab) -> None:
        self._folder = folder
        self._lab = lab
        self._docker = [docker_client(), "--host", f"unix://{lab.builder_socket()}"]
        self._project = Project(folder / "project", lab, _SPEC)
        self._project.write("app/Dockerfile", _DOCKERFILE)
        self._version = 0
        self._archive = folder / "image.tar"
        self.size = 0

    @property
    def _tag(self) -> str:
        return f"benchmark:{self._version}"

    def contenders(self) -> Mapping[str, Callable[[], Sample]]:
        """Return the ways, by name."""
        return {
            "deploy apply": self._deploy,
            "registry, push and pull": self._through_registry,
            "save, ssh, load": lambda: self._pipe("", ""),
            "save, gzip, ssh, load": lambda: self._pipe("| gzip", "gunzip |"),
            "docker load, no network": self._load_there,
        }

    def new_version(self, *, ballast: bool = False) -> None:
        """Change 10 KB of the image, or all of it."""
        self._version += 1
        if ballast:
            block = secrets.token_bytes(2048) + bytes(2048)
            self._project.write(
                "app/ballast",
                b"".join(secrets.token_bytes(2048) + bytes(2048) for _ in range(_BALLAST // len(block))),
            )
        self._project.write("app/page.html", secrets.token_bytes(_CHANGE))

    def prepare(self, name: str) -> None:
        """Build the version, so that the time of building falls on nobody."""
        if name == "deploy apply":
            self._project.deploy("build")
            return
        run(
            [*self._docker, "build", "--quiet", "--tag", self._tag, str(self._project.folder / "app")],
            env=_CLASSIC,
        )
        self.size = int(run([*self._docker, "inspect", "--format", "{{.Size}}", self._tag]).output)
        if name.startswith("docker load"):
            run([*self._docker, "save", "--output", str(self._archive), self._tag])

    def clean(self) -> None:
        """Remove everything from the hosts, the registry's memory and ours."""
        self._project.deploy("destroy", "--yes")
        for host in self._lab.hosts:
            images = self._lab.docker(host, "images", "--quiet").stdout.split()
            if images:
                self._lab.docker(host, "rmi", "--force", *sorted(set(images)))

    def cost(self, bring: Callable[[], Sample]) -> Cost:
        """Measure one way."""
        before = self._received()
        sample = bring()
        return Cost(sample.seconds, sample.cpu, self._received() - before, _shipping(sample.output))

    def _received(self) -> int:
        links = [Path("/sys/class/net", host.link, "statistics/tx_bytes") for host in self._lab.hosts]
        return sum(int(link.read_text()) for link in links)

    def _deploy(self) -> Sample:
        return self._project.deploy("apply", "--yes", "--json")

    def _pipe(self, pack: str, unpack: str) -> Sample:
        save = f"{' '.join(self._docker)} save {self._tag} {pack}"
        line = f"{save} | ssh -F {self._ssh} HOST '{unpack} docker load -q'"
        return self._everywhere(line)

    def _load_there(self) -> Sample:
        sockets = [self._lab.engine_socket(host) for host in self._lab.hosts]
        client = self._docker[0]
        return _side_by_side(
            [f"{client} --host unix://{socket} load -q <{self._archive}" for socket in sockets]
        )

    def _through_registry(self) -> Sample:
        name = f"localhost:{_PORT}/{self._tag}"
        docker = " ".join(self._docker)
        push = run(["sh", "-ec", f"{docker} tag {self._tag} {name}; {docker} push -q {name}"])
        line = f"ssh -F {self._ssh} -R {_PORT}:127.0.0.1:{_PORT} HOST docker pull -q {name}"
        pulls = self._everywhere(line)
        return Sample(push.seconds + pulls.seconds, push.cpu + pulls.cpu)

    @property
    def _ssh(self) -> Path:
        return self._lab.layout.ssh_config

    def _everywhere(self, line: str) -> Sample:
        return _side_by_side([line.replace("HOST", host.name) for host in self._lab.hosts])

    @contextlib.contextmanager
    def registry(self) -> Iterator[None]:
        """Run Debian's docker-registry on this machine."""
        config = self._folder / "registry.json"
        config.write_text(
            json.dumps(
                {
                    "version": 0.1,
                    "log": {"level": "error"},
                    "storage": {"filesystem": {"rootdirectory": str(self._folder / "registry")}},
                    "http": {"addr": f"127.0.0.1:{_PORT}"},
                }
            )
        )
        with subprocess.Popen(
            ["docker-registry", "serve", config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                _wait_for(f"http://127.0.0.1:{_PORT}/v2/", process)
                yield
            finally:
                process.terminate()


_CLASSIC = {"DOCKER_BUILDKIT": "0"}


def _shipping(output: str) -> float:
    """Return how long the steps took that ship, by the JSON lines of a run; 0 for other output."""
    lines = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    begun = {
        line["step"]["id"]: line["time"]
        for line in lines
        if line["event"] == "step_started" and line["step"]["kind"] == "ship"
    }
    ended = [line["time"] for line in lines if line["event"] == "step_finished" and line["step"] in begun]
    return max(ended) - min(begun.values()) if begun and ended else 0.0


def _side_by_side(lines: list[str]) -> Sample:
    jobs = "".join(f'({line}) >/dev/null & jobs="$jobs $!"\n' for line in lines)
    # `wait` of all would hide a failure; each is waited for by itself.
    return run(["sh", "-ec", f"{jobs}for job in $jobs; do wait $job; done"])


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            raise RuntimeError("the registry did not start")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the registry does not answer")


def _report(results: Mapping[str, list[Cost]]) -> str:
    ours = _median(results["deploy apply"]).seconds
    rows = []
    for name, costs in results.items():
        middle = _median(costs)
        times = "1" if name == "deploy apply" else f"{middle.seconds / ours:.2f}"
        sent = f"{middle.sent / 1e6:.1f} MB" if middle.sent > 1e6 else f"{middle.sent / 1e3:.0f} kB"
        rows.append((name, f"{middle.seconds:.2f} s", f"{middle.cpu:.2f} s", sent, times))
    shipping = sorted(cost.shipping for cost in results["deploy apply"])[len(results["deploy apply"]) // 2]
    rows.insert(1, ("- of it, shipping", f"{shipping:.2f} s", "", "", f"{shipping / ours:.2f}"))
    return table(("", "median", "CPU here", "to the hosts", "times ours"), rows)


def _median(costs: list[Cost]) -> Cost:
    return sorted(costs, key=lambda cost: cost.seconds)[len(costs) // 2]
