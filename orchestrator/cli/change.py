"""Commands that change hosts, or say what would: plan, apply, build, rollback, destroy, prune."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.options import (
    Builder,
    Files,
    Inventory,
    Json,
    Limit,
    Specs,
    Verbose,
    Yes,
    options,
)
from orchestrator.errors import RequestError

if TYPE_CHECKING:
    from orchestrator.headstart import HeadStart
    from orchestrator.options import Options
    from orchestrator.planning.types import Plan
    from orchestrator.works import Work

CHANGES_FOUND = 2
"""Exit code of ``plan --exit-code`` when there is something to do."""
_SAVE_ONE = "save one with `deploy plan --out FILE`"


def plan(
    specs: Specs = None,
    *,
    inventory: Inventory = None,
    limit: Limit = None,
    builder: Builder = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Save the plan for `deploy apply FILE`.")
    ] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 2 when there is something to do.")
    ] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="text, or markdown for a comment on a change.")
    ] = "text",
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Show what an apply would do, where and why. Touches nothing.

    Example: deploy plan spec.yaml production.yaml --out plan.json
    """
    if form not in ("text", "markdown"):
        raise RequestError(f"no form is called {form!r}", hint="choose text or markdown, or add --json")
    chosen = options(specs, inventory=inventory, limit=limit, builder=builder)
    with _head_start(chosen) as ahead:
        from orchestrator import pipeline  # noqa: PLC0415
        from orchestrator.report.markdown_view import render_markdown  # noqa: PLC0415
        from orchestrator.report.plan_view import render_plan  # noqa: PLC0415
        from orchestrator.report.select import make_style, quiet  # noqa: PLC0415

        made, _ = pipeline.plan(chosen, quiet(sys.stderr), ahead)
    document = pipeline.document(made, chosen)
    if out is not None:
        out.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
    if as_json:
        typer.echo(json.dumps(document, indent=2, sort_keys=True))
    elif form == "markdown":
        typer.echo(render_markdown(made), nl=False)
    else:
        typer.echo(render_plan(made, style=make_style(sys.stdout, os.environ), verbose=verbose), nl=False)
        if out is not None:
            typer.echo(f"saved: deploy apply {out} carries out exactly this plan")
    return CHANGES_FOUND if exit_code and not made.empty else 0


def apply(
    specs: Specs = None,
    *,
    inventory: Inventory = None,
    limit: Limit = None,
    builder: Builder = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stop before the cutover and wait for `deploy promote`.")
    ] = False,
    replace_held: Annotated[
        bool, typer.Option("--replace-held", help="Replace a release that is held, instead of refusing.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Make the fleet what the spec says. Builds, ships, starts, proves healthy, and only then stops the old.

    Give a plan saved by `deploy plan --out` instead of a spec to carry out exactly that plan.

    Example: deploy apply spec.yaml --yes
    """
    saved = None
    if specs and len(specs) == 1 and specs[0].suffix == ".json":
        from orchestrator import pipeline  # noqa: PLC0415

        saved = _read_plan(specs[0])
        chosen = pipeline.options_of(saved, dict(os.environ))
    else:
        chosen = options(specs, inventory=inventory, limit=limit, builder=builder)

    return carry_out(
        chosen,
        lambda works: works.Apply(chosen, saved=saved, hold=hold, replace_held=replace_held),
        yes=yes or saved is not None,
        as_json=as_json,
        verbose=verbose,
    )


def build(
    specs: Specs = None,
    *,
    inventory: Inventory = None,
    builder: Builder = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Build the images that have changed. No service is touched.

    Example: deploy build --builder build-1
    """
    from orchestrator import pipeline  # noqa: PLC0415
    from orchestrator.report.select import make_listener  # noqa: PLC0415

    chosen = options(specs, inventory=inventory, builder=builder)
    view = make_listener(sys.stdout, sys.stderr, json=as_json, verbose=verbose, environ=os.environ)
    try:
        images = pipeline.build(chosen, view)
    finally:
        view.close()
    if not as_json:
        for name, image in sorted(images.items()):
            typer.echo(f"{name}  {image}")


def rollback(
    release: Annotated[
        str | None, typer.Argument(help="Release to go back to. Default: the one before.")
    ] = None,
    *,
    files: Files = None,
    inventory: Inventory = None,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Go back to a release as it was. Its images, environment, configs and secrets count, not today's.

    Example: deploy rollback r7
    """
    chosen = options(files, inventory=inventory)

    return carry_out(
        chosen, lambda works: works.Rollback(chosen, release), yes=yes, as_json=as_json, verbose=verbose
    )


def destroy(
    *,
    files: Files = None,
    inventory: Inventory = None,
    volumes: Annotated[
        bool, typer.Option("--volumes", help="Delete the project's volumes and their data too.")
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Stop and remove everything of the project on every host. Volumes stay unless asked for.

    Example: deploy destroy --volumes
    """
    chosen = options(files, inventory=inventory)

    return carry_out(
        chosen,
        lambda works: works.Destroy(chosen, volumes=volumes),
        yes=yes,
        as_json=as_json,
        verbose=verbose,
    )


def prune(
    *,
    files: Files = None,
    inventory: Inventory = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Old releases to keep instead of each service's own.")
    ] = None,
    yes: Yes = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> int:
    """Remove what no kept release needs. That is stopped instances, records and images, never volumes.

    Example: deploy prune --keep 1
    """
    chosen = options(files, inventory=inventory)

    return carry_out(
        chosen, lambda works: works.Prune(chosen, keep=keep), yes=yes, as_json=as_json, verbose=verbose
    )


def _head_start(chosen: Options) -> AbstractContextManager[HeadStart | None]:
    """Connect to the hosts while the program that will use them is imported."""
    from orchestrator.headstart import head_start  # noqa: PLC0415

    return head_start(chosen)


def carry_out(
    chosen: Options, make: Callable[[ModuleType], Work], *, yes: bool, as_json: bool, verbose: bool
) -> int:
    """Run a change, shown as the output asks for, and return the exit code.

    Args:
        chosen: What the user asked for.
        make: Returns the change, given the module `works`: that is imported while hosts are connected to.
        yes: Do not ask.
        as_json: Show JSON lines.
        verbose: Show more.

    Raises:
        DeployError: Whatever ended the run.
    """
    with _head_start(chosen) as ahead:
        from orchestrator import works  # noqa: PLC0415

        return _carry_out(make(works), ahead, yes=yes, as_json=as_json, verbose=verbose)


def _carry_out(work: Work, ahead: HeadStart | None, *, yes: bool, as_json: bool, verbose: bool) -> int:
    from orchestrator import pipeline  # noqa: PLC0415
    from orchestrator.cli.run import interruptible  # noqa: PLC0415
    from orchestrator.report.select import make_listener  # noqa: PLC0415

    view = make_listener(sys.stdout, sys.stderr, json=as_json, verbose=verbose, environ=os.environ)
    ask = None if yes else partial(_ask, as_json=as_json)
    try:
        with interruptible() as interrupt:
            outcome = pipeline.run(work, view, confirm=ask, interrupt=interrupt, ahead=ahead)
    finally:
        view.close()
    outcome.raise_for_error()
    return 0


def _ask(_made: Plan, *, as_json: bool) -> bool:
    if as_json or not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise RequestError(
            "cannot ask for confirmation without a terminal",
            hint="add --yes, or save a plan with `deploy plan --out plan.json` and apply that",
        )
    try:
        return typer.confirm("Apply?", default=False)
    except typer.Abort:  # Ctrl-C or the end of the input: an answer as well
        return False


def _read_plan(path: Path) -> dict[str, object]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RequestError(
            f"cannot read {path}: it is not JSON", hint="save one with `deploy plan --out`"
        ) from error
    if not isinstance(document, dict) or document.get("kind") != "plan":
        raise RequestError(f"{path} is not a saved plan", hint=_SAVE_ONE)
    return document


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (plan, apply, build, rollback, destroy, prune):
        app.command()(command)
