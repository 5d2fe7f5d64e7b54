"""What happens during a run, as frozen events that `report/` turns into a console, JSON or HTML.

Owns the event types and the one-method listener. Whoever makes something happen emits; nobody but a
listener prints. Must not know how an event is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orchestrator.planning.types import Change, Plan, Step
from orchestrator.protocol.messages import Failure


@dataclass(frozen=True)
class Warned:
    """Something the user should know that stops nothing."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class HostConnecting:
    """A session is being opened: a slow or dead host is on the screen from the first moment."""

    host: str


@dataclass(frozen=True)
class HostConnected:
    """A session is up and its agent has said hello."""

    host: str
    seconds: float
    shipped_agent: bool = False
    """True: the agent bundle was missing or different and has been sent."""


@dataclass(frozen=True)
class HostFailed:
    """A host could not be used."""

    host: str
    message: str
    hint: str = ""
    """What to do about it."""
    context: tuple[str, ...] = ()
    """What else is known, such as the last lines the host said."""


@dataclass(frozen=True)
class BuildStarted:
    """An image is being built or pulled."""

    image: str
    builder: str
    reason: str = ""


@dataclass(frozen=True)
class BuildOutput:
    """One line of the builder's own output."""

    image: str
    line: str


@dataclass(frozen=True)
class BuildFinished:
    """An image has its id."""

    image: str
    id: str
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class Planned:
    """The plan is made; nothing has been touched."""

    plan: Plan


@dataclass(frozen=True)
class LeaseTaken:
    """This run may change the project on these hosts."""

    epoch: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class StepStarted:
    """A step was handed to its host."""

    step: Step


@dataclass(frozen=True)
class StepProgress:
    """A step goes on: a phase of an operation, or bytes of a layer."""

    step: Step
    phase: str
    """``creating``, ``starting``, ``checking``, ``stopping``, ``removing``, ``compressing``, ``sending``,
    ``loading``; of routers: ``configuring``, ``attaching``, ``shifting``, ``draining``, ``watching``."""
    detail: str = ""
    done: int = 0
    """Bytes, while sending."""
    total: int = 0


@dataclass(frozen=True)
class StepFinished:
    """A step ended well."""

    step: Step
    seconds: float
    bytes_sent: int = 0
    note: str = ""
    """``present already``, ``adopted``, ..."""


@dataclass(frozen=True)
class StepFailed:
    """A step failed by itself; the steps that waited for it are ``StepSkipped``."""

    step: Step
    message: str
    failure: Failure | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class StepSkipped:
    """A step was never tried because one it waits for failed or the run was stopped."""

    step: Step
    because: str
    """Id of the failed step, or ``interrupted``."""


@dataclass(frozen=True)
class RestoreStarted:
    """Something failed: what was done is being taken back."""

    reason: str
    steps: int


@dataclass(frozen=True)
class RestoreFinished:
    """The old state is back, or is not: ``states`` says what each host is in."""

    ok: bool
    states: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Finished:
    """The last event of every run."""

    ok: bool
    exit_code: int
    release: str = ""
    """In force after the run; or, when ``held``, waiting for its promote. Empty when there is none."""
    held: bool = False
    """The new release runs without traffic until `deploy promote` or `deploy abort`."""
    changes: Mapping[str, int] = field(default_factory=dict)
    bytes_sent: int = 0
    round_trips: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""
    hint: str = ""
    context: tuple[str, ...] = ()


Event: TypeAlias = (
    Warned
    | HostConnecting
    | HostConnected
    | HostFailed
    | BuildStarted
    | BuildOutput
    | BuildFinished
    | Planned
    | LeaseTaken
    | StepStarted
    | StepProgress
    | StepFinished
    | StepFailed
    | StepSkipped
    | RestoreStarted
    | RestoreFinished
    | Finished
)

Listener: TypeAlias = Callable[[Event], None]
"""Called from any thread, in order per host; must not block and must not raise."""

__all__ = ["Change", "Event", "Listener"]
