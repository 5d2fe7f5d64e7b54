"""The parts of a service and of an image, as frozen models.

Owns ports, health checks, limits, dependencies and builds, with Compose's short and long
forms brought into one. It must not know services, files or positions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from orchestrator.spec.fields import (
    Argv,
    Count,
    Duration,
    Environment,
    LocalPath,
    Name,
    PortNumber,
    Size,
    UrlPath,
    Word,
)
from orchestrator.spec.values import kind


class Part(BaseModel):
    """Base of everything in the model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Build(Part):
    """How an image is built. A string is its ``context``."""

    context: LocalPath = Field(
        description="Folder of the Dockerfile and the files it copies.", examples=["images/api"]
    )
    dockerfile: LocalPath = Field(
        default="Dockerfile",
        description="Path of the Dockerfile within the context.",
        examples=["Dockerfile.prod"],
    )
    args: Environment = Field(
        default=(),
        description="Build arguments: a map, or a list of NAME=value.",
        examples=[{"VERSION": "1.4"}],
    )
    target: Word = Field(
        default="", description="Stage to stop at; by default the last one.", examples=["runtime"]
    )
    platform: Word = Field(
        default="",
        description="Platform to build for; by default the builder's own.",
        examples=["linux/amd64"],
    )
    from_: Name | None = Field(
        default=None,
        alias="from",
        description="Image of this spec that the Dockerfile's FROM stands on.",
        examples=["base"],
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"context": data} if isinstance(data, str) else data


class Port(Part):
    """A port of the container published on the host. Short form: ``[[ip:]published:]target[/udp]``."""

    target: PortNumber = Field(description="Port inside the container.", examples=[8080])
    published: int = Field(
        default=0, ge=0, le=65535, description="Port on the host; 0 lets the engine choose.", examples=[80]
    )
    protocol: Literal["tcp", "udp"] = Field(default="tcp", description="Protocol.", examples=["udp"])
    host_ip: str = Field(
        default="",
        description="Address of the host to listen on; empty is all of them.",
        examples=["127.0.0.1"],
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        if isinstance(data, int) and not isinstance(data, bool):
            return {"target": data}
        return _short_port(data) if isinstance(data, str) else data

    @model_validator(mode="after")
    def _address(self) -> Self:
        if self.host_ip:
            ipaddress.ip_address(self.host_ip)
        return self


_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9A-Fa-f:.]+\]|[0-9.]+):)?(?P<published>[0-9]*):)?(?P<target>[0-9]+)(?:/(?P<protocol>[a-z]+))?"
)


def _short_port(data: str) -> dict[str, Any]:
    if re.search(r"[0-9]-[0-9]", data):
        raise ValueError(
            f"expected single ports, got the range {data!r}: list each port on a line of its own"
        )
    match = _PORT.fullmatch(data)
    if match is None:
        raise ValueError(f"expected a port such as 8080, 80:8080 or 127.0.0.1:80:8080/tcp, got {data!r}")
    return {
        "target": int(match["target"][:6]),
        "published": int((match["published"] or "0")[:6]),
        "protocol": match["protocol"] or "tcp",
        "host_ip": (match["ip"] or "").strip("[]"),
    }


class Healthcheck(Part):
    """How an instance proves itself healthy: ``http``, ``tcp``, ``command`` or the word ``none``."""

    http: UrlPath | None = Field(
        default=None,
        description="Path asked for by GET on `port`; 2xx and 3xx are healthy.",
        examples=["/health"],
    )
    tcp: PortNumber | None = Field(
        default=None, description="Port that must accept a connection.", examples=[6379]
    )
    command: Argv | None = Field(
        default=None,
        description="Command run inside the container; exit status 0 is healthy.",
        examples=[["redis-cli", "ping"]],
    )
    port: PortNumber | None = Field(
        default=None, description="Port inside the container for `http`.", examples=[8080]
    )
    interval: Duration = Field(default=1.0, gt=0, description="Time between two checks.", examples=["2s"])
    timeout: Duration = Field(
        default=2.0, gt=0, description="Longest time one check may take.", examples=["5s"]
    )
    successes: Count = Field(
        default=2, ge=1, description="Successes in a row that count as healthy.", examples=[3]
    )
    deadline: Duration = Field(
        default=60.0, gt=0, description="Longest time from start to healthy.", examples=["2m"]
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        if data == "none":
            return {}
        if not isinstance(data, Mapping):
            return data
        values = dict(data)
        if values.pop("disable", False) is True:
            return {}
        if "test" in values:
            values |= _compose_test(values.pop("test"))
        return values

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in ("http", "tcp", "command") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of http, tcp and command, got {' and '.join(given)}")
        if self.http is not None and self.port is None:
            raise ValueError("an http check needs the port to ask")
        if self.port is not None and self.http is None:
            raise ValueError("only an http check has a port (write tcp: PORT to check that a port accepts)")
        if self.command == ():
            raise ValueError("expected a command, got an empty one")
        return self

    @property
    def type(self) -> Literal["http", "tcp", "command", "none"]:
        """Which kind of check it is; ``none`` means running is healthy."""
        if self.http is not None:
            return "http"
        if self.tcp is not None:
            return "tcp"
        return "none" if self.command is None else "command"


def _compose_test(test: object) -> dict[str, Any]:
    if isinstance(test, str):
        return {"command": ["/bin/sh", "-c", test]}
    match test:
        case ["NONE"]:
            return {}
        case ["CMD", *words]:
            return {"command": words}
        case ["CMD-SHELL", script]:
            return {"command": ["/bin/sh", "-c", script]}
    raise ValueError(
        f'expected test: ["CMD", ...], ["CMD-SHELL", script], ["NONE"] or a string, got a {kind(test)}'
    )


class Resources(Part):
    """Limits of each container; 0 is unlimited."""

    memory: Size = Field(default=0, description="Memory.", examples=["256m"])
    cpus: float = Field(default=0.0, ge=0, le=4096, description="Processors.", examples=[0.5])
    pids: int = Field(default=0, ge=0, le=4194304, description="Processes and threads.", examples=[200])


class Dependency(Part):
    """A service that must be up before this one starts."""

    service: Name = Field(description="Name of the service.", examples=["cache"])
    condition: Literal["service_healthy", "service_started"] = Field(
        default="service_healthy", description="What is waited for.", examples=["service_started"]
    )


class Volume(Part):
    """A named volume, declared at the top level."""

    name: Name | None = Field(
        default=None, description="The engine's name for it; PROJECT_NAME by default.", examples=["shop-data"]
    )
    external: bool = Field(
        default=False, description="Whether it must exist already and is never created here.", examples=[True]
    )
