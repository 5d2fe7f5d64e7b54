"""Commands for the lab: a fleet of real hosts on this machine, to try things on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Json

app = typer.Typer(help="A fleet of real hosts on this machine, to try things on.", no_args_is_help=True)

Root = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="Folder that holds the lab.", envvar="DEPLOY_LAB")
]
DEFAULT_ROOT = Path(".lab")


@app.command()
def up(
    *,
    hosts: Annotated[int, typer.Option("--hosts", metavar="N", min=1, max=200, help="How many hosts.")] = 3,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Start a lab. Its hosts have an SSH server and an engine each; one more engine builds.

    Example: deploy lab up --hosts 3
    """
    from orchestrator import lab  # noqa: PLC0415

    running = lab.up(root, hosts)
    for host in running.hosts:
        typer.echo(f"{host.host.name}  {host.host.address}  {host.state}")
    builder = lab.Lab.load(root).builder_socket()
    if not (lab.cache() / "roots" / "bookworm").exists():
        typer.echo("making the base image from the distribution's packages: about a minute, once")
    base = lab.base_image(builder)
    typer.echo(f"inventory: {root / 'inventory.yaml'}")
    typer.echo(f"to build on {base}: export DOCKER_HOST=unix://{builder}")


@app.command()
def down(*, root: Root = DEFAULT_ROOT) -> None:
    """Take the lab down and leave nothing of it.

    Example: deploy lab down
    """
    from orchestrator import lab  # noqa: PLC0415

    lab.down(root)
    typer.echo("the lab is down")


@app.command()
def status(*, root: Root = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Show the lab's hosts.

    Example: deploy lab status
    """
    from orchestrator import lab  # noqa: PLC0415

    now = lab.status(root)
    if as_json:
        typer.echo(json.dumps({"version": 1, **asdict(now)}, default=str))
        return
    for host in now.hosts:
        typer.echo(f"{host.host.name}  {host.host.address}  {host.state}")


@app.command(context_settings={"ignore_unknown_options": True})
def ssh(
    host: Annotated[str, typer.Argument(help="Name of the host.")],
    command: Annotated[list[str] | None, typer.Argument(help="Command; a shell when none is given.")] = None,
    *,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Log in to a host of the lab, or run one command there.

    Example: deploy lab ssh web-1 -- docker ps
    """
    from orchestrator import lab  # noqa: PLC0415

    arguments = lab.ssh_command(root, host, command or ())
    os.execvp(arguments[0], arguments)  # noqa: S606 - it replaces this process on purpose
