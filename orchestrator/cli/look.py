"""Commands that only look: status, history, show, logs, exec."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from orchestrator.cli.options import Files, Inventory, Json, Limit, Verbose, options
from orchestrator.errors import HostError


def status(
    *,
    files: Files = None,
    inventory: Inventory = None,
    limit: Limit = None,
    as_json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001 - accepted everywhere
) -> int:
    """Show what runs where, in which release, and how it is.

    Example: deploy status --limit web
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report import status_view  # noqa: PLC0415
    from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

    chosen = options(files, inventory=inventory, limit=limit)
    observed, now = inspection.status(chosen, quiet(sys.stderr))
    if as_json:
        _print(status_view.status_document(observed, now=now))
    else:
        style = make_style(sys.stdout, os.environ)
        typer.echo(status_view.render_status(observed, now=now, style=style), nl=False)
    return HostError.exit_code if any(host.report is None for host in observed.hosts) else 0


def history(*, files: Files = None, inventory: Inventory = None, as_json: Json = False) -> None:
    """List the releases that the hosts remember, newest last.

    Example: deploy history
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report import status_view  # noqa: PLC0415
    from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

    releases, current, now = inspection.history(options(files, inventory=inventory), quiet(sys.stderr))
    if as_json:
        _print(status_view.history_document(releases, current=current))
    else:
        style = make_style(sys.stdout, os.environ)
        typer.echo(status_view.render_history(releases, current=current, now=now, style=style), nl=False)


def show(
    release: Annotated[str, typer.Argument(help="Release id, such as r7.")],
    *,
    files: Files = None,
    inventory: Inventory = None,
    as_json: Json = False,
) -> None:
    """Show one release: what ran where, from which images.

    Example: deploy show r7
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report import status_view  # noqa: PLC0415
    from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

    records = inspection.release(options(files, inventory=inventory), release, quiet(sys.stderr))
    if as_json:
        _print(status_view.release_document(records))
    else:
        style = make_style(sys.stdout, os.environ)
        typer.echo(status_view.render_release(records, style=style), nl=False)


def logs(
    service: Annotated[str, typer.Argument(help="Service, or one instance: service[slot].")],
    *,
    files: Files = None,
    inventory: Inventory = None,
    limit: Limit = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until interrupted.")] = False,
    tail: Annotated[
        int, typer.Option("-n", "--tail", metavar="N", min=0, help="Lines of each instance.")
    ] = 100,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Only after this: 10m, or a time.")
    ] = "",
) -> None:
    """Show the output of a service's instances on all hosts.

    Example: deploy logs catalog --follow
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report.logs_view import LogPrinter  # noqa: PLC0415
    from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

    chosen = options(files, inventory=inventory, limit=limit)
    printer = LogPrinter(sys.stdout, style=make_style(sys.stdout, os.environ))
    inspection.logs(chosen, service, quiet(sys.stderr), printer.write, follow=follow, tail=tail, since=since)
    printer.close()


def execute(
    service: Annotated[str, typer.Argument(help="Service, or one instance: service[slot].")],
    command: Annotated[list[str], typer.Argument(metavar="-- CMD", help="Command and arguments.")],
    *,
    files: Files = None,
    inventory: Inventory = None,
    limit: Limit = None,
) -> int:
    """Run a command in a running instance and exit with its exit code.

    Example: deploy exec catalog -- ls /srv
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report.select import quiet  # noqa: PLC0415

    chosen = options(files, inventory=inventory, limit=limit)
    return inspection.execute(
        chosen, service, tuple(command), quiet(sys.stderr), stdin=sys.stdin.buffer, stdout=sys.stdout.buffer
    )


def _print(document: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, sort_keys=True))


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (status, history, show, logs):
        app.command()(command)
    app.command(name="exec", context_settings={"ignore_unknown_options": True})(execute)
