"""The held release: it runs without traffic and waits for promote or abort; this file remembers it.

Owns ``held.json`` of a project. It must not know what holds or promotes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Optional

from orchestrator.agent import durable
from orchestrator.agent.journal import Journal
from orchestrator.agent.say import say
from orchestrator.protocol.codec import WireError, canonical, decode
from orchestrator.protocol.messages import Held


def hold(journal: Journal, held: Held) -> None:
    """Remember a held release, in place of an earlier one."""
    for config in held.record.configs:
        journal.put_instance(config)
    durable.write(_path(journal), canonical(held))


def unhold(journal: Journal) -> None:
    """Hold nothing any more."""
    durable.remove(_path(journal))


def held(journal: Journal) -> Optional[Held]:
    """Return the held release, or ``None``."""
    path = _path(journal)
    try:
        return decode(Held, json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, WireError, ValueError, RecursionError) as error:
        say(f"damaged: {path}: {error}")
        return None


def _path(journal: Journal) -> Path:
    return journal.files.base / "held.json"
