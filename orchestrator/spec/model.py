"""The validated spec: what :func:`orchestrator.spec.loader.load_spec` returns and planning reads.

Owns projects, images and services; their parts are in :mod:`.parts`, :mod:`.mounts`, :mod:`.routing`
and :mod:`.updates`, and re-exported here. It must not know files, positions, hosts' state or Docker.

Everything is frozen. Collections are tuples in the order the user wrote them, string maps
(``environment``, ``labels``, ``args``, ``extra_hosts``) are tuples of pairs sorted by name, and
``images``, ``services``, ``routes`` and ``volumes`` are read-only mappings by name. Durations are seconds,
sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from orchestrator.spec.fields import (
    AbsolutePath,
    Argv,
    ContainerHostname,
    Count,
    Duration,
    Environment,
    HostName,
    Hosts,
    HostTerm,
    Labels,
    Name,
    PortNumber,
    Reference,
    Signal,
    Word,
)
from orchestrator.spec.mounts import Config, Secret, SecretSource, Tmpfs, VolumeMount
from orchestrator.spec.parts import Build, Dependency, Healthcheck, Part, Port, Resources, Volume
from orchestrator.spec.routing import Route, Router, with_router_image
from orchestrator.spec.routing_fields import one_or_more
from orchestrator.spec.updates import Update
from orchestrator.spec.values import as_list, kind

__all__ = [
    "Build",
    "Config",
    "Dependency",
    "Healthcheck",
    "Image",
    "Part",
    "Port",
    "Project",
    "Resources",
    "Route",
    "Router",
    "Secret",
    "SecretSource",
    "Service",
    "Tmpfs",
    "Update",
    "Volume",
    "VolumeMount",
]


def _capabilities(value: object) -> object:
    if not isinstance(value, list | tuple):
        return value
    names = {str(item).upper().removeprefix("CAP_") for item in value}
    bad = sorted(name for name in names if not re.fullmatch(r"[A-Z][A-Z_]{1,40}", name))
    if bad:
        raise ValueError(f"expected a capability such as NET_ADMIN, got {bad[0]!r}")
    return tuple(sorted(names))


def _terms(value: object) -> object:
    if value in ([], ()):
        raise ValueError("expected at least one host, group or label selector")
    return as_list(value)


def _dependencies(value: object) -> object:
    if isinstance(value, Mapping):
        given = [
            {"service": key, **(item if isinstance(item, Mapping) else {})} for key, item in value.items()
        ]
    elif isinstance(value, list | tuple):
        given = [{"service": item} if isinstance(item, str) else item for item in value]
    else:
        raise ValueError(f"expected a list of services, or a map with conditions, got a {kind(value)}")  # noqa: TRY004 - pydantic collects ValueErrors
    return given


_Capabilities = Annotated[tuple[str, ...], BeforeValidator(_capabilities)]


class Image(Part):
    """An image to build or to pull: exactly one of ``build`` and ``image``. A string is ``image``."""

    build: Build | None = Field(
        default=None, description="How to build it.", examples=[{"context": "images/api"}]
    )
    image: Reference | None = Field(
        default=None,
        description="Reference to pull; pin it with a digest, a tag alone can change under your feet.",
        examples=["redis:7@sha256:" + "0" * 64],
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: object) -> object:
        return {"image": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.build is None) == (self.image is None):
            raise ValueError(f"expected either build or image, got {'both' if self.build else 'neither'}")
        return self


class Service(Part):
    """Containers of one image and one configuration."""

    image: Name = Field(description="Name of an image of this spec.", examples=["api"])
    hosts: Annotated[tuple[HostTerm, ...], BeforeValidator(_terms)] = Field(
        default=("all",),
        description="Where it may run: hosts, groups or label selectors (`zone=a`) of the inventory.",
        examples=[["web"]],
    )
    replicas: Count | None = Field(
        default=None,
        description="Instances in total, spread over the hosts; 1 unless `per_host` is given.",
        examples=[2],
    )
    per_host: Count | None = Field(
        default=None, description="Instances on each of the hosts, instead of `replicas`.", examples=[1]
    )
    command: Argv | None = Field(
        default=None,
        description="Arguments instead of the image's own: a list, or a string that is split like a shell.",
        examples=[["serve", "--port", "8080"]],
    )
    entrypoint: Argv | None = Field(
        default=None, description="Entry point instead of the image's own.", examples=[["/bin/app"]]
    )
    environment: Environment = Field(
        default=(),
        description="Environment variables: a map, or a list of NAME=value.",
        examples=[{"LOG_LEVEL": "info"}],
    )
    configs: tuple[Config, ...] = Field(
        default=(),
        description="Files made from templates, files or text.",
        examples=[[{"template": "api.conf.j2", "target": "/etc/api.conf"}]],
    )
    secrets: tuple[Secret, ...] = Field(
        default=(),
        description="Secrets, mounted under /run/secrets.",
        examples=[[{"name": "DB_PASSWORD", "from": {"env": "SHOP_DB_PASSWORD"}}]],
    )
    volumes: tuple[VolumeMount, ...] = Field(
        default=(), description="Volumes and host paths.", examples=[["data:/var/lib/data"]]
    )
    tmpfs: Annotated[tuple[Tmpfs, ...], BeforeValidator(as_list)] = Field(
        default=(),
        description="Scratch space in memory, for paths a read-only container writes.",
        examples=[["/scratch:size=64m"]],
    )
    ports: tuple[Port, ...] = Field(
        default=(), description="Ports published on the host.", examples=[["8080:80"]]
    )
    expose: Annotated[tuple[PortNumber, ...], one_or_more] = Field(
        default=(),
        description="Ports that the containers of services that depend on this one reach at its name, "
        "whatever host either is on; needs `router` or `routes`.",
        examples=[[8080]],
    )
    healthcheck: Healthcheck = Field(
        default=Healthcheck(),
        description="How an instance proves itself healthy; by default, running is healthy.",
        examples=[{"http": "/health", "port": 8080}],
    )
    depends_on: Annotated[tuple[Dependency, ...], BeforeValidator(_dependencies)] = Field(
        default=(), description="Services that must be healthy before this one starts.", examples=[["cache"]]
    )
    resources: Resources = Field(
        default=Resources(), description="Limits.", examples=[{"memory": "256m", "cpus": 0.5}]
    )
    read_only: bool = Field(
        default=True, description="Whether the root file system is read-only.", examples=[False]
    )
    cap_add: _Capabilities = Field(
        default=(),
        description="Capabilities added to the engine's default set.",
        examples=[["NET_BIND_SERVICE"]],
    )
    cap_drop: _Capabilities = Field(default=(), description="Capabilities taken away.", examples=[["ALL"]])
    user: Word = Field(default="", description="User (and group) to run as.", examples=["1000:1000"])
    working_dir: AbsolutePath = Field(default="", description="Working directory.", examples=["/app"])
    hostname: ContainerHostname = Field(
        default="", description="Host name inside the container.", examples=["api"]
    )
    init: bool = Field(
        default=False, description="Whether a small init reaps zombies and forwards signals.", examples=[True]
    )
    labels: Labels = Field(
        default=(),
        description="Labels of the containers: a map, or a list of NAME=value.",
        examples=[{"team": "shop"}],
    )
    extra_hosts: Hosts = Field(
        default=(),
        description="Lines of /etc/hosts: a map, or a list of NAME=address.",
        examples=[["db=10.0.0.5"]],
    )
    stop_grace_period: Duration = Field(
        default=10.0, description="Time between the stop signal and SIGKILL.", examples=["30s"]
    )
    stop_signal: Signal = Field(
        default="", description="Signal that stops it; by default the image's own.", examples=["SIGQUIT"]
    )
    update: Update = Field(
        default=Update(),
        description="How its instances are replaced. A word is the strategy.",
        examples=[{"strategy": "rolling", "max_parallel": "25%"}],
    )
    keep_releases: Count = Field(
        default=3, description="Old releases kept stopped, ready for a rollback.", examples=[5]
    )

    @model_validator(mode="before")
    @classmethod
    def _count(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        if data.get("replicas") is None and data.get("per_host") is None:
            return {**data, "replicas": 1}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.replicas is not None and self.per_host is not None:
            raise ValueError("expected either replicas or per_host, got both")
        if len(set(self.expose)) != len(self.expose):
            raise ValueError("expose: a port that is given twice")
        names = [secret.name for secret in self.secrets]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the secret {twice[0]} is given twice")
        seen: set[str] = set()
        for target in (
            *(mount.target for mount in self.volumes),
            *(mount.target for mount in self.tmpfs),
            *(config.target for config in self.configs),
            *(secret.path for secret in self.secrets),
        ):
            if target in seen:
                raise ValueError(f"two things are mounted at {target}")
            seen.add(target)
        return self


class Project(Part):
    """A whole spec."""

    model_config = ConfigDict(title="deploy spec")

    project: Name = Field(
        description="Name of the project: prefix of its volumes and label of all it creates.",
        examples=["shop"],
    )
    builder: HostName | None = Field(
        default=None,
        description="Host of the inventory that builds; by default this machine's engine.",
        examples=["build-1"],
    )
    images: Mapping[Name, Image] = Field(
        default={}, description="Images by name.", examples=[{"api": {"build": "images/api"}}]
    )
    services: Mapping[Name, Service] = Field(
        default={}, description="Services by name.", examples=[{"api": {"image": "api"}}]
    )
    router: Router | None = Field(
        default=None,
        description="The router; by default there is one when there are `routes`.",
        examples=[{"hosts": ["edge"]}],
    )
    routes: Mapping[Name, Route] = Field(
        default={},
        description="Traffic from outside, by name.",
        examples=[{"shop": {"service": "shop", "port": 8080, "host": "shop.example.com"}}],
    )
    volumes: Mapping[Name, Volume] = Field(
        default={}, description="Named volumes that need more than their name.", examples=[{"data": {}}]
    )

    @model_validator(mode="before")
    @classmethod
    def _router_image(cls, data: Any) -> Any:
        return with_router_image(data)

    @property
    def routing(self) -> Router | None:
        """The router with its defaults; ``None`` when nothing asks for one."""
        return self.router or (Router() if self.routes else None)
