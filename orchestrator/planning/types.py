"""The frozen values that travel between the stages of planning, and on to execution.

Owns the vocabulary: artifact, desired instance, observed host, change, plan, step. Holds no logic
beyond lookups, and must not know how any of it is computed or carried out.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import (
    ContainerReport,
    Endpoint,
    Held,
    HostReport,
    ReleasedInstance,
    ReleaseRecord,
)
from orchestrator.protocol.routing import Arm, Check, RouterConfig, Shift, Watch

# --- desired -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Artifact:
    """An image of the spec, resolved as far as it is known."""

    name: str
    """Key in the spec's ``images``."""
    build: str = ""
    """Digest of the inputs (64 hexadecimal digits); empty for a pulled image."""
    reference: str = ""
    """What to pull; empty for a built image."""
    id: str = ""
    """Image id, ``sha256:`` and 64 digits; empty until it is built or pulled."""

    @property
    def identity(self) -> str:
        """The id when known, else a placeholder that is stable for equal inputs."""
        return self.id or (f"build:{self.build}" if self.build else f"pull:{self.reference}")


@dataclass(frozen=True)
class DesiredInstance:
    """One container that should run."""

    service: str
    slot: int
    """1-based within the service, over the whole fleet."""
    host: str
    config: InstanceConfig
    image: str
    """Name of the image in the spec."""
    stop_first: bool = False
    """Old and new cannot exist side by side (a fixed host port, a volume): stop, then start."""
    contents: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """(SHA-256, bytes) of the rendered configs."""
    secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """(HMAC, value). Never shown, never compared, never saved."""

    @property
    def key(self) -> tuple[str, int]:
        """Identity across replacements: (service, slot)."""
        return (self.service, self.slot)


class Strategy(enum.Enum):
    """How the instances of a service are replaced."""

    BLUE_GREEN = "blue-green"
    """All new ones beside all old ones, then all traffic at once, on every host in one transaction."""
    ROLLING = "rolling"
    """A batch at a time."""
    CANARY = "canary"
    """All new ones beside all old ones, then traffic by steps."""
    RECREATE = "recreate"
    """Stop, then start: for what cannot exist twice."""


class JobPhase(enum.Enum):
    """When a job of a release runs."""

    BEFORE_CUTOVER = "before-cutover"
    AFTER_CONFIRM = "after-confirm"


@dataclass(frozen=True)
class CanaryStep:
    """A share of the traffic for a while."""

    weight: int
    """Percent, 1 to 99."""
    bake: float
    """Seconds."""


@dataclass(frozen=True)
class CheckPolicy:
    """A test of new instances: exactly one of ``command`` and ``http``."""

    command: tuple[str, ...] = ()
    http: str = ""
    port: int = 0
    timeout: float = 30.0


@dataclass(frozen=True)
class UpdatePolicy:
    """How a service is replaced, with every default applied. Times are seconds."""

    strategy: Strategy
    max_parallel: int = 1
    """Instances replaced at the same time; percentages are resolved."""
    max_unavailable: int = 0
    canary: tuple[CanaryStep, ...] = ()
    min_healthy: float = 3.0
    start_deadline: float = 0.0
    """From started to healthy; 0 is what the health check says."""
    progress_deadline: float = 600.0
    """In which no instance becomes healthy while some are being started; 0 is for ever."""
    bake: float = 5.0
    drain: float = 30.0
    keep_old: float = 0.0
    on_failure: str = "revert"
    hold: bool = False
    checks: tuple[CheckPolicy, ...] = ()


@dataclass(frozen=True)
class Desired:
    """Everything that should run, and the order services depend on each other."""

    project: str
    spec_digest: str
    instances: tuple[DesiredInstance, ...]
    """Sorted by (service, slot)."""
    artifacts: tuple[Artifact, ...]
    """Sorted by name."""
    depends_on: tuple[tuple[str, tuple[str, ...]], ...]
    """(service, services it waits for), sorted."""
    keep_releases: tuple[tuple[str, int], ...]
    """(service, number of old releases to keep), sorted."""
    explanations: tuple[tuple[str, str], ...] = ()
    """(instance ``service[slot]``, why it is on its host)."""
    updates: tuple[tuple[str, UpdatePolicy], ...] = ()
    """(service, how it is replaced), sorted. A service that is missing here has the default."""
    routers: tuple[tuple[str, RouterConfig], ...] = ()
    """(host, what its router should serve), sorted; a host without one has no router."""
    router_secrets: tuple[tuple[str, bytes], ...] = field(default=(), repr=False)
    """(HMAC, certificate bundle). Never shown, never compared, never saved."""
    endpoints: tuple[Endpoint, ...] = ()
    """Stable addresses of services, sorted."""
    jobs: tuple[tuple[str, JobPhase, DesiredInstance], ...] = ()
    """(service, when, what to run once per release), in order."""


# --- observed ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObservedHost:
    """One host of the inventory as it answered, or why it did not."""

    name: str
    report: HostReport | None = None
    error: str = ""
    """Set exactly when ``report`` is ``None``."""
    hint: str = ""
    """What to do about the error."""
    context: tuple[str, ...] = ()
    """What else is known of it."""


@dataclass(frozen=True)
class Observed:
    """The fleet as it is."""

    hosts: tuple[ObservedHost, ...]
    """Sorted by name."""

    def host(self, name: str) -> ObservedHost:
        """Return the host called ``name``.

        Raises:
            KeyError: There is no such host.
        """
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)


@dataclass(frozen=True)
class Running:
    """A container of the project on a host: what a change replaces, keeps or removes."""

    host: str
    container: ContainerReport


# --- plan ----------------------------------------------------------------------------------------


class Action(enum.Enum):
    """What happens to one slot. Closed: code branches on this, never on a reason."""

    KEEP = "keep"
    """It runs as it should: an explicit no-op."""
    CREATE = "create"
    """Nothing is there yet."""
    REPLACE = "replace"
    """Start the new one, prove it healthy, then stop the old one."""
    REPLACE_STOP_FIRST = "replace-stop-first"
    """Stop the old one, start the new one; on failure start the old one again."""
    RESUME = "resume"
    """A rollback: a stopped container of that very configuration is started again, the current one stops."""
    REMOVE = "remove"
    """No longer wanted: stop it; it stays as part of its release until that is pruned."""
    DISCARD = "discard"
    """A leftover that serves nothing (a failed start, a release no longer kept): delete it."""


@dataclass(frozen=True)
class Reason:
    """Why a change happens. Data, shown to people; code never branches on it."""

    code: str
    """``new``, ``config-changed``, ``image-changed``, ``stopped``, ``removed``, ``unhealthy``,
    ``drift``, ``moved``, ``not-in-spec``, ``leftover``, ``expired``, ``rollback``, ``destroy``,
    ``unchanged``."""
    message: str
    """One clause: ``environment LOG_LEVEL changed``. Never holds a value."""
    path: str = ""
    """Key path inside the configuration, such as ``environment.LOG_LEVEL``."""


@dataclass(frozen=True)
class Change:
    """One line of a plan."""

    action: Action
    service: str
    slot: int
    host: str
    reasons: tuple[Reason, ...]
    desired: DesiredInstance | None = None
    """``CREATE``, ``REPLACE*``, ``KEEP``; ``RESUME`` when a new container may be needed instead."""
    current: Running | None = None
    """What is replaced, kept, removed or discarded."""
    resumes: Running | None = None
    """A container to start again instead of creating one. ``RESUME``: the stopped one of that very
    configuration. ``CREATE``, ``REPLACE*``: a half-started one, left by a run that was cut off."""

    @property
    def name(self) -> str:
        """``service[slot]``."""
        return f"{self.service}[{self.slot}]"


@dataclass(frozen=True)
class Carried:
    """An instance this plan does not look at: it goes into the next record as it was."""

    instance: ReleasedInstance
    config: InstanceConfig | None = None
    """From its own host; ``None`` when that host takes no part."""


@dataclass(frozen=True)
class RouterChange:
    """A router whose picture changes on one host."""

    host: str
    desired: RouterConfig | None
    """``None``: it goes."""
    current: RouterConfig | None
    """From the release in force; ``None``: there was none, or it is not known."""
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Plan:
    """What an apply would do. Equal inputs give an equal plan."""

    project: str
    release: str
    """Id the next release will have."""
    reason: str
    """``apply``, ``rollback to r3``, ``destroy``."""
    desired: Desired
    changes: tuple[Change, ...]
    """Sorted by (service, slot, host, action)."""
    builds: tuple[Artifact, ...] = ()
    """Artifacts to start whose id is not known yet: they will be built or pulled first."""
    epoch: int = 0
    """Highest epoch any host reported; the apply takes the next one."""
    states: tuple[tuple[str, str], ...] = ()
    """(host, ``HostReport.state``) the plan was made from, sorted."""
    skipped: tuple[tuple[str, str], ...] = ()
    """(host, why): hosts that are down and hold nothing to change."""
    forgets: tuple[tuple[str, str], ...] = ()
    """(host, release id): records no longer kept, dropped after the apply."""
    ships: tuple[tuple[str, str], ...] = ()
    """(host, image id): images that hosts lack, sorted. The id is a placeholder until it is built."""
    images: tuple[tuple[str, str], ...] = ()
    """(host, image id): images that nothing kept uses any more, removed after the apply, sorted."""
    volumes: tuple[tuple[str, str], ...] = ()
    """(host, volume without prefix): removed. Only ever set when destroying with volumes."""
    participants: tuple[str, ...] = ()
    """Hosts the new release is recorded on, sorted; empty when nothing that a record names changes."""
    unrecorded: tuple[str, ...] = ()
    """Hosts on which everything runs as it should and no record says so (an apply was cut off), sorted."""
    carried: tuple[Carried, ...] = ()
    """What is outside ``--limit`` or on a host that is down and unchanged, sorted."""
    previous: ReleaseRecord | None = None
    """The release in force when the plan was made."""
    routers: tuple[RouterChange, ...] = ()
    """Routers whose picture changes, sorted by host."""
    routed: tuple[tuple[str, str], ...] = ()
    """(host, service) whose traffic goes through that host's router once the plan is carried out."""
    hold: bool = False
    """Stop before the cutover, with the new instances running and reachable by the preview."""
    serving: tuple[tuple[str, Shift], ...] = ()
    """(host, who gets a service's traffic there now, as its router reports), sorted by host and service."""
    unserved: tuple[tuple[str, str], ...] = ()
    """(host, service) of ``routed`` whose router serves others than the instances kept there, sorted."""
    armed: tuple[tuple[str, str], ...] = ()
    """(host, cutover): guards that an earlier run left waiting for a confirm, sorted."""
    unholds: tuple[str, ...] = ()
    """Hosts that forget the release they hold, since this plan promotes or replaces it, sorted."""

    @property
    def empty(self) -> bool:
        """True when there is nothing to do."""
        return all(change.action is Action.KEEP for change in self.changes) and not (
            self.forgets
            or self.images
            or self.volumes
            or self.unrecorded
            or self.routers
            or self.unserved
            or self.armed
            or self.unholds
        )

    @property
    def starts(self) -> frozenset[str]:
        """Names of the images that something is started from."""
        return frozenset(
            c.desired.image for c in self.changes if c.desired is not None and c.action is not Action.KEEP
        )

    @property
    def hosts(self) -> tuple[str, ...]:
        """Hosts that something happens on, sorted."""
        return tuple(sorted({c.host for c in self.changes if c.action is not Action.KEEP}))


# --- steps ---------------------------------------------------------------------------------------


class StepKind(enum.Enum):
    """What one step asks of one host."""

    SHIP = "ship"
    """Make sure the image is on the host."""
    START = "start"
    STOP = "stop"
    RESUME = "resume"
    REMOVE = "remove"
    COMMIT = "commit"
    """Write the release record. From here on the apply can no longer fail the release."""
    FORGET = "forget"
    REMOVE_VOLUME = "remove-volume"
    REMOVE_IMAGE = "remove-image"
    ROUTER = "router"
    """Make the host's router serve a picture, or take it away."""
    ATTACH = "attach"
    """Give an instance its place in the router, without traffic, and wait until it is healthy there."""
    DETACH = "detach"
    SHIFT = "shift"
    """Move a service's traffic on one host."""
    DRAIN = "drain"
    """Wait until an instance has no sessions left, and take it out of the router."""
    WATCH = "watch"
    CHECK = "check"
    JOB = "job"
    ARM = "arm"
    """From here the host goes back by itself unless it is told otherwise."""
    DISARM = "disarm"
    CONFIRM = "confirm"
    """Over a fresh connection: the cutover stands. From here on nothing is taken back."""
    HOLD = "hold"
    UNHOLD = "unhold"


@dataclass(frozen=True)
class Step:
    """One node of the dataflow: it starts when every step in ``after`` has ended well."""

    id: str
    """Unique and readable: ``start web-1 api[1]``."""
    kind: StepKind
    host: str
    after: tuple[str, ...] = ()
    service: str = ""
    slot: int = 0
    desired: DesiredInstance | None = None
    """``START``; ``RESUME`` when it comes from a plan."""
    container: str = ""
    """``STOP``, ``RESUME``, ``REMOVE``: the container's id. A stop in an undo of a start that has no id
    yet is left to the agent's answer."""
    image: str = ""
    """``SHIP``: image id."""
    name: str = ""
    """``FORGET``: release id; ``REMOVE_VOLUME``, ``REMOVE_IMAGE``: what to remove; ``DISARM``,
    ``CONFIRM``: the cutover."""
    release: str = ""
    """``ATTACH``, ``DETACH``, ``DRAIN``: the release label of the instance, when it is not the run's."""
    seconds: float = 0.0
    """``DRAIN``: longest wait; ``JOB``: longest run; ``START``, ``RESUME``, and for its undoing ``STOP``:
    longest time to healthy, 0 is what the health check says."""
    progress: float = 0.0
    """``START``, ``RESUME``: longest time in which nothing of the service becomes healthy while some of it
    is being started; 0 is for ever."""
    routing: RouterConfig | Shift | Watch | Check | Arm | None = None
    """``ROUTER`` (``None`` takes it away), ``SHIFT``, ``WATCH``, ``CHECK``, ``ARM``."""
    back: RouterConfig | Shift | None = None
    """``ROUTER``, ``SHIFT``: what an undo puts in its place."""
    held: Held | None = None
    """``HOLD``."""
    record: ReleaseRecord | None = None
    """``COMMIT``."""
    faulty: bool = False
    """``STOP``: it was unhealthy or changed before; ``RESUME``: so nobody demands more of it."""
    essential: bool = True
    """False: a failure is reported but neither fails the apply nor undoes anything (clean-up)."""
