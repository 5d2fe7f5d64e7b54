"""What can befall a host of the fleet in memory: effects to hook into points."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from orchestrator.protocol import messages as m

if TYPE_CHECKING:
    from support.fleet_host import FakeHost

Effect = Callable[["FakeHost"], None]


class Hanging(Exception):  # noqa: N818
    """Raised by an effect: what was about to happen never does."""


class Failing(Exception):  # noqa: N818
    """Raised by an effect: the host refuses or fails with this code."""

    def __init__(self, code: str = "unhealthy", message: str = "GET /health answered 500") -> None:
        super().__init__(message)
        self.failure = m.Failure(code, message, probes=(message,), logs=("boom",), seconds=2.0)


def fails(code: str = "unhealthy", message: str = "GET /health answered 500") -> Effect:
    """Return an effect that makes the operation or request fail."""

    def effect(_: FakeHost) -> None:
        raise Failing(code, message)

    return effect


def hangs(_: FakeHost) -> None:
    """Effect: nothing more comes of it, until it is cancelled."""
    raise Hanging


def disconnects(host: FakeHost) -> None:
    """Effect: the sessions with the host end and its agent with them; it can be reached again."""
    host.disconnect()


def goes_down(host: FakeHost) -> None:
    """Effect: the host is gone for good."""
    host.down = True
    host.disconnect()


def expires(host: FakeHost) -> None:
    """Effect: the time for a confirm is up, and the host goes back by itself."""
    host.router.expire()
