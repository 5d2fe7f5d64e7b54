"""BuildKit, through the host's own ``docker`` command: its API is no plain HTTP.

Owns finding a command that can, by asking each, and its arguments. The context is its stdin; no shell
is involved.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Dict, Iterator, List, Optional

from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.imaging.labels import labels
from orchestrator.agent.imaging.output import Output, failed
from orchestrator.protocol.messages import Build

_PROBE_SECONDS = 20.0
_PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin")
_BUILT_IN_UNTIL = 23
"""Major version of the command that began to need its buildx part for BuildKit."""


def find_command(environment: Dict[str, str]) -> Optional[List[str]]:
    """Return the arguments that begin a BuildKit build, or ``None`` when no command here can."""
    places = dict.fromkeys([*environment.get("PATH", "").split(os.pathsep), *_PLACES])
    for place in places:
        command = os.path.join(place, "docker")  # noqa: PTH118 - a string for the argument vector
        if not place or not os.access(command, os.X_OK):
            continue
        if _answers([command, "buildx", "version"], environment) is not None:
            return [command, "buildx", "build", "--load"]
        version = _answers([command, "version", "--format", "{{.Client.Version}}"], environment) or ""
        major = version.split(".")[0]
        if major.isdigit() and int(major) < _BUILT_IN_UNTIL:
            return [command, "build"]
    return None


def build(
    params: Build,
    context: Context,
    content: Iterator[bytes],
    output: Output,
    *,
    network: str,
    reason: str,
) -> str:
    """Build and return the image's id.

    Raises:
        Refusal: ``build-failed``, also when no command here can; ``reason`` says what needs one.
    """
    environment = _environment(context)
    command = find_command(environment)
    if command is None:
        raise Refusal(
            "build-failed",
            f"this Dockerfile needs BuildKit, because of {reason}, and no docker command here has it",
            hint="install the distribution's docker command with its buildx plugin on the builder",
        )
    with tempfile.TemporaryDirectory(prefix="deploy-build-") as folder:
        id_file = Path(folder) / "id"
        process = subprocess.Popen(
            [*command, *_arguments(params, network), "--iidfile", str(id_file), "-"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        sender = threading.Thread(target=_send, args=(process, content), name="context", daemon=True)
        with process, context.aborting(process.kill):
            sender.start()
            if process.stdout is not None:
                for line in process.stdout:
                    output.write(line.decode("utf-8", "replace"))
        sender.join()
        context.check_cancelled()
        if process.returncode != 0 or not id_file.is_file():
            raise failed(f"the builder ended with status {process.returncode}", output)
        return id_file.read_text().strip()


def _arguments(params: Build, network: str) -> List[str]:
    arguments = ["--progress", "plain", "--file", params.dockerfile]
    for name, value in labels(params).items():
        arguments += ["--label", f"{name}={value}"]
    for name, value in params.args:
        arguments += ["--build-arg", f"{name}={value}"]
    for option, value in (
        ("--target", params.target),
        ("--platform", params.platform),
        ("--network", network),
        ("--tag", params.tag),
    ):
        arguments += [option, value] if value else []
    return arguments


def _environment(context: Context) -> Dict[str, str]:
    return {**os.environ, "DOCKER_HOST": f"unix://{context.engine.socket_path}", "DOCKER_BUILDKIT": "1"}


def _answers(command: List[str], environment: Dict[str, str]) -> Optional[str]:
    """Return what a command prints, or ``None`` when it fails."""
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=_PROBE_SECONDS, check=True, text=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _send(process: "subprocess.Popen[bytes]", content: Iterator[bytes]) -> None:
    """Feed the context; a builder that has given up closes its stdin, and says why by itself."""
    if process.stdin is None:
        return
    try:
        for piece in content:
            process.stdin.write(piece)
        process.stdin.close()
    except BrokenPipeError:
        return
    except Refusal:
        process.kill()
