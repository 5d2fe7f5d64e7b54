"""The router and the routes to services, as frozen models.

Owns their fields, defaults and what can be told from one of them alone. What takes the whole project
to tell (ambiguous routes, ports nobody listens on) is :mod:`.routing_rules`'.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from orchestrator.spec.fields import Count, Duration, HostTerm, Name, PortNumber, Size
from orchestrator.spec.mounts import SecretSource
from orchestrator.spec.parts import Part
from orchestrator.spec.routing_fields import (
    Cookie,
    Headers,
    Network,
    Prefix,
    RouteHost,
    one_or_more,
)

ROUTER_IMAGE = "router"
"""Name of the router's image unless the spec names another."""
ROUTER_CONTEXT = Path(__file__).resolve().parents[1] / "images" / "router"
"""Build context of the router's image when the spec brings none."""


class Router(Part):
    """The router that runs on each host that needs one. `router: {}` is enough for service discovery."""

    image: Name = Field(
        default=ROUTER_IMAGE,
        description="Image of this spec with HAProxy; one called `router` is built in unless you declare it.",
        examples=["proxy"],
    )
    hosts: Annotated[tuple[HostTerm, ...], one_or_more] = Field(
        default=(),
        description="Hosts that accept traffic from outside; by default those that run a routed service.",
        examples=[["edge"]],
    )
    http_port: PortNumber = Field(
        default=80, description="Port of routes without TLS that name none.", examples=[8080]
    )
    https_port: PortNumber = Field(
        default=443, description="Port of routes with TLS that name none.", examples=[8443]
    )
    network: Network = Field(
        default="",
        description="Network the services' addresses come from; by default one made from the project's name.",
        examples=["10.200.7.0/24"],
    )
    preview_port: PortNumber | None = Field(
        default=None,
        description="Port on which a held release answers, whatever the route; by default only requests "
        "with the header or cookie `x-deploy-preview: RELEASE` reach it.",
        examples=[8081],
    )

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = (self.http_port, self.https_port, self.preview_port)
        if len(set(ports)) != len(ports):
            raise ValueError("expected http_port, https_port and preview_port to differ")
        return self


class CertificateSource(Part):
    """A certificate: one PEM bundle, the chain first, then the key."""

    from_: SecretSource = Field(
        alias="from", description="Where the bundle comes from.", examples=[{"file": "tls/shop.pem"}]
    )


class Tls(Part):
    """TLS of a route, ended at the router."""

    certificate: CertificateSource = Field(
        description="Certificate chain and key.", examples=[{"from": {"file": "tls/shop.pem"}}]
    )


_HTTP_ONLY = ("host", "path", "tls", "redirect", "headers", "max_body", "rate", "sticky", "maintenance")


class Route(Part):
    """Traffic from outside to one port of a service. The most exact `host` wins, then the longest `path`."""

    service: Name = Field(description="Name of the service.", examples=["shop"])
    port: PortNumber = Field(
        description="Port inside the containers; one of its `expose`, `ports` or `healthcheck`.",
        examples=[8080],
    )
    host: RouteHost | None = Field(
        default=None,
        description="Host name of the requests, `*.` for any labels in front; by default any.",
        examples=["shop.example.com"],
    )
    path: Prefix = Field(
        default="/", description="Prefix of the path, ending where a segment does.", examples=["/api"]
    )
    bind: Annotated[tuple[PortNumber, ...], one_or_more] = Field(
        default=(),
        description="Ports the router listens on; by default `http_port`, with TLS `https_port`.",
        examples=[[8080]],
    )
    tcp: bool = Field(
        default=False,
        description="Whether whole connections are passed on; needs `bind`, and has the port to itself.",
        examples=[True],
    )
    tls: Tls | None = Field(
        default=None,
        description="TLS, ended at the router.",
        examples=[{"certificate": {"from": {"file": "tls/shop.pem"}}}],
    )
    redirect: bool = Field(
        default=False,
        description="Whether the same requests to `http_port` are sent on to https.",
        examples=[True],
    )
    headers: Headers = Field(
        default=(),
        description="Request headers set on the way: a map, or a list of NAME=value. `X-Forwarded-For`, "
        "`-Proto`, `-Host` and `-Port` are set anyway.",
        examples=[{"X-Shop": "1"}],
    )
    timeout: Duration = Field(
        default=60.0,
        gt=0,
        description="Longest silence of an instance; ten times that once the connection is a tunnel.",
        examples=["2m"],
    )
    max_body: Size = Field(
        default=0, description="Largest body of a request; 0 is no limit.", examples=["10m"]
    )
    rate: Count = Field(
        default=0, description="Requests per second and client address; 0 is no limit.", examples=[100]
    )
    sticky: Cookie = Field(
        default="",
        description="Whether a cookie keeps a client on one instance: true, or the cookie's name.",
        examples=[True],
    )
    maintenance: bool = Field(
        default=False,
        description="Whether it answers 503 with the maintenance page (`deploy maintenance on` does so "
        "without an apply).",
        examples=[True],
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tcp:
            fields = type(self).model_fields
            given = [name for name in _HTTP_ONLY if getattr(self, name) != fields[name].default]
            if given:
                raise ValueError(f"{given[0]}: a tcp route passes bytes on and cannot have it")
            if not self.bind:
                raise ValueError("a tcp route needs bind: the port the router listens on")
        if self.redirect and self.tls is None:
            raise ValueError("redirect: there is nothing to redirect to without tls")
        if len(set(self.bind)) != len(self.bind):
            raise ValueError("bind: a port that is given twice")
        return self


def with_router_image(data: Any) -> Any:
    """Return a project's data with the built-in image of the router, where it is needed and not declared."""
    if not isinstance(data, Mapping) or (data.get("router") is None and not data.get("routes")):
        return data
    router, images = data.get("router"), data.get("images")
    named = router.get("image") if isinstance(router, Mapping) else None
    if named is not None or not isinstance(images, Mapping | None) or ROUTER_IMAGE in (images or {}):
        return data
    built_in = {"build": {"context": str(ROUTER_CONTEXT)}}
    return {**data, "images": {**(images or {}), ROUTER_IMAGE: built_in}}
