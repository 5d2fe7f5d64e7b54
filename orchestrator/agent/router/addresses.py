"""The addresses of containers now, which a restart may change, and the networks they come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Tuple

from orchestrator.agent import containers
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.router.table import SERVING, Table


def refreshed(engine: Engine, project: str, table: Table) -> Table:
    """Return the table with the address each container has now, without what is gone for good.

    A container that does not run keeps its last address: its server is down until somebody takes it
    out. So does one that is gone while it should serve; without traffic to get, a place is no use to it.

    Raises:
        EngineError: The engine cannot be asked.
    """
    for seat in table.seats:
        try:
            address = containers.address_of(engine.get(f"/containers/{seat.container}/json"), project)
        except EngineError as error:
            if not error.not_found:
                raise
            if seat.state != SERVING:
                table = table.without(*seat.key)
            continue
        if address and address != seat.address:
            table = table.put(replace(seat, address=address))
    return table


def subnets(engine: Engine, project: str) -> Tuple[str, ...]:
    """Return the subnets of the project's network, sorted: who may use the virtual addresses.

    Raises:
        EngineError: The engine cannot be asked.
    """
    try:
        network = engine.get(f"/networks/{project}")
    except EngineError as error:
        if error.not_found:
            return ()
        raise
    configs = ((network or {}).get("IPAM") or {}).get("Config") or ()
    return tuple(sorted(str(one["Subnet"]) for one in configs if one.get("Subnet")))
