"""From a service to the canonical message of its instances."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from support.fleet_model import KEY, FleetModel
from support.planning import image_id, project, wanted

from orchestrator.protocol.instance import Config, Healthcheck, Mount, Port, Resources, SecretRef


def test_a_volume_can_have_a_name_of_its_own_or_be_somebody_elses() -> None:
    """The engine's name for it, and whether it may be made."""
    model = project(
        {"api": {"volumes": ["one:/1", "two:/2", "three:/3"]}},
        volumes={"one": {"external": True, "name": "elses-data"}, "two": {"name": "own-name"}},
    )
    (item,) = wanted(model, FleetModel(["a"])).instances
    assert item.config.mounts == (
        Mount("volume", "/1", "elses-data", external=True),
        Mount("volume", "/2", "own-name"),
        Mount("volume", "/3", "shop_three"),
    )


def test_everything_a_service_says_is_in_the_message() -> None:
    """Sorted, named as the engine will name it, and complete."""
    model = project(
        {
            "api": {
                "environment": {"B": "2", "A": "1"},
                "command": ["serve"],
                "volumes": ["data:/data", "/srv/x:/x:ro"],
                "tmpfs": ["/tmp:size=64m"],
                "ports": ["8080:80", 443],
                "healthcheck": {"http": "/health", "port": 80, "interval": "3s"},
                "resources": {"memory": "256m", "cpus": 0.5, "pids": 200},
                "configs": [{"content": "hello", "target": "/etc/hello", "mode": 0o440}],
                "cap_add": ["NET_ADMIN"],
                "labels": {"team": "shop"},
                "stop_grace_period": "30s",
                "read_only": False,
            }
        }
    )
    (item,) = wanted(model, FleetModel(["a"])).instances
    config = item.config
    assert (config.project, config.service, config.image) == ("shop", "api", image_id("app"))
    assert config.environment == (("A", "1"), ("B", "2"))
    assert config.mounts == (
        Mount("volume", "/data", "shop_data"),
        Mount("tmpfs", "/tmp", size=64 << 20),
        Mount("bind", "/x", "/srv/x", read_only=True),
    )
    assert config.ports == (Port(80, 8080), Port(443, 0))
    assert config.healthcheck == Healthcheck("http", 80, "/health", interval=3.0)
    assert config.resources == Resources(256 << 20, 0.5, 200)
    sha = hashlib.sha256(b"hello").hexdigest()
    assert config.configs == (Config("/etc/hello", sha, 0o440),)
    assert item.contents == ((sha, b"hello"),)
    assert (config.read_only, config.stop_grace_period) == (False, 30.0)
    assert item.stop_first


@pytest.mark.parametrize(
    ("service", "first"),
    [
        ({}, False),
        ({"ports": [80]}, False),
        ({"ports": ["8080:80"]}, True),
        ({"volumes": ["data:/data"]}, True),
        ({"volumes": ["data:/data:ro"]}, False),
        ({"volumes": ["/srv:/data"]}, True),
        ({"tmpfs": ["/tmp"]}, False),
    ],
    ids=str,
)
def test_what_must_stop_before_it_starts(service: dict[str, object], first: bool) -> None:
    """A fixed port of the host, and whatever is written."""
    (item,) = wanted(project({"api": service}), FleetModel(["a"])).instances
    assert item.stop_first is first


def test_neither_slot_nor_host_is_in_the_message() -> None:
    """Equal instances have one digest, wherever they run."""
    found = wanted(project({"api": {"replicas": 3}}), FleetModel(["a", "b"])).instances
    assert len({item.config.digest for item in found}) == 1


def test_templates_are_rendered_for_each_instance() -> None:
    """They know the instance, its host, and where all services are."""
    model = project(
        {
            "api": {"replicas": 2, "configs": [{"template": "a.j2", "target": "/etc/a"}]},
            "db": {"hosts": ["b"]},
        }
    )
    text = b"{service}-{slot} {host[name]} {host[labels][zone]} {services[db][0][address]}"
    found = wanted(model, FleetModel(["a", "b"]), files={"a.j2": text}).instances
    assert [item.contents[0][1] for item in found if item.service == "api"] == [
        b"api-1 a a b.example",
        b"api-2 b b b.example",
    ]


def test_files_are_taken_as_they_are() -> None:
    """Byte for byte."""
    model = project({"api": {"configs": [{"file": "a.bin", "target": "/etc/a"}]}})
    (item,) = wanted(model, FleetModel(["a"]), files={"a.bin": b"{\xff"}).instances
    assert item.contents[0][1] == b"{\xff"


def test_secrets_are_keyed_hashes_and_never_shown() -> None:
    """The value travels beside the message and is in no repr."""
    model = project({"api": {"secrets": [{"name": "KEY", "from": {"env": "X"}}]}})
    (item,) = wanted(model, FleetModel(["a"]), secrets={("api", "KEY"): b"hunter2"}).instances
    mac = hmac.new(bytes.fromhex(KEY), b"hunter2", "sha256").hexdigest()
    assert item.config.secrets == (SecretRef("KEY", "/run/secrets/KEY", mac),)
    assert item.secrets == ((mac, b"hunter2"),)
    assert "hunter2" not in repr(item)


def test_without_the_hosts_key_there_is_no_hash() -> None:
    """It can then equal nothing that runs."""
    model = project({"api": {"secrets": [{"name": "KEY", "from": {"env": "X"}}]}})
    fleet = FleetModel(["a"])
    fleet.hosts["a"].down = True
    (item,) = wanted(model, fleet, secrets={("api", "KEY"): b"hunter2"}).instances
    assert item.config.secrets[0].hmac == ""
