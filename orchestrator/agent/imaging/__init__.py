"""Images on the host: finding, building, pulling and saving them on a builder, loading them elsewhere.

Owns the handlers of the five methods and what they need of the engine's images. It must not know
containers, leases or releases. Everything that arrives is verified by its digest before it is used.
"""

from __future__ import annotations

from typing import Dict

from orchestrator.agent.handler import Handler
from orchestrator.agent.imaging.build import build
from orchestrator.agent.imaging.find import find, pull
from orchestrator.agent.imaging.load import load
from orchestrator.agent.imaging.save import save

HANDLERS: Dict[str, Handler] = {"find": find, "build": build, "pull": pull, "save": save, "load": load}
"""By method."""
