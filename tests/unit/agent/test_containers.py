"""From a configuration to the engine's words, and what is refused on the way."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.containers import Identity, MountedFile, check_config, create_body
from orchestrator.agent.fingerprint import fingerprint
from orchestrator.agent.paths import BadNameError
from orchestrator.protocol.instance import (
    Config,
    Healthcheck,
    InstanceConfig,
    Mount,
    Port,
    Resources,
    SecretRef,
)

IDENTITY = Identity("shop", "api", 2, "r7")
CONFIG = InstanceConfig(project="shop", service="api", image=f"sha256:{'a' * 64}")
FULL = replace(
    CONFIG,
    command=("run", "--fast"),
    entrypoint=("/init",),
    environment=(("A", "1"), ("B", "x=y")),
    working_dir="/srv",
    user="1000:1000",
    hostname="api",
    mounts=(
        Mount("volume", "/data", "shop_data"),
        Mount("bind", "/etc/localtime", "/etc/localtime", read_only=True),
        Mount("tmpfs", "/tmp", size=1024),
    ),
    ports=(Port(8080, 80), Port(8080, 81, host_ip="127.0.0.1"), Port(53, 53, "udp"), Port(9000, 0)),
    resources=Resources(memory=256 << 20, cpus=0.5, pids=200),
    init=True,
    cap_add=("NET_BIND_SERVICE",),
    cap_drop=("ALL",),
    labels=(("team", "shop"), ("deploy.project", "forged")),
    extra_hosts=(("db", "10.0.0.5"),),
    stop_signal="SIGQUIT",
    stop_grace_period=1.2,
)


def test_every_field_reaches_the_engine():
    """The whole body, field by field: a new field of the configuration must be added here."""
    body = create_body(FULL, IDENTITY, (MountedFile("/state/x", "/run/secrets/DB"),))
    assert body == {
        "Image": FULL.image,
        "Cmd": ["run", "--fast"],
        "Entrypoint": ["/init"],
        "Env": ["A=1", "B=x=y"],
        "WorkingDir": "/srv",
        "User": "1000:1000",
        "Hostname": "api",
        "StopSignal": "SIGQUIT",
        "StopTimeout": 2,
        "Labels": {
            "team": "shop",
            "deploy.project": "shop",
            "deploy.service": "api",
            "deploy.slot": "2",
            "deploy.release": "r7",
            "deploy.digest": FULL.digest,
        },
        "ExposedPorts": {"8080/tcp": {}, "53/udp": {}, "9000/tcp": {}},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "shop",
            "PortBindings": {
                "8080/tcp": [{"HostIp": "", "HostPort": "80"}, {"HostIp": "127.0.0.1", "HostPort": "81"}],
                "53/udp": [{"HostIp": "", "HostPort": "53"}],
                "9000/tcp": [{"HostIp": "", "HostPort": ""}],
            },
            "Mounts": [
                {"Type": "volume", "Source": "shop_data", "Target": "/data", "ReadOnly": False},
                {"Type": "bind", "Source": "/etc/localtime", "Target": "/etc/localtime", "ReadOnly": True},
                {"Type": "tmpfs", "Target": "/tmp", "ReadOnly": False, "TmpfsOptions": {"SizeBytes": 1024}},
                {
                    "Type": "bind",
                    "Source": "/state/x",
                    "Target": "/run/secrets/DB",
                    "ReadOnly": True,
                },
            ],
            "ReadonlyRootfs": True,
            "SecurityOpt": ["no-new-privileges"],
            "CapAdd": ["NET_BIND_SERVICE"],
            "CapDrop": ["ALL"],
            "Init": True,
            "ExtraHosts": ["db:10.0.0.5"],
            "RestartPolicy": {"Name": "unless-stopped"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "Memory": 256 << 20,
            "NanoCpus": 500_000_000,
            "PidsLimit": 200,
        },
        "NetworkingConfig": {"EndpointsConfig": {"shop": {"Aliases": ["api", "api-2"]}}},
    }


def test_what_is_not_said_is_left_to_the_image():
    """``None`` is not the empty command."""
    body = create_body(CONFIG, IDENTITY)
    assert not {"Cmd", "Entrypoint", "StopSignal"} & set(body)
    assert create_body(replace(CONFIG, command=()), IDENTITY)["Cmd"] == []


@pytest.mark.parametrize(
    "changes",
    [
        {"project": "other"},
        {"service": "a b"},
        {"image": "nginx:latest"},
        {"image": f"sha256:{'a' * 64}\n"},
        {"mounts": (Mount("volume", "/data", "shop_../x"),)},
        {"mounts": (Mount("bind", "/data", "relative"),)},
        {"mounts": (Mount("bind", "/data", "/a/../b"),)},
        {"mounts": (Mount("npipe", "/data", "/x"),)},
        {"mounts": (Mount("tmpfs", "/"),)},
        {"mounts": (Mount("tmpfs", "/a"), Mount("tmpfs", "/a"))},
        {"configs": (Config("/etc/x", "short"),)},
        {"configs": (Config("etc/x", "0" * 64),)},
        {"healthcheck": Healthcheck(type="magic")},
        {"healthcheck": Healthcheck(timeout=0.0)},
        {"healthcheck": Healthcheck(timeout=-1.0)},
        {"healthcheck": Healthcheck(interval=1e9)},
        {"healthcheck": Healthcheck(port=70000)},
        {"stop_grace_period": -1.0},
        {"resources": Resources(memory=-1)},
        {"ports": (Port(0, 80),)},
        {"ports": (Port(80, 80, "icmp"),)},
        {"secrets": (SecretRef("A", "/run/secrets/../x", "0" * 64),)},
        {"secrets": (SecretRef("A", "/run/secrets/A", "../" * 21 + "x"),)},
    ],
)
def test_what_must_not_be_acted_on_is_refused(changes):
    """The controller checks too; the host does not rely on it."""
    with pytest.raises(BadNameError):
        check_config(replace(CONFIG, **changes), "shop")


def test_a_full_configuration_is_accepted():
    """Nothing that people need is refused."""
    check_config(FULL, "shop")


@given(st.text(max_size=20), st.text(max_size=20), st.integers(), st.text(max_size=10))
def test_identities_that_pass_make_safe_names(project, service, slot, release):
    """What passes is letters, digits, dot, dash and underscore."""
    identity = Identity(project, service, slot, release)
    try:
        identity.check()
    except BadNameError:
        return
    assert set(identity.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")


# --- fingerprints ---------------------------------------------------------------------------------

INSPECT = {
    "Id": "0123456789ab" + "0" * 52,
    "Name": "/shop-api-1-r1",
    "Image": "sha256:x",
    "Config": {"Env": ["A=1"], "Labels": {"a": "b"}, "Tty": False},
    "HostConfig": {"Memory": 5, "Devices": None},
    "Mounts": [{"Destination": "/b"}, {"Destination": "/a"}],
    "NetworkSettings": {"Networks": {"shop": {"Aliases": ["api"]}}},
}


def changed(path: str, value: object) -> dict:
    """Return the inspect with one thing changed."""
    copy = json.loads(json.dumps(INSPECT))
    place = copy
    *parents, last = path.split(".")
    for key in parents:
        place = place.setdefault(key, {})
    place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("State", {"Pid": 7}),
        ("LogPath", "/x"),
        ("RestartCount", 3),
        ("HostConfig.New", False),
        ("HostConfig.Devices", []),
        ("NetworkSettings.IPAddress", "10.0.0.1"),
        ("NetworkSettings.Networks.shop", {"Aliases": ["api", "0123456789ab"], "IPAddress": "10.0.0.1"}),
        ("Mounts", [{"Destination": "/a"}, {"Destination": "/b"}]),
        ("Config.Env", ["A=1", "HOME=/root", "HOSTNAME=0123456789ab"]),
        ("HostConfig.Annotations", {"io.container.manager": "libpod"}),
        ("HostConfig.Ulimits", [{"Name": "RLIMIT_NOFILE", "Hard": 20000, "Soft": 20000}]),
    ],
)
def test_what_changes_by_itself_is_no_drift(path, value):
    """State, addresses, what a newer engine says more of, and what Podman adds at the first start."""
    assert fingerprint(changed(path, value)) == fingerprint(INSPECT)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("Name", "/other"),
        ("HostConfig.Memory", 6),
        ("HostConfig.Privileged", True),
        ("Config.Env", ["A=2"]),
        ("Mounts", [{"Destination": "/a"}]),
        ("NetworkSettings.Networks.other", {}),
        ("NetworkSettings.Networks", {}),
    ],
)
def test_what_somebody_changed_is_drift(path, value):
    """Whatever it is: options are not compared one by one."""
    assert fingerprint(changed(path, value)) != fingerprint(INSPECT)
