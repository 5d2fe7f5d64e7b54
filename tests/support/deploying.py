"""A small project on real hosts, changed and deployed as a user would: by the command, from files.

Owns the project's folder, the runs of the command and what their JSON lines say, and a look at the
hosts by their engines, past the product. A spec is a plain dictionary: JSON is YAML.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from support.seen import Container, Run, fetch

from orchestrator.lab import Lab, busybox_image

START = """\
#!/bin/sh
trap 'echo stopping; exit 0' TERM
echo "serving $(cat /srv/index.html)"
httpd -f -p 8080 -h /srv &
wait
"""
"""Serves /srv; as the first process of a container it must take SIGTERM itself."""
HEALTHCHECK = {"http": "/", "port": 8080, "interval": "50ms", "timeout": "1s", "deadline": "5s"}
NOWHERE = "unix:///nonexistent/docker.sock"
"""For ``DOCKER_HOST``: this machine has no engine."""
ROUND_TRIPS = 5
"""Of each host, at most, in every run that ends well."""
_PREFIX = 'FROM busybox:static\nCOPY --chmod=0755 start /bin/start\nCMD ["/bin/start"]\n'


class Project:
    """A folder with a spec, an inventory and images, and the hosts it is deployed on.

    Two images: ``base``, and ``web`` on top of it, which serves ``images/web/index.html``. One service,
    ``web``, once on every host of the group ``web``, on a port that the engine chooses. Change ``spec``
    (it is written before every run) and the files as you like.

    Args:
        folder: An empty folder.
        lab: The hosts; the inventory lists ``hosts`` of them, all by default.
        name: Name of the project, unique on those hosts.
        hosts: Names of hosts.
    """

    def __init__(self, folder: Path, lab: Lab, name: str, hosts: Sequence[str] = ()) -> None:
        self.folder = folder
        self.lab = lab
        self.name = name
        self.hosts = tuple(hosts) or tuple(host.name for host in lab.hosts)
        self.environ = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("DEPLOY_", "DOCKER_"))},
            "DOCKER_HOST": f"unix://{lab.builder_socket()}",
            "XDG_CACHE_HOME": str(folder / ".cache"),
            "NO_COLOR": "1",
        }
        busybox_image(lab.builder_socket())
        self.file("images/base/Dockerfile", _PREFIX)
        self.file("images/base/start", START)
        self.image("web", "one")
        self.spec: dict[str, Any] = {
            "project": name,
            "images": {"base": {"build": "images/base"}, "web": self.built_on_base("web")},
            "services": {"web": self.service()},
        }

    # Files

    def file(self, path: str, text: str) -> Path:
        """Write a file of the project."""
        made = self.folder / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text)
        return made

    @cached_property
    def salt(self) -> str:
        """A word that no other run has had."""
        return secrets.token_hex(8)

    def make_unique(self) -> None:
        """Have images that no engine has seen, whatever ran before."""
        self.file("images/base/start", f"{START}# {self.salt}\n")

    def image(self, name: str, page: str, *, start: str = "") -> None:
        """Write the folder of an image on top of ``base`` with its page, and a start of its own if given."""
        lines = ["FROM base", "COPY index.html /srv/index.html"]
        if start:
            self.file(f"images/{name}/start", f"#!/bin/sh\n{start}\n")
            lines.append("COPY --chmod=0755 start /bin/start")
        self.file(f"images/{name}/index.html", page)
        self.file(f"images/{name}/Dockerfile", "\n".join([*lines, ""]))

    @staticmethod
    def built_on_base(name: str) -> dict[str, Any]:
        """An image of the spec, for a folder that :meth:`image` wrote."""
        return {"build": {"context": f"images/{name}", "from": "base"}}

    @staticmethod
    def service(image: str = "web", **fields: Any) -> dict[str, Any]:
        """A service of the spec, once on every host of the group ``web`` unless told otherwise."""
        where = {} if "replicas" in fields or "per_host" in fields else {"per_host": 1}
        made = {"image": image, "hosts": ["web"], "ports": [8080], "healthcheck": dict(HEALTHCHECK)}
        return {**made, **where, "stop_grace_period": "2s", **fields}

    def write(self) -> None:
        """Write ``spec.yaml`` and ``inventory.yaml``."""
        self.file("spec.yaml", json.dumps(self.spec, indent=2))
        layout = self.lab.layout
        web = [name for name in self.hosts if not name.startswith("db")]
        groups = {"web": web, "db": [name for name in self.hosts if name not in web]}
        inventory = {
            "all": {
                "vars": {
                    "ansible_user": "root",
                    "ansible_ssh_private_key_file": str(layout.identity),
                    "ansible_ssh_common_args": f"-o UserKnownHostsFile={layout.known_hosts}",
                },
                "hosts": {name: {"ansible_host": self.lab.host(name).address} for name in self.hosts},
                "children": {
                    group: {"hosts": {name: {} for name in names}} for group, names in groups.items()
                },
            }
        }
        self.file("inventory.yaml", json.dumps(inventory, indent=2))

    # Runs

    def start(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start ``deploy ARGUMENTS`` in the folder, in a process group of its own, with pipes."""
        self.write()
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, timeout: float = 60.0, **environ: str) -> Run:
        """Run ``deploy ARGUMENTS`` to its end; keywords are environment variables."""
        process = self.start(*arguments, **environ)
        return finish(process, timeout=timeout)

    def apply(self, *arguments: str, code: int = 0, **environ: str) -> Run:
        """Run ``deploy apply --yes --json`` and check its exit code."""
        return self.change("apply", *arguments, code=code, **environ)

    def change(self, *arguments: str, code: int = 0, **environ: str) -> Run:
        """Run any command that changes hosts, with ``--yes --json``, and check its exit code."""
        done = self.run(*arguments, "--yes", "--json", **environ)
        assert done.code == code, done.stdout[-6000:] + done.stderr
        assert done.finished["exit_code"] == code
        if code == 0:
            trips = {**done.finished["round_trips"], "localhost": 0}
            assert max(trips.values()) <= ROUND_TRIPS, trips
        return done

    def look(self, *arguments: str, **environ: str) -> Any:
        """Run a command that only looks, with ``--json``; its document."""
        done = self.run(*arguments, "--json", **environ)
        assert done.code == 0, done
        return done.document

    # The hosts, past the product

    def containers(self, *, everything: bool = False) -> dict[str, Container]:
        """The project's running containers by instance, such as ``web[1]``.

        Args:
            everything: Stopped ones too, each as ``web[1] r1``.
        """
        found = [one for host in self.hosts for one in self._inspect(host, everything=everything)]
        named = {f"{one.instance} {one.release}" if everything else one.instance: one for one in found}
        assert len(named) == len(found), found
        return named

    def ids(self) -> dict[str, str]:
        """Container ids of what runs, by instance."""
        return {name: one.id for name, one in self.containers().items()}

    def states(self) -> dict[str, tuple[str, str]]:
        """Ids and states of all containers there are, such as ``web[1] r1``."""
        return {name: (one.id, one.state) for name, one in self.containers(everything=True).items()}

    def _inspect(self, host: str, *, everything: bool) -> list[Container]:
        options = ["--filter=label=deploy.service", *(["--all"] if everything else [])]
        label = f"label=deploy.project={self.name}"
        ids = self.lab.docker(host, "ps", "--quiet", "--no-trunc", "--filter", label, *options).stdout.split()
        if not ids:
            return []
        return [Container(host, one) for one in json.loads(self.lab.docker(host, "inspect", *ids).stdout)]

    def url(self, instance: str = "web[1]") -> str:
        """Where a running instance serves."""
        one = self.containers()[instance]
        return f"http://{self.lab.host(one.host).address}:{one.port}/"

    def page(self, instance: str = "web[1]", path: str = "") -> str:
        """What a running instance serves."""
        return fetch(self.url(instance) + path)

    def remove(self) -> None:
        """Remove all of the project from the hosts, whatever state it is in."""
        for host in self.lab.hosts:
            script = (
                f"docker ps -aq --filter label=deploy.project={self.name} | xargs -r docker rm -fv;"
                f"docker network rm {self.name};"
                f"docker volume ls -q --filter label=deploy.project={self.name}"
                f" | xargs -r docker volume rm; rm -rf /var/lib/deploy/projects/{self.name}"
            )
            self.lab.run(host, ["sh", "-c", script], check=False)


def finish(process: subprocess.Popen[str], *, timeout: float = 60.0) -> Run:
    """Wait for a command that was started; kill it when it takes longer than ``timeout`` seconds."""
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"took longer than {timeout:.0f} s: {stdout[-6000:]}{stderr}") from None
    return Run(process.returncode, stdout, stderr)


def wait_for(process: subprocess.Popen[str], event: str, **fields: Any) -> list[dict[str, Any]]:
    """Read JSON lines of a command that was started until an event has these fields; all lines read.

    Fields of a step are looked for in its ``step`` too: ``kind="start"``.
    """
    assert process.stdout is not None
    lines: list[dict[str, Any]] = []
    while text := process.stdout.readline():
        line = json.loads(text)
        lines.append(line)
        step = line.get("step")
        known = {**line, **(step if isinstance(step, dict) else {})}
        if line["event"] == event and fields.items() <= known.items():
            return lines
    raise AssertionError(f"no {event} with {fields}: {lines}")


def project_name(test: str) -> str:
    """A project's name for a test's."""
    return re.sub(r"[^a-z0-9]+", "-", test.lower().removeprefix("test_")).strip("-")[:40].strip("-")
