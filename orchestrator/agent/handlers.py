"""Which function answers which method: the whole of what an agent can do, on one screen.

Owns the table and the proof of the lease before anything that needs it. What a method does is in the
module it names, which is imported with the first such request, because most runs only look.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Dict

from orchestrator.agent.handler import Context, Handler
from orchestrator.agent.journal import Journal
from orchestrator.agent.lease import Leases
from orchestrator.agent.observe import observe, state_of
from orchestrator.protocol.messages import METHODS, Acquire, Acquired, Done, ReleaseLease

FUNCTIONS = {
    "perform": "operations:perform",
    "commit": "commit:commit",
    "confirm": "router.operations:confirm",
    "maintain": "router.operations:maintain",
    "logs": "logs:logs",
    "exec": "execute:execute",
    "find": "imaging.find:find",
    "build": "imaging.build:build",
    "pull": "imaging.find:pull",
    "save": "imaging.save:save",
    "load": "imaging.load:load",
}
"""Method -> ``module:function`` below this package, of all that a run which only looks does not need."""


def table(leases: Leases) -> Dict[str, Handler]:
    """Return the handler of every method, for a session that holds ``leases``."""

    def acquire(params: Acquire, context: Context) -> Acquired:
        journal = Journal(context.paths, params.project)
        return Acquired(leases.acquire(params, lambda: state_of(context.engine, journal)))

    def release(params: ReleaseLease, _: Context) -> Done:
        leases.release(params.project, params.epoch)
        return Done()

    plain = {"observe": observe, **{method: on_demand(function) for method, function in FUNCTIONS.items()}}
    guarded = {
        name: _guard(handler, leases) if METHODS[name].needs_lease else handler
        for name, handler in plain.items()
    }
    # These two are about the lease itself and check it themselves.
    return {**guarded, "acquire": acquire, "release": release}


def on_demand(function: str) -> Handler:
    """Return a handler that imports ``module:function`` when it is called."""
    module, _, name = function.partition(":")

    def handler(params: Any, context: Context) -> Any:
        return getattr(import_module(f"orchestrator.agent.{module}"), name)(params, context)

    return handler


def _guard(handler: Handler, leases: Leases) -> Handler:
    def guarded(params: Any, context: Context) -> Any:
        with leases.use(params.project, params.epoch):
            return handler(params, context)

    return guarded
