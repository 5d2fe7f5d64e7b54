"""From a key path to the place in the user's files.

Owns the lookup over data of :mod:`.yaml_data`. It must not know what the keys mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.errors import Problem
from orchestrator.spec.location import Location
from orchestrator.spec.yaml_data import Map, Place, Seq, key_path

Path = Sequence[str | int]
"""For example ``("services", "api", "ports", 0)``."""


@dataclass(frozen=True)
class Positions:
    """Where every value of the merged data was written."""

    root: Map = field(default_factory=Map, repr=False)
    file: str = ""
    """Where a value is said to be that no file holds."""

    def at(self, path: Path, *, key: bool = False) -> Location:
        """Return the place of ``path``, or of the nearest thing around it that was written.

        For a scalar or an item that is where its value starts, for a map or a list where its key stands.

        Args:
            path: Keys and indices from the top level.
            key: Always the place of the key.
        """
        node: object = self.root
        found = Location(self.file, 1, 1) if self.file else Location()
        for part in path:
            place: Place
            if isinstance(node, Map):
                if part not in node.places:
                    break
                place, node = node.places[str(part)], node[str(part)]
            elif isinstance(node, Seq) and isinstance(part, int) and part < len(node):
                place, node = node.places[part], node[part]
            else:
                break
            at_key = key or isinstance(node, Map | Seq)
            found = Location(place[0], *(place[1:3] if at_key else place[3:5]))
        return found

    def problem(self, path: Path, message: str, *, hint: str = "", key: bool = False) -> Problem:
        """Return a problem with the value at ``path``."""
        return self.at(path, key=key).problem(message, path=key_path(tuple(path)), hint=hint)
