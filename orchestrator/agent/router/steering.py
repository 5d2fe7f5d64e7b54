"""One router's servers as the record wants them: from seats to acknowledged commands and the files.

Owns the order of commands for one server, all twins of a backend included, and writing what was done.
It must not know why somebody moves: see :mod:`.moves`.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from orchestrator.agent import durable
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.router import backends, render
from orchestrator.agent.router.home import Home
from orchestrator.agent.router.runtime import Runtime, ServerStat
from orchestrator.agent.router.table import ATTACHED, SERVING, Seat, Table
from orchestrator.agent.router.words import Site
from orchestrator.protocol.routing import Backend, RouterConfig

PAUSE = 0.01
"""Seconds between two looks at HAProxy's state while waiting for a change of it."""

Stats = Dict[Tuple[str, str], ServerStat]


class Steering:
    """A router that runs, its picture and its files.

    Args:
        home: Its folder.
        runtime: Its socket.
        config: The picture in force.
        site: Where it lives, as it sees it.
        cancelled: Ends waits early.
        refresh: Returns a record with the addresses its containers have now.
    """

    def __init__(
        self,
        home: Home,
        runtime: Runtime,
        config: RouterConfig,
        site: Site,
        *,
        cancelled: Optional[threading.Event] = None,
        refresh: Callable[[Table], Table] = lambda table: table,
    ) -> None:
        self.home = home
        self.runtime = runtime
        self.config = config
        self.site = site
        self.cancelled = cancelled or threading.Event()
        self.refresh = refresh

    # --- reading ---------------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return every server by (backend, server)."""
        return {(stat.backend, stat.server): stat for stat in self.runtime.stats()}

    def backends(self, service: str) -> Tuple[Backend, ...]:
        """Return the backends of a service."""
        return tuple(backend for backend in self.config.backends if backend.service == service)

    def twins(self, backend: Backend) -> Tuple[str, ...]:
        """Return the names of every HAProxy backend a container of ``backend`` may have sessions in."""
        mesh = (f"{backend.name}_mesh",) if backends.has_mesh(self.config, backend) else ()
        return (backend.name, *mesh, f"{backend.name}_preview")

    def of_seat(self, stats: Stats, seat: Seat) -> Iterator[ServerStat]:
        """Yield the server of a seat in each main backend of its service."""
        for backend in self.backends(seat.service):
            found = stats.get((backend.name, f"s{seat.server}"))
            if found is not None:
                yield found

    def sessions(self, stats: Stats, service: str, server: int) -> int:
        """Return how many sessions a server has or has waiting, in every twin."""
        names = {name for backend in self.backends(service) for name in self.twins(backend)}
        found = (stats.get((name, f"s{server}")) for name in names)
        return sum(stat.sessions + stat.queued for stat in found if stat is not None)

    def is_up(self, stats: Stats, seat: Seat) -> bool:
        """Every backend of the seat's service gives it traffic."""
        found = list(self.of_seat(stats, seat))
        return bool(found) and all(stat.up for stat in found)

    def wait(self, seconds: float, ready: Callable[[Stats], bool]) -> Optional[Stats]:
        """Return the state in which ``ready`` holds, or ``None`` when it does not within ``seconds``.

        Raises:
            OperationFailed: ``cancelled``.
        """
        give_up = time.monotonic() + seconds
        while True:
            stats = self.stats()
            if ready(stats):
                return stats
            if time.monotonic() >= give_up:
                return None
            if self.cancelled.wait(PAUSE):
                raise OperationFailed("cancelled", "stopped on request")

    # --- commands --------------------------------------------------------------------------------

    def place(self, seat: Seat) -> None:
        """Give a new seat its address everywhere, without traffic, its health still to be proven."""
        server = f"s{seat.server}"
        for backend in self.backends(seat.service):
            self.clear(backend, seat.server)
            for name in self.twins(backend):
                self.runtime.set_address(name, server, seat.address, backend.port)
            self.runtime.set_weight(backend.name, server, 1)
            self.runtime.set_state(backend.name, server, "drain")
            self.runtime.set_down(backend.name, server)

    def serve(self, seat: Seat) -> None:
        """Give a seat its share of new traffic; checks go on deciding whether it gets any."""
        server = f"s{seat.server}"
        for backend in self.backends(seat.service):
            main, *mesh, preview = self.twins(backend)
            for name in mesh:
                self.runtime.set_weight(name, server, backends.share(backend, seat, remotes=False))
            self.runtime.set_weight(main, server, backends.share(backend, seat, remotes=True))
            self.runtime.set_state(main, server, "ready")
            self.runtime.set_state(preview, server, "maint")

    def show(self, seat: Seat) -> None:
        """Let the preview reach a seat that has no other traffic."""
        for backend in self.backends(seat.service):
            self.runtime.set_state(f"{backend.name}_preview", f"s{seat.server}", "ready")

    def drain(self, seat: Seat) -> None:
        """Give a seat nothing new; what it has goes on."""
        server = f"s{seat.server}"
        for backend in self.backends(seat.service):
            self.runtime.set_state(backend.name, server, "drain")
            if seat.state != ATTACHED:
                self.runtime.set_state(f"{backend.name}_preview", server, "maint")

    def clear(self, backend: Backend, server: int) -> None:
        """Empty a server: nothing new, no checks."""
        self.runtime.set_state(backend.name, f"s{server}", "maint")
        self.runtime.set_state(f"{backend.name}_preview", f"s{server}", "maint")

    def take_out(self, service: str, server: int) -> None:
        """Empty a server of all backends of a service, and end what sessions it still has."""
        for backend in self.backends(service):
            self.clear(backend, server)
        self.end_sessions(service, server)

    def end_sessions(self, service: str, server: int) -> None:
        """End every session of a server in all backends of a service."""
        for backend in self.backends(service):
            for name in self.twins(backend):
                self.runtime.shutdown_sessions(name, f"s{server}")

    # --- files -----------------------------------------------------------------------------------

    def record(self, table: Table) -> None:
        """Write what is so now: the record, then the configuration a restarted router starts from."""
        self.home.put_table(table)
        self.write(table)
        self.publish(table)

    def write(self, table: Table) -> None:
        """Write the configuration and the maps; nothing is reloaded."""
        write_maps(self.home, self.config, table)
        durable.write(self.home.config, render.render(self.config, table, self.site).encode())

    def publish(self, table: Table) -> None:
        """Have the running router use the maps as they should be."""
        if not has_maps(self.config):
            return
        self.runtime.replace_map(self.site.previews, render.preview_entries(self.config, table))
        if any(listener.mode == "http" for listener in self.config.listeners):
            entries = render.maintenance_entries(self.config, table)
            self.runtime.replace_map(self.site.maintenance, entries)

    # --- the whole of it --------------------------------------------------------------------------

    def reconcile(self, table: Table) -> None:
        """Bring every server to what the record says, first what takes traffic, then what gives it up.

        It waits for nothing: whether a server is healthy is HAProxy's to see, and a record that says
        who serves holds for sick ones too.
        """
        stats = self.stats()
        serving = [seat for seat in table.seats if seat.state == SERVING]
        others = [seat for seat in table.seats if seat.state != SERVING]
        for seat in serving:
            if not self._serves(stats, seat):
                self._lead(seat)
                self.serve(seat)
        for seat in others:
            if not self._rests(stats, seat):
                self._lead(seat)
                self.drain(seat)
                if seat.state == ATTACHED:
                    self.show(seat)
        for backend, number in self._empty(stats, table):
            self.clear(backend, number)

    def _lead(self, seat: Seat) -> None:
        for backend in self.backends(seat.service):
            for name in self.twins(backend):
                self.runtime.set_address(name, f"s{seat.server}", seat.address, backend.port)

    def _serves(self, stats: Stats, seat: Seat) -> bool:
        return all(
            stat.address == _where(seat, backend)
            and stat.weight == backends.share(backend, seat, remotes=name == backend.name)
            and (name != backend.name or stat.status.startswith(("UP", "DOWN", "NOLB", "no check")))
            for backend, name, stat in self._seen(stats, seat)
            if not name.endswith("_preview")
        )

    def _rests(self, stats: Stats, seat: Seat) -> bool:
        return all(
            stat.address == _where(seat, backend)
            and (
                stat.status.startswith("MAINT") != (seat.state == ATTACHED)
                if name.endswith("_preview")
                else stat.status.startswith("DRAIN")
            )
            for backend, name, stat in self._seen(stats, seat)
        )

    def _seen(self, stats: Stats, seat: Seat) -> "List[Tuple[Backend, str, ServerStat]]":
        server = f"s{seat.server}"
        return [
            (backend, name, stats[name, server])
            for backend in self.backends(seat.service)
            for name in self.twins(backend)
            if (name, server) in stats
        ]

    def _empty(self, stats: Stats, table: Table) -> "Iterable[Tuple[Backend, int]]":
        taken = {(seat.service, seat.server) for seat in table.seats}
        for backend in self.config.backends:
            for number in range(1, backends.slots(backend, table) + 1):
                stat = stats.get((backend.name, f"s{number}"))
                free = (backend.service, number) not in taken
                if free and stat is not None and not stat.status.startswith("MAINT"):
                    yield backend, number


def has_maps(config: RouterConfig) -> bool:
    """The configuration names maps at all: something speaks HTTP."""
    modes = {backend.name: backend.mode for backend in config.backends}
    virtual = any(modes[one.backend] == "http" for one in config.virtuals)
    return virtual or bool(config.preview_port) or any(one.mode == "http" for one in config.listeners)


def write_maps(home: Home, config: RouterConfig, table: Table) -> None:
    """Write the maps that the configuration names."""
    entries = {
        "maintenance.map": render.maintenance_entries(config, table),
        "preview.map": render.preview_entries(config, table),
    }
    for name, pairs in entries.items():
        durable.write(home.maps / name, render.map_text(pairs).encode())


def _where(seat: Seat, backend: Backend) -> str:
    text = f"[{seat.address}]" if ":" in seat.address else seat.address
    return f"{text}:{backend.port}"
