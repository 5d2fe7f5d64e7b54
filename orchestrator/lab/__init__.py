"""A fleet of real hosts on one machine, for the demo, the integration tests and the benchmarks.

Hosts are namespaces with an SSH server, an engine, an address and a name of their own.
It depends on the standard library and must not know what is deployed on its hosts.
"""

from orchestrator.lab.base_images import base_image, busybox_image
from orchestrator.lab.builder import cache
from orchestrator.lab.commands import down, ssh_command, status, up
from orchestrator.lab.engine import docker_client
from orchestrator.lab.lab import Lab
from orchestrator.lab.model import HostOptions, HostStatus, LabHost, LabStatus, Layout
from orchestrator.lab.needs import Missing, install_missing, requirements
from orchestrator.lab.processes import LabError
from orchestrator.lab.provision import DOCKER_USER, SUDO_USER

__all__ = [
    "DOCKER_USER",
    "SUDO_USER",
    "HostOptions",
    "HostStatus",
    "Lab",
    "LabError",
    "LabHost",
    "LabStatus",
    "Layout",
    "Missing",
    "base_image",
    "busybox_image",
    "cache",
    "docker_client",
    "down",
    "install_missing",
    "requirements",
    "ssh_command",
    "status",
    "up",
]
