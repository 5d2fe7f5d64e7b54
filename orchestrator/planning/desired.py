"""From a model and a placement to the instances that should run, as canonical messages.

Owns the translation of a service into :class:`InstanceConfig` and what must stop before it starts; what
routers serve is :mod:`.routing`'s, whether ports fit on their hosts :mod:`.collisions`'. Whatever comes
from outside the spec arrives as a value in :class:`Inputs`; templates are rendered by a function that is
passed in. It must not know what runs.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from orchestrator.errors import SpecError
from orchestrator.planning.collisions import port_conflicts, router_conflicts
from orchestrator.planning.placement import Placed, place
from orchestrator.planning.routing.endpoints import endpoints
from orchestrator.planning.routing.picture import Scene, pictures
from orchestrator.planning.routing.policies import jobs, policies
from orchestrator.planning.types import Artifact, Desired, DesiredInstance
from orchestrator.protocol import instance as wire
from orchestrator.protocol.messages import Endpoint
from orchestrator.protocol.routing import RouterConfig
from orchestrator.spec import routing_rules
from orchestrator.spec.inventory_types import Host, Inventory
from orchestrator.spec.model import Project, Service


class Render(Protocol):
    """Turns a template's text and its variables into text; raises a ``SpecError`` of its own."""

    def __call__(self, template_text: str, context: Mapping[str, Any], /, *, file: str) -> str:
        """Return the rendered text; ``file`` names the template in errors."""
        ...


@dataclass(frozen=True)
class Inputs:
    """Everything that is not in the spec itself, already read."""

    spec_digest: str
    """Digest of the spec: what a release record and a saved plan name."""
    artifacts: Mapping[str, Artifact]
    """By name of the image."""
    keys: Mapping[str, str]
    """Host -> hexadecimal key of its secrets' hashes. A host that did not answer has none."""
    render: Render
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Path as in the spec (``template``, ``file``) -> content."""
    secrets: Mapping[tuple[str, str], bytes] = field(default_factory=dict, repr=False)
    """(service, name of the secret) -> value."""
    current: Mapping[tuple[str, int], str] = field(default_factory=dict)
    """(service, slot) -> the host it is on now; see :mod:`.placement`."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    """Host -> where the other hosts reach it, when that is not its address in the inventory."""
    certificates: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Route with TLS -> PEM bundle."""
    endpoints: tuple[Endpoint, ...] = ()
    """Of the release in force: addresses that must not move."""
    routers: Mapping[str, RouterConfig] = field(default_factory=dict, repr=False)
    """Host -> the picture its newest record has: tells the mesh tokens of hosts that did not answer."""


def desired(project: Project, inventory: Inventory, inputs: Inputs) -> Desired:
    """Return what should run.

    On a host without a key the hashes of secrets are empty, so that a service with secrets is never
    taken for unchanged there.

    Raises:
        SpecError: It cannot be placed or rendered, two things claim one port of a host, or the router's
            hosts or network do not do.
        KeyError: ``inputs`` lacks an artifact, a file, a secret or a certificate that the spec names.
    """
    placed = place(project, inventory, inputs.current)
    hosts = {host.name: host for host in inventory.hosts}
    for missing in {item.host for item in placed} - hosts.keys():
        if (found := inventory.get(missing)) is not None:
            hosts[missing] = found
    addresses = endpoints(project, inputs.endpoints)
    builder = _Builder(project, inputs, hosts, placed, addresses)
    instances = tuple(builder.instance(item) for item in placed)
    router = project.routing
    scene = Scene(
        inventory=inventory,
        placed=placed,
        image=inputs.artifacts[router.image].identity if router is not None else "",
        endpoints=addresses,
        keys=inputs.keys,
        addresses={name: inputs.addresses.get(name, host.address) for name, host in hosts.items()},
        certificates=inputs.certificates,
        current=inputs.routers,
    )
    drawn = pictures(project, scene)
    if problems := (*port_conflicts(instances), *router_conflicts(instances, drawn.routers)):
        raise SpecError(problems)
    counts = Counter(item.service for item in placed)
    return Desired(
        project=project.project,
        spec_digest=inputs.spec_digest,
        instances=instances,
        artifacts=tuple(inputs.artifacts[name] for name in sorted(project.images)),
        depends_on=tuple(
            (name, tuple(sorted({dependency.service for dependency in service.depends_on})))
            for name, service in sorted(project.services.items())
        ),
        keep_releases=tuple((name, item.keep_releases) for name, item in sorted(project.services.items())),
        explanations=tuple((f"{item.service}[{item.slot}]", item.why) for item in placed),
        updates=policies(project, counts),
        routers=drawn.routers,
        router_secrets=drawn.secrets,
        endpoints=addresses,
        jobs=jobs(project, instances),
    )


class _Builder:
    """Builds instances, sharing between them whatever does not differ."""

    def __init__(
        self,
        project: Project,
        inputs: Inputs,
        hosts: Mapping[str, Host],
        placed: Iterable[Placed],
        addresses: Iterable[Endpoint],
    ) -> None:
        self._project = project
        self._inputs = inputs
        self._hosts = hosts
        self._static: dict[str, wire.InstanceConfig] = {}
        self._stop_first = {
            name: bool(routing_rules.stop_first(service)) for name, service in project.services.items()
        }
        self._virtual = {item.service: item.virtual for item in addresses if item.virtual}
        self._shared: dict[tuple[str, str], tuple[wire.InstanceConfig, _Bytes]] = {}
        self._peers: dict[str, list[dict[str, Any]]] = {name: [] for name in project.services}
        for item in placed:
            peer = {"slot": item.slot, "host": item.host, "address": hosts[item.host].address}
            self._peers[item.service].append(peer)

    def instance(self, item: Placed) -> DesiredInstance:
        service = self._project.services[item.service]
        config, secrets = self._on_host(item.service, service, item.host if service.secrets else "")
        contents: _Bytes = ()
        if service.configs:
            files = [(spec, self._content(item, service, spec)) for spec in service.configs]
            contents = tuple(sorted({(hashlib.sha256(data).hexdigest(), data) for _, data in files}))
            config = replace(
                config,
                configs=tuple(
                    wire.Config(
                        target=spec.target,
                        sha256=hashlib.sha256(data).hexdigest(),
                        mode=spec.mode,
                        uid=spec.uid,
                        gid=spec.gid,
                    )
                    for spec, data in sorted(files, key=lambda file: file[0].target)
                ),
            )
        return DesiredInstance(
            service=item.service,
            slot=item.slot,
            host=item.host,
            config=config,
            image=service.image,
            stop_first=self._stop_first[item.service],
            contents=contents,
            secrets=secrets,
        )

    def _on_host(self, name: str, service: Service, host: str) -> tuple[wire.InstanceConfig, _Bytes]:
        """Return the configuration without configs, and the secrets it refers to."""
        if (name, host) in self._shared:
            return self._shared[name, host]
        if name not in self._static:
            image = self._inputs.artifacts[service.image].identity
            self._static[name] = _static(self._project, name, service, image, self._names(service))
        config, values = self._static[name], []
        if service.secrets:
            key, refs = self._inputs.keys.get(host, ""), []
            for spec in sorted(service.secrets, key=lambda secret: secret.name):
                value = self._inputs.secrets[name, spec.name]
                mac = hmac.digest(bytes.fromhex(key), value, "sha256").hex() if key else ""
                refs.append(
                    wire.SecretRef(
                        name=spec.name, target=spec.path, hmac=mac, mode=spec.mode, uid=spec.uid, gid=spec.gid
                    )
                )
                values.append((mac, value))
            config = replace(config, secrets=tuple(refs))
        self._shared[name, host] = (config, tuple(sorted(set(values))))
        return self._shared[name, host]

    def _names(self, service: Service) -> Mapping[str, str]:
        """Return the addresses of the services it uses, by name; the spec's own lines win."""
        used = {need.service for need in service.depends_on}
        found = {name: address for name, address in self._virtual.items() if name in used}
        return {**found, **dict(service.extra_hosts)}

    def _content(self, item: Placed, service: Service, spec: Any) -> bytes:
        if spec.content is not None:
            return str(spec.content).encode()
        if spec.file is not None:
            return self._inputs.files[spec.file]
        text = self._inputs.files[spec.template].decode()
        return self._inputs.render(text, self._context(item, service), file=spec.template).encode()

    def _context(self, item: Placed, service: Service) -> dict[str, Any]:
        host = self._hosts[item.host]
        return {
            "project": self._project.project,
            "service": item.service,
            "slot": item.slot,
            "host": {
                "name": host.name,
                "address": host.address,
                "labels": host.label_map,
                "vars": host.vars,
            },
            "environment": dict(service.environment),
            "services": self._peers,
        }


_Bytes = tuple[tuple[str, bytes], ...]


def _static(
    project: Project, name: str, service: Service, image: str, names: Mapping[str, str]
) -> wire.InstanceConfig:
    """Return what is the same for every instance of a service."""
    check = service.healthcheck
    return wire.InstanceConfig(
        project=project.project,
        service=name,
        image=image,
        command=service.command,
        entrypoint=service.entrypoint,
        environment=tuple(sorted(service.environment)),
        working_dir=service.working_dir,
        user=service.user,
        hostname=service.hostname,
        mounts=tuple(_mounts(project, service)),
        ports=tuple(
            sorted(
                (
                    wire.Port(
                        target=port.target,
                        published=port.published,
                        protocol=port.protocol,
                        host_ip=port.host_ip,
                    )
                    for port in service.ports
                ),
                key=lambda port: (port.target, port.protocol, port.host_ip, port.published),
            )
        ),
        healthcheck=wire.Healthcheck(
            type=check.type,
            port=check.port or check.tcp or 0,
            path=check.http or "",
            command=check.command or (),
            interval=check.interval,
            timeout=check.timeout,
            successes=check.successes,
            deadline=check.deadline,
        ),
        resources=wire.Resources(
            memory=service.resources.memory, cpus=service.resources.cpus, pids=service.resources.pids
        ),
        read_only=service.read_only,
        init=service.init,
        cap_add=tuple(sorted(service.cap_add)),
        cap_drop=tuple(sorted(service.cap_drop)),
        labels=tuple(sorted(service.labels)),
        extra_hosts=tuple(sorted(names.items())),
        stop_signal=service.stop_signal,
        stop_grace_period=service.stop_grace_period,
    )


def _mounts(project: Project, service: Service) -> Iterator[wire.Mount]:
    """Yield mounts sorted by target, volumes under the engine's name for them."""
    mounts = [
        wire.Mount(
            type=mount.type,
            target=mount.target,
            source=volume_name(project, mount.source) if mount.type == "volume" else mount.source,
            read_only=mount.read_only,
            size=mount.size,
            external=mount.type == "volume" and _is_external(project, mount.source),
        )
        for mount in service.volumes
    ] + [wire.Mount(type="tmpfs", target=scratch.target, size=scratch.size) for scratch in service.tmpfs]
    yield from sorted(mounts, key=lambda mount: mount.target)


def volume_name(project: Project, name: str) -> str:
    """Return the engine's name of a volume of the spec: ``PROJECT_NAME`` unless declared otherwise."""
    declared = project.volumes.get(name)
    if declared is None:
        return f"{project.project}_{name}"
    return declared.name or (name if declared.external else f"{project.project}_{name}")


def _is_external(project: Project, name: str) -> bool:
    declared = project.volumes.get(name)
    return declared is not None and declared.external
