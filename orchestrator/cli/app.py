"""The list of commands.

Owns the top of ``deploy --help``; each command is defined in the module that the package's docstring
names.
"""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator import __version__
from orchestrator.cli import author, change, lab, look, traffic

app = typer.Typer(
    name="deploy",
    help="Replace servers instead of changing them: one spec, any number of hosts, over SSH.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take service[slot] for markup
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(lab.app, name="lab")
for module in (author, change, traffic, look):
    module.register(app)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"deploy {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Replace servers instead of changing them: one spec, any number of hosts, over SSH."""
