"""Comparing text with a file that a person has read; ``UPDATE_GOLDEN=1`` writes the files anew."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def check_golden(path: Path, lines: Iterable[str]) -> None:
    """Assert that ``lines`` are what ``path`` holds."""
    text = "".join(f"{line}\n" for line in lines)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: run with UPDATE_GOLDEN=1 and read what it writes"
    assert text == path.read_text(encoding="utf-8")
