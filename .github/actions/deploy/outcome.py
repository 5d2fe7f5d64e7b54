"""Turns the last line of a run into outputs of a step, and into a line of the job's summary.

``outcome.py COMMAND FILE`` reads the JSON lines in FILE, prints ``release=`` and ``held=``, and appends to
``$GITHUB_STEP_SUMMARY``. Nothing is printed that is not of a form known beforehand.
"""

# ruff: noqa: INP001 - a script of its own

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any


def finished(text: str) -> dict[str, Any]:
    """Return the ``finished`` event, or an empty one when the run never came that far."""
    lines = text.splitlines()
    last = json.loads(lines[-1]) if lines else {}
    return last if isinstance(last, dict) and last.get("event") == "finished" else {}


def main() -> None:
    """Read, print, append."""
    command, file = sys.argv[1:]
    event = finished(Path(file).read_text(encoding="utf-8"))
    release = str(event.get("release", ""))
    if not re.fullmatch(r"r[1-9][0-9]{0,8}", release):
        release = ""
    held = event.get("held") is True
    sys.stdout.write(f"release={release}\nheld={str(held).lower()}\n")
    if not event.get("ok"):
        said = f"failed with exit code {int(event.get('exit_code', 1))}"
    elif held:
        said = f"release {release} runs without traffic and waits for promote or abort"
    else:
        said = f"release {release} is in force" if release else "done"
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
        summary.write(f"`deploy {command}`: {said}\n")


if __name__ == "__main__":
    main()
