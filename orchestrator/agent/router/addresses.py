"""The addresses containers have now. An engine may give a container another one whenever it is restarted."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.router.table import Table


def refreshed(engine: Engine, project: str, table: Table) -> Table:
    """Return the table with the address each container has now.

    One that is gone or does not run keeps its last one: its server is down until somebody takes it out.

    Raises:
        EngineError: The engine cannot be asked.
    """
    for seat in table.seats:
        try:
            address = containers.address_of(engine.get(f"/containers/{seat.container}/json"), project)
        except EngineError as error:
            if not error.not_found:
                raise
            continue
        if address and address != seat.address:
            table = table.put(replace(seat, address=address))
    return table
