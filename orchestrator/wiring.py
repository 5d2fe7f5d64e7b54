"""Joins the parts for one run: the files, the sessions with hosts, the layer store, the builder.

Owns which part is handed to which; a stage of `pipeline` asks the workbench and gets frozen values. It
must not decide anything: what should happen is `planning`'s, when it happens is `execution`'s.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Self

from orchestrator.errors import HostError, RequestError, SpecError
from orchestrator.events import Listener, Warned
from orchestrator.execution.loop import Interrupt, ThreadLoop
from orchestrator.execution.world import World
from orchestrator.headstart import HeadStart
from orchestrator.images.builder import Builder
from orchestrator.images.dag import Recipe, artifacts, recipes
from orchestrator.images.shipping import ship
from orchestrator.images.source import LayerSource, diff_ids
from orchestrator.images.store import Store
from orchestrator.inputs import Loaded, read_addresses, read_certificates, read_files
from orchestrator.planning import desired as wanted
from orchestrator.planning.limit import Limit, limit
from orchestrator.planning.observed import Index, builds, observed, placement
from orchestrator.planning.placement import place
from orchestrator.planning.routing.changes import pictures_in_force
from orchestrator.planning.types import Artifact, Desired, Observed
from orchestrator.ports import RequestFailed, Session
from orchestrator.protocol.messages import HostReport, Observe
from orchestrator.remote.fleet import SshFleet
from orchestrator.spec.references import check_hosts
from orchestrator.spec.secret_source import resolve_secret
from orchestrator.spec.templates import render

OBSERVE_TIMEOUT = 60.0
"""Seconds a host may take to look at its containers and probe each one."""


class Workbench:
    """Everything one run works with, opened lazily and closed together.

    Args:
        loaded: The user's files.
        listener: Is told what happens.
        interrupt: The user's wish to stop.
        ahead: A fleet that connects already.
    """

    def __init__(
        self,
        loaded: Loaded,
        listener: Listener,
        interrupt: Interrupt | None = None,
        ahead: HeadStart | None = None,
    ) -> None:
        self.loaded = loaded
        self.listener = listener
        self.interrupt = interrupt or Interrupt()
        self.store = Store()
        self.limit: Limit = limit(loaded.options.limit, loaded.inventory, loaded.spec.project.services)
        self.fleet = ahead.adopt(listener) if ahead is not None else SshFleet(loaded.inventory.get, listener)
        self._holders: dict[str, list[str]] = {}
        for problem in (*loaded.spec.warnings, *loaded.inventory.warnings):
            listener(Warned(str(problem)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.fleet.close()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names of the hosts this run looks at: those of the inventory, as far as ``--limit`` lets it."""
        names = {host.name for host in self.loaded.inventory.hosts}
        for service in self.loaded.spec.project.services.values():
            names.update(term for term in service.hosts if term == "localhost")
        return tuple(sorted(name for name in names if self.limit.host(name)))

    # --- looking ---------------------------------------------------------------------------------

    def observe(self, *, probe: bool = True) -> Observed:
        """Ask every host what is true, all at once; a host that fails does not stop the others."""
        request = Observe(self.loaded.name, probe=probe)
        # One thread for each host: none waits with its answer for the connection of another.
        pool = ThreadPoolExecutor(max(len(self.hosts), 1), "observe")
        try:
            reports = pool.map(lambda host: self._ask(host, request), self.hosts)
            results = dict(zip(self.hosts, reports, strict=True))
        finally:
            # After a Ctrl-C nobody waits for a host that does not answer.
            pool.shutdown(wait=False, cancel_futures=True)
        seen = observed(results, self.loaded.name)
        self._holders = _holders(seen)
        return seen

    def _ask(self, host: str, request: Observe) -> HostReport | HostError:
        try:
            report: HostReport = self.fleet.session(host).request(request).result(OBSERVE_TIMEOUT)
        except HostError as error:
            return error
        except RequestFailed as error:
            return HostError(host, error.failure.message, hint=error.failure.hint or None)
        except TimeoutError:
            return HostError(host, f"no answer within {OBSERVE_TIMEOUT:.0f} s")
        return report

    def check_placement(self) -> None:
        """Place every service as if nothing ran yet.

        Raises:
            SpecError: A service or the router names hosts that the inventory does not have.
        """
        spec = self.loaded.spec
        try:
            place(spec.project, self.loaded.inventory, {})
        except SpecError as error:
            raise self.loaded.located(error) from error
        if problems := check_hosts(spec.project, self.loaded.inventory, spec.positions):
            raise SpecError(problems)

    # --- images ----------------------------------------------------------------------------------

    @cached_property
    def recipes(self) -> tuple[Recipe, ...]:
        """The spec's images, read from their contexts."""
        spec = self.loaded.spec
        return recipes(spec.project.images, spec.directory, self.store.contexts)

    def known(self, seen: Observed) -> dict[str, str]:
        """Return the image ids that need no build: remembered here, or running on the fleet.

        A host's word counts only where no other host and no record of our own contradicts it.
        """
        own = {recipe.key: id_ for recipe in self.recipes if (id_ := self.store.image(recipe.key))}
        return {**builds(seen), **own}

    def artifacts(self, known: Mapping[str, str]) -> tuple[Artifact, ...]:
        """Return the spec's images, resolved as far as ``known`` goes."""
        return artifacts(self.recipes, known)

    def build(self, known: Mapping[str, str], wanted: Collection[str] | None = None) -> dict[str, str]:
        """Build and pull what ``known`` lacks of the images ``wanted`` (all); return their ids and ``known``.

        Raises:
            BuildFailed: An image did not build or could not be pulled.
            HostError: The builder cannot be used.
        """
        builder = Builder(
            self._builder_session,
            self.store,
            project=self.loaded.name,
            listener=self.listener,
            on_built=self._layers.prefetch,
        )
        return builder.build(self.recipes, known, wanted)

    def obtainable(self, image: str) -> bool:
        """Whether the layers of ``image`` are here or on a host that was observed."""
        config = self.store.config(image)
        kept = config is not None and all(self.store.layer(layer) for layer in diff_ids(config))
        return kept or bool(self._holders.get(image))

    def _builder_session(self) -> Session:
        name = self.loaded.options.builder or self.loaded.spec.project.builder or "localhost"
        if self.loaded.inventory.get(name) is None:
            raise RequestError(
                f"no host is called {name!r}, which is to build the images",
                hint="name a host of the inventory with builder:, --builder or DEPLOY_BUILDER",
            )
        return self.fleet.session(name)

    def _sessions_with(self, image: str) -> Iterable[Session]:
        try:
            yield self._builder_session()
        except HostError as error:
            self.listener(Warned(f"the builder cannot be used: {error.message}", error.hint or ""))
        for host in self._holders.get(image, ()):
            try:
                yield self.fleet.session(host)
            except HostError as error:
                self.listener(Warned(f"{host} cannot be asked for layers: {error.message}"))

    # --- planning's inputs -----------------------------------------------------------------------

    def desired(self, seen: Observed, known: Mapping[str, str]) -> Desired:
        """Return what should run, given what is there.

        Raises:
            SpecError: It cannot be placed or rendered.
            RequestError: A file, a secret or a certificate cannot be read.
        """
        loaded, index = self.loaded, Index(seen)
        inputs = wanted.Inputs(
            spec_digest=loaded.spec.digest,
            artifacts={artifact.name: artifact for artifact in self.artifacts(known)},
            keys={host.name: host.report.key for host in seen.hosts if host.report is not None},
            render=render,
            files=self._files,
            secrets=self._secrets,
            current=placement(index),
            addresses=read_addresses(loaded.inventory),
            certificates=self._certificates,
            endpoints=index.current.endpoints if index.current is not None else (),
            routers=pictures_in_force(index),
        )
        try:
            return wanted.desired(loaded.spec.project, loaded.inventory, inputs)
        except SpecError as error:
            raise loaded.located(error) from error

    @cached_property
    def _layers(self) -> LayerSource:
        """One for the whole run: what a build makes is compressed while others are still being built."""
        return LayerSource(self.store, self._sessions_with)

    @cached_property
    def _files(self) -> Mapping[str, bytes]:
        return read_files(self.loaded)

    @cached_property
    def _certificates(self) -> Mapping[str, bytes]:
        return read_certificates(self.loaded)

    @cached_property
    def _secrets(self) -> Mapping[tuple[str, str], bytes]:
        loaded = self.loaded
        wishes = [
            (name, secret)
            for name, service in loaded.spec.project.services.items()
            if self.limit.service(name)
            for secret in service.secrets
        ]
        with ThreadPoolExecutor(4) as pool:
            values = pool.map(
                lambda wish: resolve_secret(
                    wish[1], environ=loaded.environ, directory=loaded.spec.directory
                ).reveal(),
                wishes,
            )
            return {(name, secret.name): value for (name, secret), value in zip(wishes, values, strict=True)}

    # --- execution's ports -----------------------------------------------------------------------

    def world(self, epoch: int, timer: Callable[[], float]) -> World:
        """Return what execution works through, shipping under the lease of ``epoch``."""
        project, source = self.loaded.name, self._layers

        def put(session: Session, image: str, on_progress: Callable[[str, int, int], None]) -> int:
            return ship(session, source, image, project, epoch, on_progress=on_progress)

        return World(
            fleet=self.fleet,
            ship=put,
            listener=self.listener,
            interrupt=self.interrupt,
            loop=ThreadLoop(),
            timer=timer,
        )


def author() -> str:
    """Return ``user@machine``, as others see it while this run holds the lease."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _holders(seen: Observed) -> dict[str, list[str]]:
    holders: dict[str, list[str]] = {}
    for host in seen.hosts:
        for image in host.report.images if host.report is not None else ():
            holders.setdefault(image.id, []).append(host.name)
    return holders
