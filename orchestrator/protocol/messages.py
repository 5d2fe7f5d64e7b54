"""The requests a controller may make of an agent, and what the agent answers.

Owns the closed set of methods (:data:`METHODS`), their parameters, results and progress. One class
each; the frames that carry them are :mod:`.frames`'. There is deliberately no message that updates
a container: "replace, never mutate" shows as an absence.

======================  =========================  ==================  ==========================
method                  parameters                 result              changes something
======================  =========================  ==================  ==========================
``observe``             :class:`Observe`           :class:`HostReport` no
``acquire``             :class:`Acquire`           :class:`Acquired`   the lease and its epoch
``load``                :class:`LoadImage` + body  :class:`Loaded`     images
``perform``             :class:`Perform`           :class:`Performed`  containers
``commit``              :class:`Commit`            :class:`Done`       the release journal
``confirm``             :class:`Confirm`           :class:`Confirmed`  the guard of a cutover
``maintain``            :class:`Maintain`          :class:`Done`       the router
``release``             :class:`ReleaseLease`      :class:`Done`       the lease
``find``                :class:`FindImage`         :class:`Found`      no
``build``               :class:`Build` + body      :class:`Built`      images of the builder
``pull``                :class:`Pull`              :class:`Built`      images of the builder
``save``                :class:`SaveImage`         body, `Saved`       no
``logs``                :class:`Logs`              body, `Done`        no
``exec``                :class:`Exec` + body       body, `Exited`      whatever the command does
======================  =========================  ==================  ==========================
"""

from __future__ import annotations

from dataclasses import field
from typing import Dict, Optional, Tuple

from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.records import dataclass
from orchestrator.protocol.routing import Arm, Check, RouterConfig, RoutingReport, Shift, Watch

PROTOCOL_VERSION = 1

# --- greeting ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EngineInfo:
    """The container engine as it describes itself."""

    name: str
    """``docker`` or ``podman``."""
    version: str
    api: str
    os: str
    architecture: str
    image_store: str
    """``classic`` (layers by chain id), ``containerd`` or ``podman``."""
    storage_driver: str = ""
    cpus: int = 0
    memory: int = 0
    """Bytes."""
    cgroup: str = ""


@dataclass(frozen=True)
class Hello:
    """The first thing an agent says."""

    protocol: int
    agent: str
    """SHA-256 of the bundle that runs."""
    hostname: str
    boot_id: str
    pid: int
    uid: int
    python: str
    clock: float
    """Seconds since the epoch, of the host."""
    root: str
    """The agent's state directory."""
    engine: Optional[EngineInfo] = None
    engine_error: str = ""
    """Why there is no engine, when there is none."""


# --- observe -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Observe:
    """Ask for everything planning needs to know. ``probe``: run each running instance's healthcheck once."""

    project: str
    probe: bool = True


@dataclass(frozen=True)
class LeaseInfo:
    """Who may change the project on this host at the moment."""

    owner: str
    """``user@machine``, from the controller."""
    reason: str
    release: str
    since: float
    """Seconds since the epoch, of the host."""
    epoch: int


@dataclass(frozen=True)
class ContainerReport:
    """One container that carries the project's label."""

    id: str
    name: str
    service: str
    slot: int
    release: str
    digest: str
    """Config digest it was created from."""
    image: str
    state: str
    """``created``, ``running``, ``paused``, ``restarting``, ``exited`` or ``dead``."""
    health: str
    """``healthy``, ``unhealthy``, ``none`` (not running) or ``unknown`` (no record of its healthcheck)."""
    health_detail: str = ""
    """What was tried and what came back, when unhealthy."""
    started_at: str = ""
    """RFC 3339, as the engine says it."""
    finished_at: str = ""
    exit_code: int = 0
    restarts: int = 0
    intact: bool = True
    """False: the engine's inspect differs from the fingerprint taken right after creation."""
    config: Optional[InstanceConfig] = None
    """From the agent's journal; ``None`` when the journal has lost it."""


@dataclass(frozen=True)
class ImageReport:
    """One image that this program built or loaded (it carries our label, or a container uses it)."""

    id: str
    build: str = ""
    """Digest of the inputs it was built from; empty for pulled ones."""
    size: int = 0
    """Bytes on the host."""


@dataclass(frozen=True)
class VolumeReport:
    """A volume of the project."""

    name: str
    """Without the project's prefix."""


@dataclass(frozen=True)
class ReleasedInstance:
    """One line of a release record: which configuration ran where."""

    host: str
    service: str
    slot: int
    digest: str


@dataclass(frozen=True)
class Endpoint:
    """The stable addresses of one port of one service."""

    service: str
    port: int
    virtual: str
    """Address inside the project."""
    mesh: int
    """Port between hosts."""


@dataclass(frozen=True)
class ReleaseRecord:
    """An immutable record of everything that ran after an apply. Same on every host but ``configs``."""

    id: str
    """``r1``, ``r2``, ..."""
    created_at: float
    """Seconds since the epoch, of the controller."""
    author: str
    spec_digest: str
    reason: str = ""
    """``apply``, ``rollback to r3``, ..."""
    parent: str = ""
    instances: Tuple[ReleasedInstance, ...] = ()
    """Of the whole fleet: what tells which host holds what when one is down."""
    images: Tuple[Tuple[str, str], ...] = ()
    """(image name in the spec, image id)."""
    services: Tuple[Tuple[str, int], ...] = ()
    """(service, keep_releases)."""
    depends_on: Tuple[Tuple[str, Tuple[str, ...]], ...] = ()
    """(service, services it waits for): a rollback keeps the order of its own time."""
    stop_first: Tuple[str, ...] = ()
    """Services whose old instance must stop before the new one starts."""
    endpoints: Tuple["Endpoint", ...] = ()
    """Addresses given to services, sorted: a later release keeps them."""
    routers: Tuple[Tuple[str, str], ...] = ()
    """(host, digest of its router's picture)."""
    router: Optional[RouterConfig] = None
    """This host's own picture: what a rollback serves again."""
    configs: Tuple[InstanceConfig, ...] = ()
    """This host's own instances, one per digest: what a rollback re-activates."""


@dataclass(frozen=True)
class HeldJob:
    """What promote runs once the release stands."""

    service: str
    slot: int
    """Number of the job within the service."""
    host: str
    config: InstanceConfig
    """Its configs and secrets are on the host: an instance that is held has the same."""


@dataclass(frozen=True)
class Held:
    """A release that runs without traffic and waits for promote or abort."""

    record: ReleaseRecord
    since: float
    """Seconds since the epoch, of the host."""
    retires: Tuple[ReleasedInstance, ...] = ()
    """What promote takes out of service, of the whole fleet."""
    bake: Tuple[Tuple[str, float], ...] = ()
    """(service, seconds its new instances must stay healthy under traffic)."""
    drain: Tuple[Tuple[str, float], ...] = ()
    """(service, longest wait in seconds for the sessions of what is retired)."""
    keep_old: Tuple[Tuple[str, float], ...] = ()
    """(service, seconds its old instances stay warm)."""
    jobs: Tuple[HeldJob, ...] = ()
    """In the order they run."""


@dataclass(frozen=True)
class HostReport:
    """The answer to ``observe``: the truth of one host about one project."""

    epoch: int
    key: str
    """Hexadecimal key for the keyed hashes of this project's secrets on this host."""
    containers: Tuple[ContainerReport, ...] = ()
    images: Tuple[ImageReport, ...] = ()
    volumes: Tuple[VolumeReport, ...] = ()
    releases: Tuple[ReleaseRecord, ...] = ()
    """Oldest first."""
    lease: Optional[LeaseInfo] = None
    state: str = ""
    """Digest of what a plan depends on: containers, their states, the current release, the router's
    picture and a held release."""
    routing: Optional[RoutingReport] = None
    """``None``: this host never had a router of the project."""
    held: Optional[Held] = None
    disk_free: int = 0
    disk_total: int = 0
    """Bytes, of the file system that holds the images."""


# --- lease ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Acquire:
    """Take the project's lease for the life of this session."""

    project: str
    epoch: int
    """Must be greater than every epoch the host has seen."""
    owner: str
    reason: str
    release: str
    state: str = ""
    """The ``HostReport.state`` that was planned from; when it differs the answer is ``state-changed``."""


@dataclass(frozen=True)
class Acquired:
    """The lease is ours until the session ends."""

    epoch: int


@dataclass(frozen=True)
class ReleaseLease:
    """Give the lease back while the session lives on."""

    project: str
    epoch: int


# --- images --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One layer as it travels: the header before each blob of a layer stream."""

    diff_id: str
    """``sha256:`` of the uncompressed tar."""
    digest: str
    """``sha256:`` of the bytes that travel."""
    size: int
    """Bytes of the whole blob."""
    offset: int = 0
    """The bytes that follow start here: an interrupted transfer goes on where it stopped."""
    media_type: str = "application/vnd.oci.image.layer.v1.tar+gzip"
    plain: int = 0
    """Bytes of the uncompressed tar; 0 for a blob that is one itself."""


@dataclass(frozen=True)
class LoadImage:
    """Offer an image.

    The agent answers at once with progress :class:`LayersWanted`; the body is then those layers in
    that order, in the form of :mod:`orchestrator.protocol.layers`.
    """

    project: str
    epoch: int
    image: str
    """Image id: ``sha256:`` of ``config``."""
    config: str
    """The image configuration, verbatim JSON text; its ``rootfs.diff_ids`` name the layers."""
    tag: str = ""
    """A name for people who look at the host; never used to run anything."""


@dataclass(frozen=True)
class WantedLayer:
    """A layer the host lacks, and what an interrupted transfer left of it."""

    diff_id: str
    partial: str = ""
    """Digest of the blob that was under way; empty when there is nothing to go on from."""
    offset: int = 0
    """Bytes of that blob the host has already."""


@dataclass(frozen=True)
class LayersWanted:
    """Progress of ``load``: what to send."""

    wanted: Tuple[WantedLayer, ...] = ()
    """Base first."""
    present: bool = False
    """True: the image is there already; nothing is wanted."""
    note: str = ""
    """Set when the engine forces a dearer way, such as ``whole image: the engine takes no part of one``."""


@dataclass(frozen=True)
class Loaded:
    """The image is there, verified by its id."""

    image: str
    loaded: bool
    """False: it was there already."""


@dataclass(frozen=True)
class Build:
    """Build one image. The body is the context, an uncompressed tar."""

    project: str
    name: str
    build: str
    """Digest of the inputs; set as the image's label ``deploy.build``."""
    dockerfile: str
    """Path inside the context."""
    args: Tuple[Tuple[str, str], ...] = ()
    target: str = ""
    platform: str = ""
    tag: str = ""
    network: str = ""


@dataclass(frozen=True)
class Built:
    """An image on the builder."""

    image: str
    config: str
    """The image configuration, verbatim JSON text."""
    layers: Tuple[Tuple[str, int], ...] = ()
    """(diff id, bytes as the engine estimates them), base first."""


@dataclass(frozen=True)
class FindImage:
    """Ask for the image of a build digest, if this engine has it."""

    build: str
    tag: str = ""
    """A name the image is to have as well, as ``Build.tag``: another project may have built it."""


@dataclass(frozen=True)
class Found:
    """``built`` is ``None`` when the engine has no such image."""

    built: Optional[Built] = None


@dataclass(frozen=True)
class Pull:
    """Have the engine that builds pull an image by reference."""

    reference: str
    platform: str = ""


@dataclass(frozen=True)
class SaveImage:
    """Read layers out of an engine; they come as the body, in the form of :mod:`.layers`."""

    image: str
    layers: Tuple[str, ...] = ()
    """Diff ids wanted."""


@dataclass(frozen=True)
class Saved:
    """End of ``save``: the verbatim configuration of the image."""

    config: str


# --- perform -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """One thing to do to one container. ``kind`` is one of :data:`OPERATIONS`."""

    id: int
    kind: str
    after: Tuple[int, ...] = ()
    """Operations of the same request that must have succeeded before."""
    service: str = ""
    slot: int = 0
    release: str = ""
    config: Optional[InstanceConfig] = None
    """``start``: what to run."""
    container: str = ""
    """``stop``, ``resume``, ``remove``: the container's id."""
    name: str = ""
    """``remove_volume``: volume without prefix; ``remove_image``: image id; ``forget``: release id."""
    seconds: float = 0.0
    """``drain``: longest wait for sessions; ``job``: longest run; ``start``, ``resume``: longest time to
    healthy, 0 is what the health check says."""
    router: Optional[RouterConfig] = None
    """``router``; ``None`` there takes the router away."""
    shift: Optional[Shift] = None
    watch: Optional[Watch] = None
    check: Optional[Check] = None
    arm: Optional[Arm] = None
    """``arm``, and with its cutover alone ``disarm``."""
    held: Optional[Held] = None
    """``hold``; ``unhold`` needs none."""
    faulty: bool = False
    """``resume``: it was unhealthy or changed when it was stopped: it is only started."""


OPERATIONS = (
    "start",
    "stop",
    "resume",
    "remove",
    "remove_volume",
    "remove_image",
    "forget",
    "router",
    "attach",
    "detach",
    "shift",
    "drain",
    "watch",
    "check",
    "job",
    "arm",
    "disarm",
    "hold",
    "unhold",
)
"""What an operation may be.

On one container: ``start`` creates it (or adopts a matching half-started one) and proves it healthy;
``stop`` ends it and keeps it; ``resume`` starts a stopped one again, exactly as it was, and proves it
healthy unless it was not; ``remove`` deletes a stopped one; ``job`` runs one to its end, once per release
and name.

On the router: ``router`` makes it serve a picture; ``attach`` gives the container of (service, slot,
release) a slot in each of the service's backends, without traffic, and waits until the router finds it
healthy; ``detach`` takes it out; ``shift`` moves traffic; ``drain`` waits until the container has no
sessions left, ends those that outlast ``seconds``, and takes it out; ``watch`` and ``check`` observe;
``arm`` and ``disarm`` set and release the guard; ``hold`` and ``unhold`` remember a held release.

``forget`` drops a release from the journal."""


@dataclass(frozen=True)
class Confirm:
    """Tell a host, over a fresh connection, that its cutover stands."""

    project: str
    cutover: str


@dataclass(frozen=True)
class Confirmed:
    """How a confirm was taken."""

    state: str
    """``confirmed``, or ``reverted``: too late, the host has gone back by itself."""


@dataclass(frozen=True)
class Maintain:
    """Switch a route's maintenance page on or off; survives restarts and releases."""

    project: str
    epoch: int
    route: str
    on: bool


@dataclass(frozen=True)
class Perform:
    """Carry out operations, those without open predecessors in parallel."""

    project: str
    epoch: int
    operations: Tuple[Operation, ...]
    contents: Dict[str, str] = field(default_factory=dict)
    """SHA-256 of a config -> its bytes in base64."""
    secrets: Dict[str, str] = field(default_factory=dict)
    """HMAC of a secret -> its bytes in base64. Never logged, never part of a repr."""

    def __repr__(self) -> str:
        return f"Perform(project={self.project!r}, epoch={self.epoch}, operations={len(self.operations)})"


@dataclass(frozen=True)
class Failure:
    """Why an operation failed: one screen that explains itself."""

    code: str
    """``exited``, ``unhealthy``, ``conflict``, ``engine``, ``no-space``, ``cancelled``, ``upstream``, ..."""
    message: str
    probes: Tuple[str, ...] = ()
    """What was tried and what came back, newest last."""
    logs: Tuple[str, ...] = ()
    """The container's last lines."""
    seconds: float = 0.0
    """How long it ran."""
    hint: str = ""
    """What to do next, when the host knows better than the code tells."""


@dataclass(frozen=True)
class OperationProgress:
    """Progress of ``perform``: an operation went on, ended or failed."""

    id: int
    phase: str
    """``creating``, ``starting``, ``checking``, ``stopping``, ``removing``; ``done`` or ``failed`` end it."""
    container: str = ""
    detail: str = ""
    failure: Optional[Failure] = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Performed:
    """All operations ended; one :class:`OperationProgress` each, in order of id."""

    outcomes: Tuple[OperationProgress, ...] = ()


@dataclass(frozen=True)
class Commit:
    """Write a release to the journal: temp file, fsync, rename, fsync of the folder."""

    project: str
    epoch: int
    record: ReleaseRecord


@dataclass(frozen=True)
class Done:
    """Nothing more to say."""


# --- looking inside ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Logs:
    """Stream a container's output as the body, each line prefixed by nothing."""

    project: str
    container: str
    tail: int = 100
    follow: bool = False
    since: str = ""
    timestamps: bool = False


@dataclass(frozen=True)
class Exec:
    """Run a command in a container; the body is stdin, the answer's body is its output."""

    project: str
    container: str
    command: Tuple[str, ...]
    tty: bool = False
    columns: int = 80
    rows: int = 24


@dataclass(frozen=True)
class Exited:
    """A command ended."""

    exit_code: int


@dataclass(frozen=True)
class RemoteFailure:
    """A request failed. ``code`` is stable and documented; code never branches on ``message``."""

    code: str
    """``lease-held``, ``stale-epoch``, ``state-changed``, ``no-lease``, ``bad-request``, ``engine``,
    ``no-engine``, ``no-space``, ``not-found``, ``build-failed``, ``digest-mismatch``, ``cancelled``,
    ``internal``."""
    message: str
    hint: str = ""
    context: Tuple[str, ...] = ()
    lease: Optional[LeaseInfo] = None


@dataclass(frozen=True)
class Method:
    """One entry of :data:`METHODS`."""

    params: type
    result: type
    progress: Optional[type] = None
    needs_lease: bool = False
    """The agent refuses it without the project's lease and its epoch."""


METHODS: Dict[str, Method] = {
    "observe": Method(Observe, HostReport),
    "acquire": Method(Acquire, Acquired),
    "release": Method(ReleaseLease, Done, needs_lease=True),
    "load": Method(LoadImage, Loaded, progress=LayersWanted, needs_lease=True),
    "perform": Method(Perform, Performed, progress=OperationProgress, needs_lease=True),
    "commit": Method(Commit, Done, needs_lease=True),
    "confirm": Method(Confirm, Confirmed),
    "maintain": Method(Maintain, Done, needs_lease=True),
    "find": Method(FindImage, Found),
    "build": Method(Build, Built),
    "pull": Method(Pull, Built),
    "save": Method(SaveImage, Saved),
    "logs": Method(Logs, Done),
    "exec": Method(Exec, Exited),
}
"""The closed set of things a controller can ask."""
