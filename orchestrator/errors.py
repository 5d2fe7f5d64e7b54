"""Every error this program raises on purpose, and the exit code each one means.

::

    DeployError
    ├── RequestError            1    the request was wrong; nothing was touched
    │   ├── SpecError                problems in the spec, each with file:line:column
    │   ├── InventoryError           the same, for the inventory
    │   ├── PlanStale                a saved plan no longer matches the world
    │   └── ToolMissing              something this machine or a host lacks
    ├── ApplyFailed             3    the apply failed; the old state was kept or restored
    │   └── BuildFailed              an image did not build; no host was touched
    ├── LeaseHeld               4    somebody else is changing this project
    ├── HostError               5    a host could not be used
    │   ├── HostUnreachable          no route, refused, timed out, connection lost
    │   ├── HostKeyError             the host's key is unknown or has changed
    │   ├── AuthenticationFailed     the host refused the user or the key
    │   ├── HostNotReady             no python3, no engine, no permission
    │   └── ProtocolViolation        the host answered something it must not
    ├── NotRestored             6    failed, and the old state could NOT be restored
    └── Interrupted           130    the user stopped it

It owns the vocabulary of failure and knows nothing of how anything is done.
Messages say what happened, specific and lower case, without blame; ``hint`` says what to do next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class DeployError(Exception):
    """Base of all errors that are reported to the user without a traceback.

    Args:
        message: What happened, one sentence, lower case, no full stop.
        hint: What to do next, or ``None`` when there is nothing useful to say.
        context: Further lines, such as a builder's last output, shown indented.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, context: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context = tuple(context)


class RequestError(DeployError):
    """The request was wrong: nothing was touched."""

    exit_code = 1


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file the user wrote."""

    message: str
    """What is wrong and what was expected."""
    file: str = ""
    """Path as the user named it; empty when there is no file (an argument)."""
    line: int = 0
    """1-based; 0 when unknown."""
    column: int = 0
    """1-based; 0 when unknown."""
    path: str = ""
    """Key path such as ``services.api.healthcheck.port``."""
    hint: str = ""
    """For example ``did you mean 'replicas'?``."""

    @property
    def location(self) -> str:
        """``file:line:column``, as far as it is known."""
        parts = [self.file] + [str(n) for n in (self.line, self.column) if n]
        return ":".join(part for part in parts if part)

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}{path}{self.message}{hint}"


class _ProblemsError(RequestError):
    """Carries all problems found in one pass, in file order."""

    what = "the file"

    def __init__(self, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        super().__init__(
            f"{count} problem{'s' if count != 1 else ''} in {self.what}",
            hint=hint,
            context=[str(problem) for problem in self.problems],
        )


class SpecError(_ProblemsError):
    """The spec is wrong. Holds every problem found, not only the first."""

    what = "the spec"


class InventoryError(_ProblemsError):
    """The inventory is wrong. Holds every problem found, not only the first."""

    what = "the inventory"


class PlanStale(RequestError):  # noqa: N818 - reads as the state it names
    """A saved plan no longer matches what it was made from; the context says what changed."""


class ToolMissing(RequestError):  # noqa: N818
    """Something that is needed is not installed; the hint says how to get it."""


class ApplyFailed(DeployError):  # noqa: N818
    """The apply failed and the old state was kept or restored."""

    exit_code = 3


class BuildFailed(ApplyFailed):
    """An image did not build. The context holds the builder's own last lines."""


class LeaseHeld(DeployError):  # noqa: N818
    """Another session holds the project's lease; the message says who, since when and why."""

    exit_code = 4


class HostError(DeployError):
    """A host could not be used. ``host`` is its name in the inventory."""

    exit_code = 5

    def __init__(
        self, host: str, message: str, *, hint: str | None = None, context: Sequence[str] = ()
    ) -> None:
        super().__init__(f"{host}: {message}", hint=hint, context=context)
        self.host = host


class HostUnreachable(HostError):  # noqa: N818
    """No route, refused, timed out, or the connection was lost."""


class HostKeyError(HostError):
    """The host's key is unknown or differs from the one on record."""


class AuthenticationFailed(HostError):  # noqa: N818
    """The host refused the user, the key or the certificate."""


class HostNotReady(HostError):  # noqa: N818
    """The host lacks python3, an engine, or the permission to use it."""


class ProtocolViolation(HostError):  # noqa: N818
    """The host's agent answered something it must not: the host is not trusted further."""


class NotRestored(DeployError):  # noqa: N818
    """The apply failed and the old state could not be restored; the context lists every host's state."""

    exit_code = 6


class Interrupted(DeployError):  # noqa: N818
    """The user stopped the run; the context says what state each host is in."""

    exit_code = 130
