"""Making the router serve a picture: create, reload, replace or remove it, with no request lost.

Owns the choice between those and their order; every way back included: when HAProxy does not take the
new picture, the one before it is in force again. It must not know releases.

A change of seats is no change here. A renewed certificate goes over the runtime socket. Another
listener or backend reloads. Another image or virtual network runs a second router beside the first,
which hands its listening sockets over and finishes.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any, Callable, Dict, Optional, Set, Tuple

from orchestrator.agent import containers, durable
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import BadNameError
from orchestrator.agent.router import addresses, binds, certificates, container, pages, render
from orchestrator.agent.router.home import INSIDE, Home
from orchestrator.agent.router.picture import bound, check_picture
from orchestrator.agent.router.runtime import RouterSilent, Runtime
from orchestrator.agent.router.steering import PAUSE, Steering, write_maps
from orchestrator.agent.router.table import Table
from orchestrator.agent.router.words import Site
from orchestrator.agent.stage import Stage
from orchestrator.protocol.messages import Failure
from orchestrator.protocol.routing import RouterConfig

READY_SECONDS = 15.0
"""Longest wait for a started or reloaded router to serve what it should."""
RELOAD_AGAIN = 2.0
"""Seconds without an effect after which the signal to reload is sent again."""
FINISH_SECONDS = 2.0
"""Longest wait for a replaced router to finish; one that still has sessions goes on beside the new one."""

Tell = Callable[[str], None]


class Lifecycle:
    """The router of one project on this host. Its methods are for the holder of the router's lock."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self.home = Home(journal.files)
        self._routers = container.Routers(engine, journal.project, self.home, os.getuid())

    # --- what there is ---------------------------------------------------------------------------

    def site(self, config: RouterConfig) -> Site:
        """Return where the router of ``config`` lives."""
        name = container.socket_name(self._routers.identity(config))
        # The socket is root's in the container: another user who runs this agent has to be let in.
        mode = "666" if os.getuid() else "600"
        return Site(
            INSIDE, addresses.subnets(self._engine, self._journal.project), socket=name, mode=mode, log=True
        )

    def runtime(self, config: RouterConfig) -> Runtime:
        """Return the socket of the router of ``config``."""
        return Runtime(self.home.run / container.socket_name(self._routers.identity(config)))

    def steering(self) -> Steering:
        """Return the way to move traffic of the router in force.

        Raises:
            OperationFailed: ``no-router``: there is none, or it does not answer.
        """
        config = self.home.picture()
        if config is None:
            raise OperationFailed("no-router", "this host has no router of the project")
        steering = self._steering(config)
        give_up = time.monotonic() + READY_SECONDS
        while True:
            try:
                steering.runtime.info()
            except RouterSilent as error:
                if time.monotonic() > give_up:
                    raise OperationFailed("no-router", f"{error}: apply starts it again") from error
                time.sleep(PAUSE * 5)
            else:
                return steering

    def _steering(self, config: RouterConfig) -> Steering:
        return Steering(self.home, self.runtime(config), config, self.site(config), refresh=self._refreshed)

    def current(self, config: RouterConfig) -> Optional[Dict[str, Any]]:
        """Return the inspect of the container of ``config``'s router, if there is one."""
        wanted = self._routers.identity(config)
        for inspect in self._routers.all():
            name = containers.name_of(inspect)
            if containers.labels_of(inspect).get(containers.ROUTER) == wanted and not name.endswith("-check"):
                return inspect
        return None

    # --- changes ---------------------------------------------------------------------------------

    def ensure(self, config: RouterConfig, tell: Tell) -> str:
        """Have the router serve ``config``; return how that was done, empty when nothing had to be.

        Raises:
            OperationFailed: ``bad-config``, ``conflict``, ``router``, ``not-found``: what was served
                before is served still.
            BadNameError: The picture must not be used.
        """
        if config.project != self._journal.project:
            raise BadNameError(f"a router of {config.project[:80]!r} in a request for another project")
        check_picture(config)
        self.home.make()
        Stage(self._engine, self._journal).network()
        before = self.home.picture()
        services = {backend.service for backend in config.backends}
        table = self._refreshed(self.home.table().only(services))
        site = self.site(config)
        text = render.render(config, table, site)
        self._routers.sweep(self._routers.identity(config))
        running = self._running(config)
        if running is None:
            self._check_ports(config, before)
        tell("checking the configuration")
        certificates.write(self.home, self._journal, config)
        durable.write(self.home.page, pages.MAINTENANCE)
        write_maps(self.home, config, table)
        wanted = render.structure(config, table, site)
        how = self._how(config, running, wanted)
        if how:
            durable.write(self.home.base / "haproxy.cfg.new", text.encode())
            self._routers.check(config)
            if running is not None:
                self._check_ports(config, before)
        tell(how or "serving it already")
        self._apply(how, config, text, wanted, running)
        if how != "created" and before is not None:
            certificates.renew(self._journal, self.runtime(config), config, before, site)
        self.home.put_picture(config)
        steering = self._steering(config)
        steering.reconcile(table)
        steering.record(table)
        certificates.drop(self.home, config)
        return how

    def remove(self) -> str:
        """Take the router away, with everything it kept; return what is worth a remark."""
        found = self._routers.all()
        config = self.home.picture()
        for inspect in found:
            self._routers.remove(str(inspect["Id"]))
        if config is not None and config.virtual_network:
            container.drop_route(config.virtual_network)
        for path in (self.home.picture_file, self.home.table_file, self.home.config):
            durable.remove(path)
        for folder in (self.home.certificates, self.home.maps, self.home.run):
            shutil.rmtree(folder, ignore_errors=True)
        return "" if found else "was gone already"

    def _how(self, config: RouterConfig, running: Optional[Dict[str, Any]], wanted: str) -> str:
        if running is None:
            return "created"
        labels = containers.labels_of(running)
        if labels.get(containers.ROUTER) != self._routers.identity(config):
            return "replaced"
        return "" if self._description(self.runtime(config)) == wanted else "reloaded"

    def _apply(
        self, how: str, config: RouterConfig, text: str, wanted: str, running: Optional[Dict[str, Any]]
    ) -> None:
        old = self.home.config.read_bytes() if self.home.config.exists() else b""
        if how == "created":
            self._create(config, text, wanted)
        elif how == "reloaded" and running is not None:
            self._reload(str(running["Id"]), config, text, wanted, old)
        elif how == "replaced" and running is not None:
            self._replace(running, config, text, wanted, old)

    def _create(self, config: RouterConfig, text: str, wanted: str) -> None:
        durable.write(self.home.config, text.encode())
        self._routers.remove_stuck()
        made = self._routers.create(config)
        try:
            self._routers.start(made)
            self._await(made, self.runtime(config), wanted)
        except (OperationFailed, EngineError):
            self._routers.remove(made)
            raise

    def _reload(self, made: str, config: RouterConfig, text: str, wanted: str, old: bytes) -> None:
        runtime = self.runtime(config)
        before = self._description(runtime)
        state = self.home.run / "state"
        durable.write(state, runtime.state_dump().encode())
        try:
            durable.write(self.home.config, text.encode())
            self._await(made, runtime, wanted, reload=True)
        except OperationFailed:
            durable.write(self.home.config, old)
            self._await(made, runtime, before, reload=True)
            raise
        finally:
            durable.remove(state)

    def _replace(
        self, running: Dict[str, Any], config: RouterConfig, text: str, wanted: str, old: bytes
    ) -> None:
        identity = containers.labels_of(running)[containers.ROUTER]
        before = Runtime(self.home.run / container.socket_name(identity))
        up = {(stat.backend, stat.server) for stat in before.stats() if stat.up}
        state, handover = self.home.run / "state", self.home.run / container.HANDOVER
        durable.write(state, before.state_dump().encode())
        durable.write(handover, container.socket_name(identity).encode())
        durable.write(self.home.config, text.encode())
        made = ""
        try:
            made = self._routers.create(config)
            self._routers.start(made)
            self._await(made, self.runtime(config), wanted)
            self._prove(self.runtime(config), up)
        except (OperationFailed, EngineError):
            durable.write(self.home.config, old)
            if made:
                self._routers.remove(made)
            raise
        finally:
            durable.remove(handover)
            durable.remove(state)
        self._routers.retire(str(running["Id"]))
        give_up = time.monotonic() + FINISH_SECONDS
        while self._is_running(str(running["Id"])) and time.monotonic() < give_up:
            time.sleep(PAUSE * 2)
        self._routers.sweep(self._routers.identity(config))

    def _prove(self, runtime: Runtime, up: Set[Tuple[str, str]]) -> None:
        """Wait until the new router finds up what the old one does, as far as it has it."""
        give_up = time.monotonic() + READY_SECONDS
        while True:
            stats = {(stat.backend, stat.server): stat for stat in runtime.stats()}
            down = sorted(key for key in up if key in stats and not stats[key].up)
            if not down:
                return
            if time.monotonic() > give_up:
                name = "/".join(down[0])
                raise OperationFailed("router", f"the new router finds {name} down, which the old one has up")
            time.sleep(PAUSE * 2)

    def _await(self, made: str, runtime: Runtime, wanted: str, *, reload: bool = False) -> None:
        """Wait until the router serves what ``wanted`` describes, telling it to ``reload`` if need be.

        A master that is still busy with one reload loses the signal for the next: it is sent again.

        Raises:
            OperationFailed: It has ended, or serves something else; with its last lines.
        """
        give_up, again = time.monotonic() + READY_SECONDS, 0.0
        while self._description(runtime) != wanted:
            if reload and time.monotonic() >= again:
                self._routers.signal(made, "SIGUSR2")
                again = time.monotonic() + RELOAD_AGAIN
            inspect = self._routers.inspect(made) or {}
            ended = not containers.is_running(inspect)
            if ended or time.monotonic() > give_up:
                message = f"the router {'ended' if ended else 'does not serve its new configuration'}"
                failure = Failure("router", message, logs=self._routers.last_words(made))
                raise OperationFailed("router", message, failure=failure)
            time.sleep(PAUSE)

    # --- parts -----------------------------------------------------------------------------------

    def _running(self, config: RouterConfig) -> Optional[Dict[str, Any]]:
        """Return the router that runs and answers, the one of ``config`` first."""
        wanted = self._routers.identity(config)
        found = [inspect for inspect in self._routers.all() if containers.is_running(inspect)]
        found.sort(key=lambda inspect: containers.labels_of(inspect).get(containers.ROUTER) != wanted)
        for inspect in found:
            identity = containers.labels_of(inspect)[containers.ROUTER]
            if not container.retires(inspect) and self._description(
                Runtime(self.home.run / container.socket_name(identity))
            ):
                return inspect
        return None

    def _is_running(self, made: str) -> bool:
        inspect = self._routers.inspect(made)
        return inspect is not None and containers.is_running(inspect)

    @staticmethod
    def _description(runtime: Runtime) -> str:
        try:
            return runtime.info().get("description", "")
        except RouterSilent:
            return ""

    def _check_ports(self, config: RouterConfig, before: Optional[RouterConfig]) -> None:
        """Refuse ports that somebody else holds.

        Raises:
            OperationFailed: ``conflict``, with who that is.
        """
        ours = set(bound(before)) if before is not None and self._routers.all() else set()
        for address, port in bound(config):
            if (address, port) in ours:
                continue
            who = binds.holder(self._engine, address, port)
            if who:
                where = f"{address}:{port}" if address else f"port {port}"
                raise OperationFailed("conflict", f"the router cannot listen on {where}: it is held by {who}")

    def _refreshed(self, table: Table) -> Table:
        return addresses.refreshed(self._engine, self._journal.project, table)
