"""Commands about traffic: promote, abort, routes, maintenance."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated

import typer

from orchestrator.cli.change import carry_out
from orchestrator.cli.options import Files, Inventory, Json, Limit, Verbose, Yes, options
from orchestrator.errors import HostError, RequestError

Release = Annotated[str | None, typer.Argument(help="Release that is held. Default: the only one.")]


def promote(
    release: Release = None,
    *,
    files: Files = None,
    inventory: Inventory = None,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Give a held release the traffic, on every host in one transaction.

    It cuts over to the very instances that were tested; nothing is built or started.

    Example: deploy promote r7
    """
    chosen = options(files, inventory=inventory)

    return carry_out(
        chosen, lambda works: works.Promote(chosen, release), yes=yes, as_json=as_json, verbose=verbose
    )


def abort(
    release: Release = None,
    *,
    files: Files = None,
    inventory: Inventory = None,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Give a held release up: its instances stop, and the release in force goes on serving.

    Example: deploy abort r7
    """
    chosen = options(files, inventory=inventory)

    return carry_out(
        chosen, lambda works: works.Abort(chosen, release), yes=yes, as_json=as_json, verbose=verbose
    )


def routes(
    *,
    files: Files = None,
    inventory: Inventory = None,
    limit: Limit = None,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001 - accepted everywhere
) -> int:
    """Show what every router serves right now, next to what it should.

    Example: deploy routes --limit web
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report import routes_view  # noqa: PLC0415
    from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

    chosen = options(files, inventory=inventory, limit=limit)
    observed, now = inspection.routes(chosen, quiet(sys.stderr))
    if as_json:
        typer.echo(json.dumps(routes_view.routes_document(observed, now=now), indent=2, sort_keys=True))
    else:
        style = make_style(sys.stdout, os.environ)
        typer.echo(routes_view.render_routes(observed, now=now, style=style), nl=False)
    return HostError.exit_code if any(host.report is None for host in observed.hosts) else 0


def maintenance(
    state: Annotated[str, typer.Argument(metavar="on|off", help="What it is to be.")],
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="Name of the route in the spec.")],
    *,
    files: Files = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Answer a route with the maintenance page (503) on every router, or serve it again.

    It stays as it is over restarts and releases, until it is switched back.

    Example: deploy maintenance on shop
    """
    from orchestrator import maintenance as work  # noqa: PLC0415
    from orchestrator.cli.run import interruptible  # noqa: PLC0415
    from orchestrator.report.routes_view import maintenance_document, render_maintenance  # noqa: PLC0415
    from orchestrator.report.select import quiet  # noqa: PLC0415

    if state not in ("on", "off"):
        raise RequestError(f"maintenance is on or off, not {state!r}", hint="deploy maintenance on ROUTE")
    chosen = options(files, inventory=inventory)
    with interruptible() as interrupt:
        done = work.switch(chosen, route, on=state == "on", listener=quiet(sys.stderr), interrupt=interrupt)
    if as_json:
        typer.echo(
            json.dumps(maintenance_document(done.route, done.hosts, done.changed, on=done.on), indent=2)
        )
    else:
        typer.echo(render_maintenance(done.route, done.hosts, done.changed, on=done.on), nl=False)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (promote, abort, routes, maintenance):
        app.command()(command)
