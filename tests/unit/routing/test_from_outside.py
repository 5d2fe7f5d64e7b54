"""What routing needs from outside the spec: certificates, private addresses, the router's own image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.planning import inventory
from support.specs import load

from orchestrator.errors import InventoryError, RequestError
from orchestrator.images.dag import recipes
from orchestrator.inputs import Loaded, read_addresses, read_certificates
from orchestrator.options import Options
from orchestrator.spec.inventory_types import Host, Inventory

PEM = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\nx\n"
SPEC = """
project: p
images: {a: {build: x}}
routes:
  plain: {service: web, port: 80}
  tls: {service: web, port: 80, host: a.example, tls: {certificate: {from: {env: PEM}}}}
services: {web: {image: a, expose: 80}}
"""


def loaded(**environ: str) -> Loaded:
    """Return a spec with a certificate."""
    return Loaded(Options(specs=(Path("x"),), environ=environ), load(SPEC), inventory("web-1"))


def test_certificates_come_from_their_source() -> None:
    """One for each route with TLS."""
    assert read_certificates(loaded(PEM=PEM)) == {"tls": PEM.encode()}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot get the secret tls: its value is empty"),
        ("hello", "cannot use the certificate of route tls: there is no certificate in it"),
        (PEM[:60], "cannot use the certificate of route tls: there is no key in it"),
    ],
)
def test_a_bad_certificate_stops_before_anything_changes(text: str, message: str) -> None:
    """It would keep a router from serving any route; the message shows nothing of it."""
    with pytest.raises(RequestError) as caught:
        read_certificates(loaded(PEM=text))
    assert caught.value.message == message


def test_private_addresses() -> None:
    """Those that are said; anything but an address is an error of the inventory."""
    hosts = (
        Host("a", "a", vars={"private_address": "10.0.0.1"}),
        Host("b", "b"),
        Host("c", "c", vars={"private_address": "fd00::1"}),
    )
    assert read_addresses(Inventory(hosts)) == {"a": "10.0.0.1", "c": "fd00::1"}
    with pytest.raises(InventoryError) as caught:
        read_addresses(Inventory((Host("a", "a", vars={"private_address": "web"}),)))
    assert caught.value.problems[0].path == "a.private_address"


def test_the_built_in_image_is_built_like_any_other(tmp_path: Path) -> None:
    """Its context is in the package, wherever the spec is."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "Dockerfile").write_text("FROM scratch\n")
    found = {recipe.name: recipe for recipe in recipes(load(SPEC).project.images, tmp_path)}
    assert found.keys() == {"a", "router"}
    assert found["router"].build
    assert os.fspath(tmp_path) not in repr(found["router"])
