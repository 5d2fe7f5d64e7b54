"""Writes the two references that are generated: ``docs/spec-reference.md`` and ``docs/cli.md``.

Owns the Markdown of the command line's reference, made from the same declarations as ``--help``. The
spec's is the model's own. A test holds both files equal to what this makes; ``make docs`` runs it.
"""

# ruff: noqa: INP001 - a script beside what it writes

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.app import app
from orchestrator.spec.reference import reference_markdown

DOCS = Path(__file__).resolve().parent

_INTRO = """\
# The command line

Generated from the program's own declarations; a test keeps it in step. `deploy COMMAND --help` says the
same. What is printed, and every exit code, is in [what deploy prints](cli-output.md).

| to | commands |
|---|---|
| begin | [`init`](#deploy-init), [`validate`](#deploy-validate), [`graph`](#deploy-graph), \
[`schema`](#deploy-schema) |
| change hosts | [`plan`](#deploy-plan), [`apply`](#deploy-apply), [`build`](#deploy-build), \
[`rollback`](#deploy-rollback), [`destroy`](#deploy-destroy), [`prune`](#deploy-prune) |
| move traffic | [`promote`](#deploy-promote), [`abort`](#deploy-abort), \
[`routes`](#deploy-routes), [`maintenance`](#deploy-maintenance) |
| look | [`status`](#deploy-status), [`history`](#deploy-history), [`show`](#deploy-show), \
[`logs`](#deploy-logs), [`exec`](#deploy-exec) |
| try things on this machine | [`lab up`](#deploy-lab-up), [`lab down`](#deploy-lab-down), \
[`lab status`](#deploy-lab-status), [`lab ssh`](#deploy-lab-ssh) |

Commands that make something of a spec take spec files as arguments; those that take something else, such
as a release, take spec files by `-f`. Without any, it is `spec.yaml` in the current folder.

| variable | meaning |
|---|---|
| `DEPLOY_BUILDER` | host that builds the images, as `--builder` |
| `DEPLOY_LAB` | folder that holds the lab, as `--root` |
| `DEPLOY_DEBUG` | set: an error that is a bug shows its traceback |
| `DOCKER_HOST` | `unix://...`: socket of the engine on this machine, when it is not in a usual place |
| `NO_COLOR` | set: no colours |
| `XDG_CACHE_HOME` | folder whose `deploy/` holds layers and build records; `~/.cache` by default |
"""


def cli_markdown() -> str:
    """Return the text of ``docs/cli.md``."""
    return "\n".join([_INTRO, *_sections(typer.main.get_command(app), "deploy")])


def _sections(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _sections(command, f"{path} {name}")
        else:
            yield _section(command, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    summary, *more = (command.help or "").split("\n\n")
    example = more.pop().removeprefix("Example: ").strip()
    arguments = [_argument(part) for part in command.params if part.param_type_name == "argument"]
    synopsis = " ".join([path, "[OPTION]...", *arguments])
    rows = [f"| {_name(part)} | {_meaning(part)} |" for part in command.params]
    return "\n".join(
        [
            f"## {path}\n",
            *(f"{paragraph.replace(chr(10), ' ')}\n" for paragraph in (summary, *more)),
            f"```sh\n{synopsis if rows else path}\n```\n",
            *(["| | |", "|---|---|", *rows, ""] if rows else []),
            f"Example: `{example}`\n",
        ]
    )


def _argument(part: Any) -> str:
    word = _word(part)
    return (word if part.required else f"[{word}]") + ("..." if part.nargs == -1 else "")


def _word(part: Any) -> str:
    """Return what stands for a value; releases of typer add brackets and dots to it, or do not."""
    return str(part.metavar or part.name).rstrip(".").strip("[]")


def _name(part: Any) -> str:
    if part.param_type_name == "argument":
        return f"`{_argument(part)}`"
    value = "" if getattr(part, "is_flag", False) else f" {_word(part)}"
    return ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in part.opts)


def _meaning(part: Any) -> str:
    notes = []
    if part.envvar:
        notes.append(f"Variable: `{part.envvar}`.")
    if part.default not in (None, False, "", Path()) and "Default:" not in (part.help or ""):
        notes.append(f"Default: `{part.default}`.")
    return " ".join([part.help or "", *notes]).replace("|", "\\|")


def main() -> None:
    """Write both files."""
    (DOCS / "spec-reference.md").write_text(reference_markdown(), encoding="utf-8")
    (DOCS / "cli.md").write_text(cli_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
