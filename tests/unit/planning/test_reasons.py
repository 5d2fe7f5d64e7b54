"""Why two configurations differ, in one table."""

from __future__ import annotations

from typing import Any

import pytest
from support.planning import image_id

from orchestrator.planning.reasons import differences
from orchestrator.protocol.instance import (
    Config,
    Healthcheck,
    InstanceConfig,
    Mount,
    Port,
    Resources,
    SecretRef,
)

BASE = InstanceConfig("shop", "api", image_id("old"))


def base(**fields: Any) -> InstanceConfig:
    """Return a configuration."""
    return InstanceConfig("shop", "api", **{"image": image_id("old"), **fields})


TABLE = [
    # old, new, messages
    ({}, {"image": image_id("new")}, ["image tomcat changed"]),
    ({"environment": (("A", "1"),)}, {"environment": (("A", "2"),)}, ["environment A changed"]),
    ({}, {"environment": (("A", "1"),)}, ["environment A added"]),
    ({"environment": (("A", "1"),)}, {}, ["environment A removed"]),
    (
        {"environment": (("A", "1"), ("B", "1"))},
        {"environment": (("B", "2"), ("C", "1"))},
        ["environment A removed", "environment B changed", "environment C added"],
    ),
    ({}, {"labels": (("team", "shop"),)}, ["label team added"]),
    ({"extra_hosts": (("db", "10.0.0.1"),)}, {}, ["extra host db removed"]),
    (
        {"configs": (Config("/etc/a", "0" * 64),)},
        {"configs": (Config("/etc/a", "1" * 64),)},
        ["config /etc/a changed"],
    ),
    (
        {"secrets": (SecretRef("DB_PASSWORD", "/run/secrets/DB_PASSWORD", "0" * 64),)},
        {"secrets": (SecretRef("DB_PASSWORD", "/run/secrets/DB_PASSWORD", "1" * 64),)},
        ["secret DB_PASSWORD changed"],
    ),
    ({}, {"mounts": (Mount("volume", "/data", "shop_data"),)}, ["volume /data added"]),
    ({}, {"ports": (Port(8080, 80),)}, ["port 8080 added"]),
    ({"ports": (Port(53, 53, "udp"),)}, {}, ["port 53/udp removed"]),
    ({"ports": (Port(8080, 80),)}, {"ports": (Port(8080, 81),)}, ["port 8080 changed"]),
    ({}, {"command": ("serve",)}, ["command changed"]),
    ({"entrypoint": ("a",)}, {"entrypoint": ()}, ["entrypoint changed"]),
    ({}, {"user": "1000"}, ["user changed"]),
    ({}, {"read_only": False}, ["read_only changed"]),
    ({}, {"stop_grace_period": 30.0}, ["stop grace period changed"]),
    ({}, {"healthcheck": Healthcheck("tcp", 80)}, ["healthcheck type changed", "healthcheck port changed"]),
    ({}, {"resources": Resources(memory=1 << 20)}, ["limit memory changed"]),
    ({}, {"cap_add": ("NET_ADMIN",)}, ["added capability NET_ADMIN added"]),
    ({}, {}, []),
]


@pytest.mark.parametrize(("old", "new", "messages"), TABLE, ids=lambda value: str(value)[:40])
def test_each_difference_has_its_clause(
    old: dict[str, Any], new: dict[str, Any], messages: list[str]
) -> None:
    """One clause per changed thing, by name and without its value."""
    found = differences(base(**old), base(**new), "tomcat")
    assert [reason.message for reason in found] == messages
    assert all(reason.path for reason in found)


def test_every_field_is_compared() -> None:
    """A field that is added to the message must get a reason of its own."""
    others: dict[str, Any] = {
        "command": ("x",),
        "entrypoint": ("x",),
        "environment": (("x", "x"),),
        "mounts": (Mount("tmpfs", "/x"),),
        "ports": (Port(1, 1),),
        "configs": (Config("/x", "x"),),
        "secrets": (SecretRef("x", "/x", "x"),),
        "healthcheck": Healthcheck("tcp"),
        "resources": Resources(pids=1),
        "read_only": False,
        "init": True,
        "cap_add": ("x",),
        "cap_drop": ("x",),
        "labels": (("x", "x"),),
        "extra_hosts": (("x", "x"),),
        "stop_grace_period": 1.0,
        "image": image_id("x"),
    }
    for field in vars(base()):
        if field in ("project", "service"):
            continue
        new = base(**{field: others.get(field, "x")})
        assert [reason.path.split(".")[0] for reason in differences(base(), new, "app")] != [""], field


def test_no_value_is_ever_shown() -> None:
    """Neither the old nor the new value of anything is in a reason."""
    secret = "hunter2"
    old = base(environment=(("A", secret),), command=(secret,), labels=(("l", secret),), user=secret)
    for pair in ((old, base()), (base(), old)):
        assert secret not in repr(differences(*pair, "app"))


def test_a_configuration_nobody_knows_any_more() -> None:
    """There is a reason even then."""
    assert [reason.message for reason in differences(None, BASE, "app")] == ["configuration changed"]
