"""What a test sees of a deployment: what the command said, what an engine has, what a client gets.

Owns the reading only; what is deployed, and how, is :mod:`.deploying`'s.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Run:
    """One run of the command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON lines, with ``--json``."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def named(self, event: str) -> list[dict[str, Any]]:
        """The events of one kind, in order."""
        return [line for line in self.events if line["event"] == event]

    @property
    def finished(self) -> dict[str, Any]:
        """The last event."""
        last = self.events[-1]
        assert last["event"] == "finished", self
        return last

    @property
    def changes(self) -> dict[str, list[str]]:
        """What was planned: ``web[1]`` -> action, then reasons; without what is kept or discarded."""
        (planned,) = self.named("planned")
        return {
            f"{change['service']}[{change['slot']}]": [
                change["action"],
                *(reason["message"] for reason in change["reasons"]),
            ]
            for change in planned["plan"]["changes"]
            if change["action"] not in ("keep", "discard")
        }

    @property
    def built(self) -> list[str]:
        """Names of the images that were built."""
        return [line["image"] for line in self.named("build_started")]

    @property
    def shipped(self) -> int:
        """Bytes of images that were sent to hosts."""
        return sum(line["bytes_sent"] for line in self.named("step_finished"))

    @property
    def document(self) -> Any:
        """The one JSON document of a command that has no events."""
        return json.loads(self.stdout)


@dataclass(frozen=True)
class Container:
    """A container as the engine of its host describes it."""

    host: str
    inspected: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The engine's id."""
        return str(self.inspected["Id"])

    @property
    def instance(self) -> str:
        """``web[1]``."""
        labels = self.inspected["Config"]["Labels"]
        return f"{labels['deploy.service']}[{labels['deploy.slot']}]"

    @property
    def release(self) -> str:
        """The release that made it."""
        return str(self.inspected["Config"]["Labels"]["deploy.release"])

    @property
    def state(self) -> str:
        """``running``, ``exited``, ..."""
        return str(self.inspected["State"]["Status"])

    @property
    def started(self) -> float:
        """When it was started last, in seconds since the epoch."""
        return _seconds(self.inspected["State"]["StartedAt"])

    @property
    def finished(self) -> float:
        """When it ended last, in seconds since the epoch."""
        return _seconds(self.inspected["State"]["FinishedAt"])

    @property
    def environment(self) -> dict[str, str]:
        """Its variables, those of the image included."""
        return dict(entry.split("=", 1) for entry in self.inspected["Config"]["Env"] or ())

    @property
    def port(self) -> int:
        """The host's port of the container's 8080."""
        return int(self.inspected["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])


def _seconds(text: str) -> float:
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z", r"\1+00:00", text)).timestamp()


def fetch(url: str, timeout: float = 2.0) -> str:
    """GET ``url``.

    Raises:
        OSError: No answer, or not a good one.
    """
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return str(answer.read().decode())


class Poller:
    """A client that asks ``url`` again and again, without retries, while the block runs."""

    def __init__(self, url: str, pause: float = 0.01) -> None:
        self.url = url
        self.pages: list[str] = []
        self.failures: list[str] = []
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                self.pages.append(fetch(self.url))
            except OSError as error:
                self.failures.append(f"{time.time():.3f} {error}")
