"""The demo: a fleet of three real hosts on this machine, from the first apply to a rollback.

Owns the story and what it checks on the way; every line it runs is printed first, as a person would type
it. It uses the command line only, like anybody else, and takes its lab down however it ends.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from orchestrator.errors import DeployError
from orchestrator.lab.commands import down
from orchestrator.lab.lab import Lab
from orchestrator.lab.needs import install_missing

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example"
ROOT = Path(".lab") / "demo"
APPLY_FAILED = 3
"""Exit code of an apply that failed and kept or restored the old state."""

_FIRST = "Welcome to the shop."
_SECOND = "Welcome to the new shop."
_BROKEN = '<% response.setStatus(500); %><%@ page contentType="text/plain" session="false" %>broken\n'


def main() -> int:
    """Run the demo; return the exit code."""
    try:
        prepare()
        down(ROOT)
        tell()
    except DeployError as error:
        lines = [f"error: {error.message}", *(f"  {line}" for line in error.context)]
        say(*lines, *([f"hint: {error.hint}"] if error.hint else []))
        return error.exit_code
    except KeyboardInterrupt:
        say("", "interrupted: taking the lab down")
        return 130
    finally:
        if os.geteuid() == 0:
            down(ROOT)
            shutil.rmtree(ROOT, ignore_errors=True)
    return 0


def say(*lines: str) -> None:
    """Print lines at once, whatever the output is."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def prepare() -> None:
    """Install what the machine lacks, saying so first.

    Raises:
        ToolMissing: Something is missing that no package brings.
        LabError: The package manager failed.
    """
    install_missing(say)


def tell() -> None:
    """The story."""
    shop = ROOT / "shop"
    shutil.rmtree(shop, ignore_errors=True)
    shutil.copytree(EXAMPLE, shop)
    page = Path("images/tomcat/webapp/index.jsp")
    health = Path("images/tomcat/webapp/health.jsp")

    title("A lab of three real hosts: an SSH server and a container engine each")
    run("deploy", "lab", "up", "--hosts", "3", "--root", str(ROOT))
    lab = Lab.load(ROOT)
    builder = f"unix://{lab.builder_socket()}"
    os.environ |= {"DOCKER_HOST": builder, "SHOP_CACHE_PASSWORD": "correct-horse-battery"}
    say(f"$ export DOCKER_HOST={builder}", "$ export SHOP_CACHE_PASSWORD=...")
    say(f"$ cp {ROOT}/inventory.yaml {shop}/; cd {shop}")
    shutil.copy(lab.layout.inventory, shop)

    title("The first apply: build, ship, start, prove healthy")
    run("deploy", "graph", cwd=shop)
    run("deploy", "apply", "spec.yaml", "--yes", cwd=shop)
    url = f"http://{lab.host('web-1').address}/visit"
    visit(url, _FIRST)

    title("Nothing has changed: nothing is built, sent or touched")
    run("deploy", "apply", "spec.yaml", "--yes", cwd=shop)

    title("Change one file: only what stands on it is rebuilt, sent and replaced")
    edit(shop, page, _FIRST, _SECOND)
    run("deploy", "plan", cwd=shop)
    run("deploy", "apply", "spec.yaml", "--yes", cwd=shop)
    visit(url, _SECOND)

    title("Break it: an image that never becomes healthy. The old one keeps running")
    good = (shop / health).read_text()
    say(f"$ echo ... > {health}    # it answers 500 from now on")
    (shop / health).write_text(_BROKEN)
    edit(shop, Path("spec.yaml"), "deadline: 60s", "deadline: 8s")
    run("deploy", "apply", "spec.yaml", "--yes", cwd=shop, expect=APPLY_FAILED)
    visit(url, _SECOND)
    (shop / health).write_text(good)

    title("Roll back to the first release: its own image and configuration")
    run("deploy", "rollback", "--yes", cwd=shop)
    visit(url, _FIRST)
    run("deploy", "status", cwd=shop)
    run("deploy", "history", cwd=shop)

    title("Take the lab down")
    run("deploy", "lab", "down", "--root", str(ROOT))


def title(text: str) -> None:
    """Print the heading of a chapter."""
    say("", f"# {text}")


def run(*command: str, cwd: Path | None = None, expect: int = 0) -> None:
    """Print a command, run it with its output in place, and check its exit code.

    Raises:
        DeployError: It ended with another code than ``expect``.
    """
    say(f"$ {shlex.join(command)}")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    code = subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, check=False).returncode
    if expect:
        say(f"$ echo $?\n{code}")
    if code != expect:
        raise DeployError(f"the demo stops: {shlex.join(command)} ended with {code}, not with {expect}")


def edit(shop: Path, file: Path, old: str, new: str) -> None:
    """Replace text in a file of the shop, printing the command that does it.

    Raises:
        DeployError: The file does not hold ``old``.
    """
    say(f"$ sed -i 's/{old}/{new}/' {file}")
    text = (shop / file).read_text()
    if old not in text:
        raise DeployError(f"the demo stops: {file} does not say {old!r}")
    (shop / file).write_text(text.replace(old, new))


def visit(url: str, expected: str) -> None:
    """Print a page, and check that it is the expected version.

    Raises:
        DeployError: It is another one.
    """
    say(f"$ curl {url}")
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own lab's address
        text = answer.read().decode()
    say(*text.strip().splitlines())
    if expected not in text:
        raise DeployError(f"the demo stops: the page does not say {expected!r}")


if __name__ == "__main__":
    sys.exit(main())
