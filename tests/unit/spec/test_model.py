"""The model: every form of every field."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from support.specs import load, problems, service

from orchestrator.spec.loader import load_spec
from orchestrator.spec.model import (
    Build,
    Config,
    Dependency,
    Healthcheck,
    Image,
    Port,
    Project,
    Resources,
    Secret,
    Service,
    Tmpfs,
    VolumeMount,
)

FORMS = load_spec([Path(__file__).parent / "good" / "every-form.yaml"], environ={}).project


def one(fields):
    """Return the service with ``fields``."""
    return load(service(fields)).project.services["a"]


def test_images():
    """Short and long forms of images and builds."""
    assert FORMS.images["short"] == Image(image="redis:7")
    assert FORMS.images["dir"].build == Build(context="images/dir")
    long = FORMS.images["long"].build
    assert long is not None
    assert (long.args, long.from_, long.target) == ((("EMPTY", ""), ("VERSION", "1.4")), "dir", "runtime")


def test_lists_and_maps_mean_the_same():
    """Pairs are sorted by name, values are text as it was written."""
    lists, maps = FORMS.services["lists"], FORMS.services["maps"]
    assert lists.environment == (("A", "1"), ("B", "x=y"), ("C", ""))
    assert maps.environment == (
        ("LOG", "info"), ("ON", "true"), ("PORT", "8080"), ("VERSION", "1.10"), ("ZIP", "01234"),
    )  # fmt: skip
    assert lists.extra_hosts == (("db", "10.0.0.5"), ("v6", "::1"))
    assert maps.extra_hosts == (("db", "10.0.0.5"),)
    assert lists.labels == (("a.b/c", "d"), ("team", "forms"))


def test_commands():
    """A string is split like a shell would, a list stays."""
    lists = FORMS.services["lists"]
    assert lists.command == ("serve", "--name", "two words")
    assert lists.entrypoint == ("/bin/app", "7", "true")
    assert one("command: []").command == ()
    assert one("command: null").command is None


def test_ports():
    """Compose's short forms and the long one."""
    assert FORMS.services["lists"].ports == (
        Port(target=8080),
        Port(target=8081, published=80),
        Port(target=53, published=53, protocol="udp", host_ip="127.0.0.1"),
        Port(target=54, published=54, host_ip="::1"),
        Port(target=55, host_ip="127.0.0.1"),
        Port(target=90, published=91, protocol="udp", host_ip="0.0.0.0"),
    )


def test_mounts():
    """Volumes, host paths and scratch space."""
    lists = FORMS.services["lists"]
    assert lists.volumes == (
        VolumeMount(source="data", target="/data"),
        VolumeMount(source="other", target="/other", read_only=True),
        VolumeMount(type="bind", source="/srv/static", target="/static", read_only=True),
        VolumeMount(type="bind", source="/srv/x", target="/x", read_only=True),
        VolumeMount(type="tmpfs", target="/cache", size="64m"),
    )
    assert lists.volumes[4].size == 64 << 20
    assert lists.tmpfs == (
        Tmpfs(target="/scratch"),
        Tmpfs(target="/run", size="16m"),
        Tmpfs(target="/var/tmp", size="1g"),
    )
    assert FORMS.services["maps"].tmpfs == (Tmpfs(target="/scratch"),)
    assert one("volumes: [{name: data, target: /data}]").volumes == (
        VolumeMount(source="data", target="/data"),
    )


def test_configs_and_secrets():
    """Modes are octal digits however they are written; a secret's place is its name."""
    lists = FORMS.services["lists"]
    assert lists.configs == (
        Config(file="app.conf", target="/etc/app.conf", mode=0o440, uid=1000, gid=1000),
        Config(content="debug\n", target="/etc/debug", mode=0o400),
    )
    assert [each.path for each in lists.secrets] == [
        "/etc/app/key",
        "/run/secrets/TOKEN",
        "/run/secrets/OTHER",
    ]
    assert lists.secrets[1].from_.command == (*lists.secrets[2].from_.command[:2], "token")
    assert lists.secrets[0] == Secret(
        name="KEY", from_={"file": "secrets/key"}, target="/etc/app/key", mode=0o440
    )


def test_healthchecks():
    """Every kind, and Compose's ways to write a command and none."""
    services = FORMS.services
    assert services["lists"].healthcheck.command == ("/bin/sh", "-c", "true")
    assert (services["lists"].healthcheck.interval, services["lists"].healthcheck.timeout) == (0.5, 2.0)
    kinds = {name: each.healthcheck.type for name, each in services.items()}
    assert kinds == {
        "lists": "command",
        "maps": "none",
        "tcp": "tcp",
        "command": "command",
        "disabled": "none",
    }
    assert one("healthcheck: {http: /h, port: 80}").healthcheck.type == "http"
    assert one("healthcheck: {test: [CMD, a, b]}").healthcheck.command == ("a", "b")
    assert one("healthcheck: {test: [NONE]}").healthcheck.type == "none"
    assert one("healthcheck: {test: exit 0}").healthcheck.command == ("/bin/sh", "-c", "exit 0")


def test_dependencies():
    """A list, a map with conditions, and a list of maps."""
    assert FORMS.services["lists"].depends_on == (Dependency(service="maps", condition="service_started"),)
    assert FORMS.services["maps"].depends_on == (Dependency(service="tcp"),)


def test_the_rest():
    """Scalars, counts and sets."""
    lists = FORMS.services["lists"]
    assert lists.resources == Resources(memory=int(1.5 * 2**30), cpus=2.0, pids=10)
    assert (lists.cap_add, lists.cap_drop) == (("NET_ADMIN", "SYS_TIME"), ("ALL",))
    assert (lists.hosts, lists.per_host, lists.replicas) == (("zone=a",), 1, None)
    assert (lists.stop_grace_period, lists.keep_releases) == (30.0, 0)
    assert FORMS.services["maps"].replicas == 2
    assert FORMS.services["tcp"].stop_grace_period == 90.0


def test_defaults_of_the_model():
    """What a service is when nothing else is said."""
    plain = one("")
    assert plain == Service(image="a")
    assert (plain.hosts, plain.replicas, plain.read_only) == (("all",), 1, True)
    assert plain.healthcheck == Healthcheck()


def test_words_of_the_engine():
    """Users with an underscore, and the engine's own word for this host's address."""
    assert one("user: _apt, extra_hosts: {h: host-gateway}").extra_hosts == (("h", "host-gateway"),)


def test_frozen():
    """Nothing can be changed after validation."""
    with pytest.raises(ValidationError):
        FORMS.services["maps"].image = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        FORMS.project = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("stop_grace_period: 10", 10.0),
        ("stop_grace_period: 1h2m3s", 3723.0),
        ("stop_grace_period: 500ms", 0.5),
        ("stop_grace_period: '1.5'", 1.5),
    ],
)
def test_durations(fields, expected):
    """Durations are seconds."""
    assert one(fields).stop_grace_period == expected


@pytest.mark.parametrize(
    "text", ["10 s", "s", "-1s", "1s1", "10y", "true", "400d", "1e3", ".5s", "''", "[1s]"]
)
def test_bad_durations(text):
    """What is no duration is refused."""
    assert "stop_grace_period: expected a duration" in problems(service(f"stop_grace_period: {text}"))[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512m", 512 << 20),
        ("1G", 1 << 30),
        ("64kb", 64 << 10),
        ("1.5MiB", 3 << 19),
        ("7b", 7),
        ("1024", 1024),
    ],
)
def test_sizes(text, expected):
    """Sizes are bytes, in powers of 1024."""
    assert one(f"resources: {{memory: {text}}}").resources.memory == expected


@pytest.mark.parametrize("text", ["512x", "-1m", "m", "true", "9999999t", "1 2m", "[]"])
def test_bad_sizes(text):
    """What is no size is refused."""
    assert "memory: expected a size" in problems(service(f"resources: {{memory: {text}}}"))[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("replicas: -1", "expected at least 0, got -1"),
        ("replicas: true", "expected a number, got a boolean"),
        ("replicas: 1.5", "expected a whole number, got '1.5'"),
        ("read_only: maybe", "expected true or false, got 'maybe'"),
        ("hosts: []", "expected at least one host"),
        ("command: 'a \"b'", "expected a command that can be split into words"),
        ("command: {a: b}", "expected a list, got a map"),
        ("environment: [A=1, A=2]", "A: a variable that is given twice"),
        ("environment: {A: [1]}", "environment.A: expected a string, a number or a boolean, got a list"),
        ('environment: {A: "\\0"}', "environment.A: expected text without NUL characters"),
        ("environment: 3", "expected a map, or a list of NAME=value, got a number"),
        ("ports: ['x']", "expected a port such as 8080"),
        ("ports: ['1.2.3.400:80:80']", "does not appear to be an IPv4 or IPv6 address"),
        ("ports: [70000]", "expected at most 65535, got 70000"),
        ("volumes: ['./x:/x']", "expected an absolute path"),
        ("volumes: [{type: tmpfs, source: x, target: /x}]", "a tmpfs has no source"),
        ("volumes: [{source: x, target: /x, size: 1m}]", "only a tmpfs has a size"),
        ("tmpfs: ['/x:mode=1777']", "got the option 'mode=1777'"),
        ("healthcheck: some", "expected a map, got 'some'"),
        ("healthcheck: {tcp: 1, port: 2}", "only an http check has a port"),
        ("healthcheck: {command: []}", "expected a command, got an empty one"),
        ("healthcheck: {test: [WHAT]}", 'expected test: ["CMD", ...]'),
        ("healthcheck: {tcp: 1, interval: 0}", "expected more than 0.0"),
        ("depends_on: 3", "expected a list of services, or a map with conditions"),
        ("depends_on: {a: {condition: up}}", "expected 'service_healthy' or 'service_started'"),
        ("configs: [{content: x, target: /x, mode: 01000}]", "at most 0777"),
        ("configs: [{content: x, target: relative}]", "expected an absolute path"),
        ("resources: {cpus: .nan}", "expected a number"),
        ("user: ''", "expected a single word"),
        ("extra_hosts: {a: 'x y'}", "extra_hosts.a: expected an address or host-gateway, got 'x y'"),
        ("extra_hosts: ['a']", "expected NAME=value, got 'a'"),
        (
            "secrets: [{name: s, from: {env: A}}, {name: s, from: {env: B}, target: /x}]",
            "the secret s is given twice",
        ),
    ],
)
def test_messages(fields, message):
    """Each kind of mistake says what was expected."""
    assert any(message in each for each in problems(service(fields))), problems(service(fields))


def test_python_callers_pass_modes_as_numbers():
    """Octal digits are a matter of the file, not of the model."""
    assert Config(content="", target="/x", mode=0o400).mode == 0o400
    assert Project.model_validate({"project": "p"}).services == {}


def test_examples_of_every_field_are_valid():
    """The reference shows values that the loader takes."""
    for part, needed in (
        (Service, {"image": "a"}),
        (Build, {"context": "x"}),
        (Port, {"target": 1}),
        (Tmpfs, {"target": "/x"}),
        (Config, {"target": "/x"}),
        (Secret, {"name": "a", "from": {"env": "A"}}),
        (Resources, {}),
        (Project, {"project": "p"}),
        (Dependency, {"service": "a"}),
    ):
        for name, field in part.model_fields.items():
            others = {} if name in ("template", "file", "content") else {"content": "x"}
            values = needed | (others if part is Config else {})
            for example in field.examples or ():
                part.model_validate(values | {field.alias or name: example}, context={"yaml": True})
            assert field.description, (part, name)
            assert field.examples, (part, name)
