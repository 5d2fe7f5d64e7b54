"""What a container needs on the host before it can be created: its files, network and volumes.

Owns making and removing them. It must not know the order of operations nor the container itself.
Every container gets copies of its own of its configs and secrets, with the owner and mode it asked
for: nothing that happens later to another container can change them under its feet.
"""

from __future__ import annotations

import errno
import os
import shutil
import threading
from pathlib import Path
from typing import Any, Dict, Set, Tuple

from orchestrator.agent import addressing, containers, durable
from orchestrator.agent.discover import is_podman
from orchestrator.agent.engine import Engine, EngineError
from orchestrator.agent.handler import Refusal
from orchestrator.agent.journal import Journal
from orchestrator.agent.paths import check_name, private_directory
from orchestrator.protocol.instance import InstanceConfig

_MAKING = threading.Lock()
"""Engines let two networks have one name: all stages of this process make what is missing in turn."""
_GIVEN: Set[Tuple[str, str]] = set()
"""(project, address) of containers that this process has made or is making: one that another request is
about to make is in no listing yet."""
_GIVING = threading.Lock()


class Stage:
    """Makes what the containers of one project stand on. Safe to use from many threads."""

    def __init__(self, engine: Engine, journal: Journal) -> None:
        self._engine = engine
        self._journal = journal
        self._made: Dict[str, bool] = {}

    def network(self) -> None:
        """Make the project's network, unless it is there.

        Raises:
            Refusal: ``conflict``: something else has its name.
        """
        body = {"Driver": "bridge", "CheckDuplicate": True}
        self._ensure("network", self._journal.project, "/networks", body)

    def address(self) -> str:
        """Return an address for a new container, which keeps it; empty when the engine has to choose.

        Only for a network that :meth:`network` has made.
        """
        project = self._journal.project
        with _GIVING:
            network = self._find(f"/networks/{project}") or {}
            if (network.get("Labels") or {}).get(addressing.LABEL) != addressing.FIXED:
                return ""
            query = {"all": True, "filters": {"label": [f"{containers.PROJECT}={project}"]}}
            listing = self._engine.get("/containers/json", query) or ()
            given = {address for owner, address in _GIVEN if owner == project}
            taken = {*addressing.named(listing, project), *given}
            address = addressing.free(addressing.subnet_of(network), taken)
            _GIVEN.add((project, address))
            return address

    def volumes(self, config: InstanceConfig) -> None:
        """Make the volumes of an instance, unless they are there.

        Raises:
            Refusal: ``conflict``: a volume of that name was not made by us; ``not-found``: one that is
                to exist already does not.
        """
        for mount in config.mounts:
            if mount.type == "volume" and mount.external:
                self._require_volume(mount.source)
            elif mount.type == "volume":
                self._ensure("volume", mount.source, "/volumes", {})

    def files(self, config: InstanceConfig, name: str) -> Tuple[containers.MountedFile, ...]:
        """Write the configs and secrets of the container ``name`` and return where they are.

        Raises:
            Refusal: ``not-found``: the journal has lost one. ``bad-request``: we may not give it away.
            OSError: It could not be written.
        """
        folder = self._folder(name)
        shutil.rmtree(folder, ignore_errors=True)
        found = []
        for index, file in enumerate(config.configs):
            data = self._journal.config(file.sha256)
            if data is None:
                raise _lost("config", file.target)
            path = folder / f"config-{index}"
            _write(path, data, file.mode, (file.uid, file.gid))
            found.append(containers.MountedFile(str(path), file.target))
        for index, ref in enumerate(config.secrets):
            value = self._journal.secret(ref.hmac)
            if value is None:
                raise _lost("secret", ref.name)
            path = folder / f"secret-{index}"
            _write(path, value, ref.mode, (ref.uid, ref.gid))
            found.append(containers.MountedFile(str(path), ref.target))
        return tuple(found)

    def discard_files(self, name: str) -> None:
        """Remove the files of a container that is gone."""
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def _folder(self, name: str) -> Path:
        return self._journal.files.mounts / check_name(name, "container's name")

    def _ensure(self, what: str, name: str, collection: str, body: Dict[str, Any]) -> None:
        with _MAKING:
            if name in self._made:
                return
            labels = {containers.PROJECT: self._journal.project}
            found = self._find(f"{collection}/{name}")
            if found is None or found.get("Name") != name:  # engines also match the start of an id
                self._create(f"{collection}/create", {"Name": name, "Labels": labels, **body})
                if what == "network":
                    self._halve({"Name": name, "Labels": labels, **body})
            elif (found.get("Labels") or {}).get(containers.PROJECT) != self._journal.project:
                raise Refusal(
                    "conflict",
                    f"a {what} called {name!r} is there already and does not belong to this project",
                    hint=f"remove or rename that {what}, or the project",
                )
            self._made[name] = True

    def _halve(self, body: Dict[str, Any]) -> None:
        """Make the network that was just made again, with half of its addresses left to us.

        Engines take addresses from us only in a subnet that we name, and know best which one is free.
        Where that does not work out the network stays as it was made, and the engine chooses.
        """
        if is_podman(self._engine.describe()):
            return  # it says no address of a container that is stopped: none could be known to be free
        path = f"/networks/{body['Name']}"
        subnet = addressing.subnet_of(self._find(path) or {})
        ipam = addressing.halved(subnet) if subnet else None
        if ipam is None:
            return
        labels = {**body["Labels"], addressing.LABEL: addressing.FIXED}
        self._engine.delete(path)
        try:
            self._engine.post("/networks/create", body={**body, "Labels": labels, "IPAM": ipam})
        except EngineError:
            self._create("/networks/create", body)

    def _require_volume(self, name: str) -> None:
        found = self._find(f"/volumes/{name}")
        if found is None or found.get("Name") != name:
            raise Refusal(
                "not-found",
                f"there is no volume {name!r} on this host, which is to exist already",
                hint=f"create it with `docker volume create {name}`, or declare it without external: true",
            )

    def _find(self, path: str) -> Any:
        try:
            return self._engine.get(path)
        except EngineError as error:
            if error.not_found:
                return None
            raise

    def _create(self, path: str, body: Dict[str, Any]) -> None:
        try:
            self._engine.post(path, body=body)
        except EngineError as error:
            if error.status != 409:  # 409: another project's session on this host was quicker
                raise


def _lost(what: str, name: str) -> Refusal:
    return Refusal(
        "not-found",
        f"the host no longer has the content of {what} {name!r}",
        hint="apply the spec: it brings the content again",
    )


def _write(path: Path, data: bytes, mode: int, owner: Tuple[int, int]) -> None:
    private_directory(path.parent)
    try:
        durable.write(path, data, mode=mode & 0o777, owner=owner)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise
        if owner != (0, 0):
            raise Refusal(
                "bad-request",
                f"cannot give a file to {owner[0]}:{owner[1]}: the agent does not run as root",
                hint="let the deploy user use sudo -n, or leave uid and gid of the file away",
            ) from error
        # Owner root was only the default; the container's root reads what belongs to us.
        durable.write(path, data, mode=mode & 0o777, owner=(os.getuid(), os.getgid()))
