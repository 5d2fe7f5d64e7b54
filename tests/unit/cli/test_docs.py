"""docs/cli.md says what the command line takes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"


def test_the_reference_of_the_command_line_is_current():
    """It is what ``docs/generate.py`` makes; ``make docs`` writes it anew."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (DOCS / "cli.md").read_text(encoding="utf-8") == generate.cli_markdown()
    for line in generate.cli_markdown().splitlines():
        if line.startswith("## deploy "):
            anchor = line.removeprefix("## ").replace(" ", "-")
            assert f"(#{anchor})" in generate.cli_markdown(), f"{line} is not in the table at the top"
