"""Commands for whoever writes a spec: init, validate, graph, schema. None of them needs a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.options import Inventory, Json, Specs, options
from orchestrator.errors import RequestError

_SPEC = """\
# yaml-language-server: $schema=spec.schema.json
project: {name}

images:
  web: {{ build: {{ context: images/web }} }}

services:
  web:
    image: web
    hosts: [all]
    per_host: 1
    ports: ["80:8080"]
    tmpfs: [/tmp]
    healthcheck: {{ http: /, port: 8080 }}
"""

_INVENTORY = """\
# An Ansible inventory: every host that deploy may use. See docs/inventory.md.
all:
  hosts:
    web-1: { ansible_host: 192.0.2.10, ansible_user: root }
"""

_DOCKERFILE = """\
FROM busybox:1.36
COPY index.html /srv/index.html
CMD ["httpd", "-f", "-p", "8080", "-h", "/srv"]
"""


def init(
    directory: Annotated[Path, typer.Argument(help="Folder of the new project.")] = Path(),
) -> None:
    """Write a first spec, inventory and image.

    Example: deploy init shop
    """
    from orchestrator.spec.schema import json_schema  # noqa: PLC0415 - only this command needs it

    name = "".join(c if c.isalnum() else "-" for c in directory.absolute().name.lower()).strip("-")
    files = {
        "spec.yaml": _SPEC.format(name=name or "app"),
        "inventory.yaml": _INVENTORY,
        "images/web/Dockerfile": _DOCKERFILE,
        "images/web/index.html": "<h1>It works.</h1>\n",
        "spec.schema.json": json.dumps(json_schema(), indent=2) + "\n",
    }
    existing = [file for file in files if (directory / file).exists()]
    if existing:
        raise RequestError(
            f"cannot write {existing[0]} in {directory}: it exists already",
            hint="choose an empty folder: deploy init NAME",
        )
    for file, text in files.items():
        path = directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        typer.echo(f"wrote {path}")
    typer.echo("next: name your hosts in inventory.yaml, then run deploy plan")


def validate(specs: Specs = None, *, inventory: Inventory = None, as_json: Json = False) -> None:
    """Check the spec and the inventory; show every problem at once.

    Example: deploy validate spec.yaml staging.yaml
    """
    from orchestrator import inspection  # noqa: PLC0415
    from orchestrator.report.text import plural  # noqa: PLC0415

    loaded = inspection.validate(options(specs, inventory=inventory))
    project = loaded.spec.project
    if as_json:
        typer.echo(json.dumps({"version": 1, "ok": True, "project": project.project}))
        return
    for problem in (*loaded.spec.warnings, *loaded.inventory.warnings):
        typer.echo(f"warning: {problem}", err=True)
    typer.echo(
        f"{project.project}: {plural(len(project.services), 'service')}, "
        f"{plural(len(project.images), 'image')}, {plural(len(loaded.inventory.hosts), 'host')}: valid"
    )


def graph(
    specs: Specs = None,
    *,
    inventory: Inventory = None,
    form: Annotated[str, typer.Option("--format", metavar="FORM", help="text, dot or mermaid.")] = "text",
    as_json: Json = False,
) -> None:
    """Show what stands on what. Images stand on images, services on images and on services.

    Example: deploy graph --format mermaid
    """
    from orchestrator import inspection  # noqa: PLC0415

    typer.echo(inspection.graph(options(specs, inventory=inventory), "json" if as_json else form), nl=False)


def schema() -> None:
    """Print the JSON Schema of a spec, for editors.

    Example: deploy schema > spec.schema.json
    """
    from orchestrator.spec.schema import json_schema  # noqa: PLC0415

    typer.echo(json.dumps(json_schema(), indent=2))


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (init, validate, graph, schema):
        app.command()(command)
