"""What a router should serve, and how traffic is moved: the messages of routing.

Owns the static picture of one host's router (:class:`RouterConfig`) and the actions on it. The agent
turns the picture into HAProxy's configuration; which container sits in which slot with which weight is
the agent's own record, moved by :class:`Shift` alone. Field names are HAProxy's where it has one.
Times are seconds.

A container is named by (service, slot, release) rather than by id: a step that moves traffic can then be
sent before the container it moves to exists.
"""

from __future__ import annotations

from dataclasses import field
from typing import Optional, Tuple

from orchestrator.protocol.codec import digest
from orchestrator.protocol.records import dataclass

# --- the static picture --------------------------------------------------------------------------


@dataclass(frozen=True)
class Remote:
    """Another host that serves a backend too, reached through its own router."""

    host: str
    address: str
    port: int
    """Its mesh port for this backend."""
    token: str = field(default="", repr=False)
    """What its router demands of whoever comes through the mesh (sent as a PROXY protocol TLV)."""
    weight: int = 1
    """Number of instances there."""


@dataclass(frozen=True)
class Backend:
    """One port of one service."""

    service: str
    port: int
    """Inside the containers."""
    mode: str = "http"
    """``http`` or ``tcp``."""
    balance: str = "roundrobin"
    """HAProxy's; shares are exact with ``roundrobin`` alone: ``leastconn`` ignores weights while few ask."""
    check_path: str = ""
    """HTTP path of the health check; empty: a connection is enough."""
    inter: float = 0.3
    rise: int = 2
    fall: int = 3
    slots: int = 8
    """Local servers that fit; a power of two, so that it seldom changes (a change reloads)."""
    cookie: str = ""
    """Name of the sticky cookie; empty for none."""
    timeout: float = 60.0
    """Longest silence of a server, and of a tunnel ten times that."""
    maxconn: int = 0
    """Connections per server; 0 is no limit."""
    remotes: Tuple[Remote, ...] = ()

    @property
    def name(self) -> str:
        """``service_port``: the name in HAProxy."""
        return f"{self.service}_{self.port}"


@dataclass(frozen=True)
class Certificate:
    """A PEM bundle (certificate chain and key), delivered as a secret beside the message."""

    name: str
    """File name without ending; of the spec's secret."""
    hmac: str
    """Keyed hash of the bundle."""


@dataclass(frozen=True)
class Route:
    """What one request to a listener leads to."""

    name: str
    """Of the spec's route."""
    backend: str
    host: str = ""
    """Host name, ``*.example.com`` included; empty: any."""
    path: str = "/"
    """Prefix at a segment boundary; longer ones win."""
    redirect_https: bool = False
    maintenance: bool = False
    """Answer 503 with the maintenance page."""
    max_body: int = 0
    """Bytes; 0 is no limit."""
    rate: int = 0
    """Requests per second and client address; 0 is no limit."""
    set_headers: Tuple[Tuple[str, str], ...] = ()
    """Request headers set, sorted by name."""


@dataclass(frozen=True)
class Listener:
    """An address the router accepts traffic from outside on."""

    port: int
    address: str = ""
    """Empty: all."""
    mode: str = "http"
    """``http`` or ``tcp``; a tcp listener has exactly one route, whose backend gets everything."""
    tls: bool = False
    routes: Tuple[Route, ...] = ()
    """Most specific first."""


@dataclass(frozen=True)
class Virtual:
    """A service's stable address inside the project, on every host the same."""

    address: str
    backend: str
    port: int


@dataclass(frozen=True)
class Mesh:
    """Where other hosts' routers reach this host's instances of a backend."""

    backend: str
    port: int


@dataclass(frozen=True)
class RouterConfig:
    """The whole static picture of one host's router. Equal pictures need no change."""

    project: str
    image: str
    """Image id of the router."""
    backends: Tuple[Backend, ...] = ()
    listeners: Tuple[Listener, ...] = ()
    certificates: Tuple[Certificate, ...] = ()
    virtual_network: str = ""
    """CIDR of all virtual addresses; empty: no discovery."""
    virtuals: Tuple[Virtual, ...] = ()
    mesh: Tuple[Mesh, ...] = ()
    mesh_address: str = ""
    """Address of this host that the others reach."""
    mesh_token: str = field(default="", repr=False)
    preview_port: int = 0
    """Where a held release is reached whatever the route; 0: by the header alone."""
    drain_header: str = "x-deploy-preview"
    """Request header (or cookie of that name) that leads to the held release; its value is the release."""

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        return digest(self)


# --- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """One container of a service on this host, and its share of the traffic."""

    slot: int
    release: str
    """The container's own release label."""
    weight: int = 256
    """0 (no new traffic: draining) to 256."""


@dataclass(frozen=True)
class Shift:
    """Who gets the traffic of a service on this host from now on. Whoever is not named drains."""

    service: str
    members: Tuple[Member, ...] = ()


@dataclass(frozen=True)
class Watch:
    """Containers must stay healthy for a while, in the router's eyes and their own; else it fails."""

    service: str
    members: Tuple[Member, ...]
    seconds: float
    max_error_rate: float = 1.0
    """Share of 5xx and failed connections among the members' requests, compared with the others'."""
    max_latency_ratio: float = 0.0
    """Mean response time relative to the others'; 0: not compared."""


@dataclass(frozen=True)
class Check:
    """A test of one container before or after it gets traffic."""

    service: str
    slot: int
    release: str
    command: Tuple[str, ...] = ()
    """Run inside it; exit status 0 passes."""
    http: str = ""
    """Or a path asked for on ``port``; 2xx and 3xx pass."""
    port: int = 0
    timeout: float = 30.0


@dataclass(frozen=True)
class Arm:
    """From now on the host goes back by itself to what it serves now, unless a confirm comes in time."""

    cutover: str
    """``release-epoch``: never used twice."""
    seconds: float
    """Until the host reverts."""
    containers: Tuple[str, ...] = ()
    """Of the old state: they must run again after a revert."""


# --- what a host reports -------------------------------------------------------------------------


@dataclass(frozen=True)
class Assigned:
    """One server of a backend as the router has it right now."""

    backend: str
    server: str
    """``s1``, ..., or ``r_HOST`` for a remote."""
    service: str = ""
    slot: int = 0
    release: str = ""
    container: str = ""
    address: str = ""
    state: str = ""
    """As HAProxy says: ``UP``, ``DOWN``, ``DRAIN``, ``MAINT``, ``no check``."""
    weight: int = 0
    recorded_weight: int = 0
    """What the agent's record says it should be."""
    sessions: int = 0
    errors: int = 0
    requests: int = 0
    responses_5xx: int = 0


@dataclass(frozen=True)
class Guard:
    """A cutover that waits for its confirm, or how the last one ended."""

    cutover: str
    state: str
    """``armed``, ``confirmed`` or ``reverted``."""
    deadline: float = 0.0
    """Seconds since the epoch, of the host."""


@dataclass(frozen=True)
class RoutingReport:
    """What a host's router serves."""

    config: str = ""
    """Digest of the :class:`RouterConfig` in force; empty: no router."""
    image: str = ""
    running: bool = False
    error: str = ""
    """Why the router could not be asked."""
    servers: Tuple[Assigned, ...] = ()
    guard: Optional[Guard] = None
    maintenance: Tuple[str, ...] = ()
    """Routes in maintenance by ``deploy maintenance``, sorted."""
