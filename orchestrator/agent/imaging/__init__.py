"""Images on the host: finding, building, pulling and saving them on a builder, loading them elsewhere.

Owns the handlers of the five methods and what they need of the engine's images. It must not know
containers, leases or releases. Everything that arrives is verified by its digest before it is used.

The handlers are imported when they are first asked for: an agent that has nothing to load starts a
tenth sooner without them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Dict

from orchestrator.agent.handler import Context, Handler


def _lazy(module: str, name: str) -> Handler:
    def handler(params: Any, context: Context) -> Any:
        return getattr(import_module(f"{__name__}.{module}"), name)(params, context)

    return handler


HANDLERS: Dict[str, Handler] = {
    "find": _lazy("find", "find"),
    "build": _lazy("build", "build"),
    "pull": _lazy("find", "pull"),
    "save": _lazy("save", "save"),
    "load": _lazy("load", "load"),
}
"""By method."""
