"""Why two configurations of an instance differ, without ever showing a value.

Owns the words of a plan's reasons: one clause per changed thing, by name. It must not know what a
change leads to: nothing branches on a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.planning.types import Reason
from orchestrator.protocol.instance import InstanceConfig
from orchestrator.protocol.messages import ContainerReport

_SCALARS: tuple[tuple[str, str], ...] = (
    ("command", "command"),
    ("entrypoint", "entrypoint"),
    ("working_dir", "working directory"),
    ("user", "user"),
    ("hostname", "hostname"),
    ("read_only", "read_only"),
    ("init", "init"),
    ("stop_signal", "stop signal"),
    ("stop_grace_period", "stop grace period"),
)
"""(field, what people call it): compared as a whole."""

_PAIRS: tuple[tuple[str, str], ...] = (
    ("environment", "environment"),
    ("labels", "label"),
    ("extra_hosts", "extra host"),
)
"""(field, what people call one entry): compared by name."""

_MEMBERS: tuple[tuple[str, str], ...] = (("healthcheck", "healthcheck"), ("resources", "limit"))
"""(field, what people call it): compared member by member."""

_SETS: tuple[tuple[str, str], ...] = (("cap_add", "added capability"), ("cap_drop", "dropped capability"))
"""(field, what people call one entry): there or not there."""


def unknown_config() -> Reason:
    """Return the reason for a container whose configuration its host can no longer tell."""
    return Reason("config-changed", "configuration changed")


def differences(old: InstanceConfig | None, new: InstanceConfig, image: str) -> tuple[Reason, ...]:
    """Return why ``new`` is not ``old``, in a fixed order; empty when they are equal.

    Args:
        old: What runs; ``None`` when its host no longer knows.
        new: What should run.
        image: Name of the new image in the spec, which people know better than its id.
    """
    if old is None:
        return (unknown_config(),)
    if old.digest == new.digest:
        return ()
    return tuple(_differences(old, new, image)) or (unknown_config(),)


def state_reasons(container: ContainerReport, *, active: bool) -> tuple[Reason, ...]:
    """Return why a container cannot stay although its configuration is right; empty when it can.

    Args:
        container: As its host reported it.
        active: Whether it serves, or tries to.
    """
    if not active:
        detail = f" with status {container.exit_code}" if container.state == "exited" else ""
        return (Reason("stopped", f"container {container.state}{detail}"),)
    reasons = []
    if container.state != "running":
        reasons.append(Reason("stopped", f"container {container.state}"))
    elif container.health == "unhealthy":
        detail = f": {container.health_detail}" if container.health_detail else ""
        reasons.append(Reason("unhealthy", f"unhealthy{detail}"))
    if not container.intact:
        reasons.append(Reason("drift", "changed since it was created"))
    return tuple(reasons)


def _differences(old: InstanceConfig, new: InstanceConfig, image: str) -> Iterator[Reason]:
    if old.image != new.image:
        yield Reason("image-changed", f"image {image} changed", "image")
    for field, word in _PAIRS:
        yield from _by_name(field, word, dict(getattr(old, field)), dict(getattr(new, field)))
    yield from _by_name("configs", "config", _keyed(old.configs, "target"), _keyed(new.configs, "target"))
    yield from _by_name("secrets", "secret", _keyed(old.secrets, "name"), _keyed(new.secrets, "name"))
    yield from _by_name("volumes", "volume", _keyed(old.mounts, "target"), _keyed(new.mounts, "target"))
    yield from _by_name("ports", "port", _ports(old), _ports(new))
    for field, word in _SCALARS:
        if getattr(old, field) != getattr(new, field):
            yield Reason("config-changed", f"{word} changed", field)
    for field, word in _MEMBERS:
        before, after = vars(getattr(old, field)), vars(getattr(new, field))
        for name in after:
            if before[name] != after[name]:
                yield Reason("config-changed", f"{word} {name} changed", f"{field}.{name}")
    for field, word in _SETS:
        entries = dict.fromkeys(getattr(old, field), True), dict.fromkeys(getattr(new, field), True)
        yield from _by_name(field, word, *entries)


def _keyed(items: Iterable[Any], key: str) -> dict[str, Any]:
    return {getattr(item, key): item for item in items}


def _ports(config: InstanceConfig) -> dict[str, Any]:
    found: dict[str, list[tuple[str, int]]] = {}
    for port in config.ports:
        name = f"{port.target}/{port.protocol}" if port.protocol != "tcp" else str(port.target)
        found.setdefault(name, []).append((port.host_ip, port.published))
    return {name: sorted(bindings) for name, bindings in found.items()}


def _by_name(field: str, word: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[Reason]:
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            verb = "added"
        elif name not in new:
            verb = "removed"
        elif old[name] != new[name]:
            verb = "changed"
        else:
            continue
        yield Reason("config-changed", f"{word} {name} {verb}", f"{field}.{name}")
