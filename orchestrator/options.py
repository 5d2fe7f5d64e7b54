"""What the user asked for, whatever the command. Light: the command line imports it before it knows more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """What the user asked for, whatever the command."""

    specs: tuple[Path, ...]
    inventory: Path | None = None
    """``None``: ``inventory.yaml`` beside the first spec, if there is one."""
    limit: tuple[str, ...] = ()
    builder: str | None = None
    environ: Mapping[str, str] | None = None

    @property
    def inventory_file(self) -> Path | None:
        """The inventory to read, if there is one."""
        beside = self.specs[0].absolute().parent / "inventory.yaml"
        return self.inventory or (beside if beside.exists() else None)
