"""A YAML file's text: bounded, UTF-8, or an error that names the file.

Owns the reading of the user's YAML files from disk. It must not know what is in them.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.errors import InventoryError, Problem, SpecError
from orchestrator.spec.yaml_reader import MAX_BYTES


def read_text(path: Path, error: type[SpecError | InventoryError]) -> str:
    """Return the text of a YAML file.

    Raises:
        error: The file cannot be read, is too large or is not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise error([Problem(f"the file is larger than {MAX_BYTES >> 20} MiB", str(path))])
        return path.read_bytes().decode("utf-8-sig")
    except OSError as failure:
        reason = (failure.strerror or str(failure)).lower()
        raise error([Problem(f"cannot read the file: {reason}", str(path))]) from failure
    except UnicodeDecodeError as failure:
        line = failure.object[: failure.start].count(b"\n") + 1
        raise error([Problem("expected UTF-8 text", str(path), line)]) from failure
