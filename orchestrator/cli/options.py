"""The arguments and options that commands share, with their words for ``--help``.

Owns names, defaults and help texts only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.options import Options

DEFAULT_SPEC = Path("spec.yaml")

Specs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SPEC", help="Spec files, merged left to right. Default: spec.yaml."),
]
Files = Annotated[
    list[Path] | None,
    typer.Option("-f", "--file", metavar="SPEC", help="Spec file; several are merged. Default: spec.yaml."),
]
Inventory = Annotated[
    Path | None,
    typer.Option(
        "-i", "--inventory", metavar="FILE", help="Inventory. Default: inventory.yaml beside the spec."
    ),
]
Limit = Annotated[
    list[str] | None,
    typer.Option(
        "-l", "--limit", metavar="NAME", help="Only these hosts, groups or services; may be repeated."
    ),
]
Builder = Annotated[
    str | None,
    typer.Option("--builder", metavar="HOST", envvar="DEPLOY_BUILDER", help="Host that builds the images."),
]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout, and nothing else.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show unchanged instances and the builder's output.")
]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask. Required without a terminal.")]


def options(  # noqa: D103 - private to this package, and every argument is documented above
    specs: Sequence[Path] | None = None,
    *,
    inventory: Path | None = None,
    limit: Sequence[str] | None = None,
    builder: str | None = None,
) -> Options:
    names = [name for value in limit or () for name in value.split(",") if name]
    return Options(
        specs=tuple(specs or (DEFAULT_SPEC,)),
        inventory=inventory,
        limit=tuple(names),
        builder=builder,
        environ=dict(os.environ),
    )
