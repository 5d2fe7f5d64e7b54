"""Stands for ``deploy`` in a CI job: takes exactly the arguments the real one takes, and plays a scene.

Run as a program. ``FAKE_DEPLOY`` is a folder: the call is appended to ``calls.jsonl`` there, ``stdout``
is printed, and the exit code is what ``code`` says.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import typer

from orchestrator.cli.app import app


def main() -> None:
    """Check the arguments by the real parser, note the call, print."""
    scene = Path(os.environ["FAKE_DEPLOY"])
    group = typer.main.get_command(app)
    with group.make_context("deploy", sys.argv[1:]) as context:
        name, command, rest = group.resolve_command(context, sys.argv[1:])
        with command.make_context(name, rest, parent=context) as inner:
            values = {key: value for key, value in inner.params.items() if value not in (None, False, ())}
    home = Path.home()
    call = {
        "command": name,
        "values": json.loads(json.dumps(values, default=str)),
        "known_hosts": (home / ".ssh" / "known_hosts").read_text(),
        "agent": os.environ.get("SSH_AUTH_SOCK", ""),
        "config": (home / ".ssh" / "config").read_text() if (home / ".ssh" / "config").exists() else "",
        "directory": str(Path.cwd()),
    }
    with (scene / "calls.jsonl").open("a") as calls:
        calls.write(json.dumps(call) + "\n")
    sys.stdout.write((scene / "stdout").read_text())
    raise SystemExit(int((scene / "code").read_text()))


if __name__ == "__main__":
    main()
