"""The container that HAProxy runs in: its body, finding it, starting it, ending it.

Owns the engine calls. What HAProxy serves is :mod:`.lifecycle`'s. A router's container is found by its
label, whose value is the digest of how it was created: another image or virtual network makes another.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from typing import Any, Dict, List, Optional, Tuple

from orchestrator.agent import containers, failures
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.router.home import INSIDE, Home
from orchestrator.protocol.codec import digest
from orchestrator.protocol.messages import Failure
from orchestrator.protocol.routing import RouterConfig

HANDOVER = "handover"
"""File in ``run/``, there only while one router takes the listening sockets of another over."""

STOP_SECONDS = 10
_SHORT = 12

_START = f"""set -e
if [ -n "$DEPLOY_VIRTUAL_NETWORK" ]; then
  ip route replace local "$DEPLOY_VIRTUAL_NETWORK" dev lo
fi
set -- haproxy -W -f {INSIDE}/haproxy.cfg
if [ -f {INSIDE}/run/{HANDOVER} ]; then
  set -- "$@" -x "{INSIDE}/run/$(cat {INSIDE}/run/{HANDOVER})"
fi
exec "$@"
"""
_CHECK = f"exec haproxy -c -f {INSIDE}/haproxy.cfg.new"
_CAPABILITIES = ("NET_ADMIN", "NET_BIND_SERVICE")


def body(config: RouterConfig, home: Home, uid: int) -> Dict[str, Any]:
    """Return the body of ``POST /containers/create`` for a router."""
    found = _body(config, home, uid)
    found["Labels"][containers.ROUTER] = identity(config, home, uid)
    return found


def identity(config: RouterConfig, home: Home, uid: int) -> str:
    """Return the digest of how the router of ``config`` is created."""
    return digest(_body(config, home, uid))


def socket_name(identity: str) -> str:
    """Return the name of the runtime socket of a router: two of them run side by side for a moment."""
    return f"admin-{identity[:_SHORT]}.sock"


def _body(config: RouterConfig, home: Home, uid: int) -> Dict[str, Any]:
    # Files of another user than root: inside, root without capabilities could not read them.
    capabilities = [*_CAPABILITIES] + (["DAC_OVERRIDE"] if uid else [])
    return {
        "Image": config.image,
        "User": "0:0",
        "Entrypoint": ["/bin/sh", "-c", _START],
        "Cmd": [],
        "Env": [f"DEPLOY_VIRTUAL_NETWORK={config.virtual_network}"],
        "Labels": {containers.PROJECT: config.project},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGUSR1",
        "StopTimeout": STOP_SECONDS,
        "HostConfig": {
            "NetworkMode": "host",
            "RestartPolicy": {"Name": "always"},
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "CapAdd": capabilities,
            "SecurityOpt": ["no-new-privileges"],
            "Mounts": [{"Type": "bind", "Source": str(home.base), "Target": INSIDE, "ReadOnly": False}],
            "LogConfig": {"Type": "json-file", "Config": dict(containers.LOG_LIMITS)},
        },
    }


class Routers:
    """The containers of one project's router: one, or two while one replaces the other."""

    def __init__(self, engine: Engine, project: str, home: Home, uid: int) -> None:
        self._engine = engine
        self._project = project
        self._home = home
        self._uid = uid

    def identity(self, config: RouterConfig) -> str:
        """Return the digest of how the router of ``config`` is created."""
        return identity(config, self._home, self._uid)

    def name(self, config: RouterConfig) -> str:
        """Return the name of the router's container."""
        return f"{self._project}-router-{self.identity(config)[:_SHORT]}"

    def all(self) -> List[Dict[str, Any]]:
        """Return the inspects of every router container of the project."""
        labels = [f"{containers.PROJECT}={self._project}", containers.ROUTER]
        listing = self._engine.get("/containers/json", {"all": True, "filters": {"label": labels}})
        found = (self.inspect(str(item["Id"])) for item in listing or ())
        return [inspect for inspect in found if inspect is not None]

    def inspect(self, container: str) -> Optional[Dict[str, Any]]:
        """Return an inspect, or ``None`` when there is no such container."""
        try:
            return dict(self._engine.get(f"/containers/{container}/json"))
        except EngineError as error:
            if error.not_found:
                return None
            raise

    def create(self, config: RouterConfig) -> str:
        """Create the router's container and return its id; a leftover with its name goes first."""
        self.remove(self.name(config))
        created = self._engine.post(
            "/containers/create", {"name": self.name(config)}, body(config, self._home, self._uid)
        )
        return str(created["Id"])

    def start(self, container: str) -> None:
        """Start a container."""
        self._engine.post(f"/containers/{container}/start")

    def signal(self, container: str, name: str) -> None:
        """Send a signal to HAProxy's master; one that has ended needs none."""
        try:
            self._engine.post(f"/containers/{container}/kill", {"signal": name})
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    def retire(self, container: str) -> None:
        """Let a router finish what it has and never come back."""
        self._engine.post(f"/containers/{container}/update", body={"RestartPolicy": {"Name": "no"}})
        self.signal(container, "SIGUSR1")

    def remove(self, container: str) -> None:
        """End a router and delete it."""
        try:
            with contextlib.suppress(EngineError):  # what is stopped cannot be updated by every engine
                self._engine.post(f"/containers/{container}/update", body={"RestartPolicy": {"Name": "no"}})
            self._engine.post(f"/containers/{container}/stop", {"t": STOP_SECONDS}, timeout=STOP_SECONDS + 60)
            self._engine.delete(f"/containers/{container}", {"force": False})
        except EngineError as error:
            if not error.not_found:
                raise

    def sweep(self, keep: str) -> None:
        """Delete routers that have finished, all but the one created as ``keep``."""
        for inspect in self.all():
            other = containers.labels_of(inspect).get(containers.ROUTER) != keep
            if other and (inspect.get("State") or {}).get("Status") in ("exited", "dead", "created"):
                self.remove(str(inspect["Id"]))

    def remove_stuck(self) -> None:
        """Delete routers that should serve and do not answer: they would share the ports of the next."""
        for inspect in self.all():
            if not retires(inspect):
                self.remove(str(inspect["Id"]))

    def check(self, config: RouterConfig) -> None:
        """Have HAProxy itself check the configuration that is to come, in a container for that alone.

        Raises:
            OperationFailed: ``bad-config``, with HAProxy's words.
        """
        wanted = body(config, self._home, self._uid)
        wanted["Entrypoint"] = ["/bin/sh", "-c", _CHECK]
        wanted["HostConfig"]["RestartPolicy"] = {"Name": "no"}
        name = f"{self.name(config)}-check"
        self.remove(name)
        container = str(self._engine.post("/containers/create", {"name": name}, wanted)["Id"])
        try:
            self.start(container)
            status = self._engine.post(f"/containers/{container}/wait")["StatusCode"]
            if status != 0:
                message = "the router refuses its configuration"
                failure = Failure("bad-config", message, logs=failures.last_lines(self._engine, container))
                raise OperationFailed("bad-config", message, failure=failure)
        finally:
            self.remove(container)

    def last_words(self, container: str) -> Tuple[str, ...]:
        """Return a router's last lines."""
        return failures.last_lines(self._engine, container)


def retires(inspect: Dict[str, Any]) -> bool:
    """The router of this inspect was replaced, and ends as soon as its last session has."""
    policy = (inspect.get("HostConfig") or {}).get("RestartPolicy") or {}
    return policy.get("Name") != "always"


def drop_route(network: str) -> None:
    """Give the virtual addresses back; where that is not possible they stay, and lead nowhere."""
    program = shutil.which("ip")
    if program and os.getuid() == 0:
        words = [program, "route", "del", "local", network, "dev", "lo"]
        subprocess.run(words, check=False, capture_output=True)
