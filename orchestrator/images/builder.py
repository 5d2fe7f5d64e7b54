"""Builds the images of a spec on one engine, those that do not wait for each other at the same time.

Owns the order of builds, the talk with the builder and what its failure looks like. It must not know
hosts that run services. The builder is any :class:`~orchestrator.ports.Session`: this machine's own
engine or a host of the inventory; contexts travel over that session.

The engine is asked first whether it has an image of the same build digest, so a second machine that
uses the same builder builds nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from orchestrator.errors import DeployError, ProtocolViolation, RequestError
from orchestrator.events import BuildFinished, BuildOutput, BuildStarted, Listener
from orchestrator.images.context import pack
from orchestrator.images.dag import Recipe, Source
from orchestrator.images.output import LAST_LINES, STEP, failed, line_of, lines
from orchestrator.images.source import diff_ids
from orchestrator.images.store import DigestMismatchError, Store
from orchestrator.ports import Call, RequestFailed, Session
from orchestrator.protocol.messages import Build, Built, FindImage, Found, Pull


def local_reference(project: str, recipe: Recipe) -> str:
    """Return the name under which children of ``recipe`` find it on the builder.

    A tag, because BuildKit resolves no image ids in `FROM`; it holds the build digest, so it never
    moves to another build.
    """
    return f"deploy.local/{project}/{recipe.name}:{recipe.build[:20]}" if recipe.build else recipe.reference


class Builder:
    """Builds and pulls on one engine.

    Args:
        session: The engine's host; called when there is something to build, not before.
        store: Where ids and configurations are remembered.
        project: Part of the images' local names.
        listener: Is told what happens, from several threads.
        parallel: Builds at the same time.
        network: Network mode of `RUN`; the engine's own choice when empty.
        on_built: Is given the id of an image that was built just now and the diff ids its parents lack;
            :meth:`.source.LayerSource.prefetch` compresses them while other images are being built.
    """

    def __init__(
        self,
        session: Callable[[], Session],
        store: Store,
        *,
        project: str,
        listener: Listener = lambda _event: None,
        parallel: int = 3,
        network: str = "",
        on_built: Callable[[str, tuple[str, ...]], None] = lambda _image, _layers: None,
    ) -> None:
        self._session = session
        self._store = store
        self._project = project
        self._listener = listener
        self._parallel = parallel
        self._network = network
        self._on_built = on_built
        self._calls: list[Call] = []
        self._mutex = threading.Lock()
        self._stopped = False

    def build(
        self, recipes: Iterable[Recipe], known: Mapping[str, str], wanted: Collection[str] | None = None
    ) -> dict[str, str]:
        """Build and pull what ``known`` lacks, and what that stands on.

        Args:
            recipes: All images of the spec, from :func:`.dag.recipes`.
            known: Build digest or reference -> image id.
            wanted: Names of the images to have; ``None`` is all of them.

        Returns:
            ``known`` and what was made: an id for every recipe that is wanted.

        Raises:
            BuildFailed: An image did not build, or could not be pulled.
            HostError: The builder could not be used.
        """
        everything = {recipe.name: recipe for recipe in recipes}
        waiting = _needed(everything, known, everything if wanted is None else wanted)
        if not waiting:
            return dict(known)
        made: dict[str, str] = {}
        running: dict[Future[str], Recipe] = {}
        session = self._session()
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="build") as pool:
            try:
                while waiting or running:
                    for name, recipe in list(waiting.items()):
                        if all(parent in made for parent in recipe.parents):
                            del waiting[name]
                            parents = {parent: everything[parent] for parent in recipe.parents}
                            running[pool.submit(self._one, session, recipe, parents)] = recipe
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        recipe = running.pop(future)
                        made[recipe.name] = future.result()
            except BaseException:
                self._stop()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        ids = {everything[name].key: image for name, image in made.items()}
        # An id that is known already stays: a parent that had to be built again need not come out equal.
        return {**ids, **known}

    def _one(self, session: Session, recipe: Recipe, parents: Mapping[str, Recipe]) -> str:
        started = time.monotonic()
        begins = BuildStarted(recipe.name, session.host, recipe.reference and "pull")
        try:
            found = self._find(session, recipe)
            if found is None:
                self._listener(begins)
            if recipe.source is not None:
                built = found or self._build(session, recipe, recipe.source, parents)
            else:
                built = self._follow(session, recipe, Pull(recipe.reference), lambda: iter(()))
        except RequestFailed as error:
            raise failed(recipe, error, ()) from error
        self._remember(session, recipe, built)
        if recipe.source is not None and found is None:
            self._on_built(built.image, self._new_layers(built, parents))
        seconds = time.monotonic() - started
        self._listener(BuildFinished(recipe.name, built.image, seconds, cached=found is not None))
        return built.image

    def _find(self, session: Session, recipe: Recipe) -> Built | None:
        """Return the image the builder has of the same inputs, if it has one."""
        if recipe.source is None:
            return None
        tag = local_reference(self._project, recipe)
        found = self._ask(session.request(FindImage(recipe.build, tag)))
        return found.built if isinstance(found, Found) else None

    def _build(
        self, session: Session, recipe: Recipe, source: Source, parents: Mapping[str, Recipe]
    ) -> Built:
        local = {name: local_reference(self._project, parent) for name, parent in parents.items()}
        dockerfile = source.dockerfile.rewritten(local).encode("utf-8", "surrogateescape")
        request = Build(
            self._project,
            recipe.name,
            recipe.build,
            source.context.dockerfile,
            args=source.build.args,
            target=source.build.target,
            platform=source.build.platform,
            tag=local_reference(self._project, recipe),
            network=self._network,
        )
        return self._follow(
            session, recipe, request, lambda: pack(source.context, {source.context.dockerfile: dockerfile})
        )

    def _follow(
        self, session: Session, recipe: Recipe, request: Any, content: Callable[[], Iterator[bytes]]
    ) -> Built:
        """Make the request, send its body and pass the builder's output on."""
        ended, last = threading.Event(), deque[str](maxlen=LAST_LINES)
        step = 0
        call = session.request(request, on_done=lambda _call: ended.set())
        with self._cancellable(call):
            sender = _Sender(call, content(), ended)
            sender.start()
            for line in lines(call.body()):
                last.append(line)
                found = STEP.match(line)
                step = int(found[1]) if found else step
                self._listener(BuildOutput(recipe.name, line))
            sender.join()
            if isinstance(sender.error, RequestError):
                raise sender.error
            try:
                return _checked(session, call.result())
            except RequestFailed as error:
                raise failed(recipe, error, tuple(last), line_of(recipe, step, last)) from error

    def _ask(self, call: Call) -> Any:
        with self._cancellable(call):
            call.end_body()
            return call.result()

    def _new_layers(self, built: Built, parents: Mapping[str, Recipe]) -> tuple[str, ...]:
        below: set[str] = set()
        for parent in parents.values():
            config = self._store.config(self._store.image(parent.key))
            below.update(diff_ids(config or ""))
        return tuple(layer for layer in diff_ids(built.config) if layer not in below)

    def _remember(self, session: Session, recipe: Recipe, built: Built) -> None:
        try:
            self._store.add_config(built.image, built.config)
        except DigestMismatchError as error:
            raise ProtocolViolation(session.host, f"image {recipe.name}: {error}") from error
        if not self._store.image(recipe.key):
            self._store.record(recipe.key, built.image)

    @contextlib.contextmanager
    def _cancellable(self, call: Call) -> Iterator[None]:
        with self._mutex:
            self._calls.append(call)
            stopped = self._stopped
        try:
            if stopped:
                call.cancel()
            yield
        finally:
            with self._mutex:
                self._calls.remove(call)

    def _stop(self) -> None:
        with self._mutex:
            self._stopped = True
            calls = list(self._calls)
        for call in calls:
            call.cancel()


class _Sender(threading.Thread):
    """Sends a body while its call's output is being read, and stops when the call ends early."""

    def __init__(self, call: Call, content: Iterator[bytes], ended: threading.Event) -> None:
        super().__init__(name="context", daemon=True)
        self.error: DeployError | None = None
        self._call = call
        self._content = content
        self._ended = ended

    def run(self) -> None:
        """Send everything; what goes wrong is kept in ``error``, and the call is cancelled."""
        try:
            for piece in self._content:
                if self._ended.is_set():
                    return
                self._call.send_body(piece)
            self._call.end_body()
        except DeployError as error:
            self.error = error
            self._call.cancel()


def _needed(
    everything: Mapping[str, Recipe], known: Mapping[str, str], wanted: Collection[str]
) -> dict[str, Recipe]:
    """Return what is wanted and has no id, with everything it stands on: a builder may have lost a parent."""
    names: set[str] = set()

    def add(name: str) -> None:
        if name not in names:
            names.add(name)
            for parent in everything[name].parents:
                add(parent)

    for name, recipe in everything.items():
        if name in wanted and recipe.key not in known:
            add(name)
    return {name: everything[name] for name in everything if name in names}


def _checked(session: Session, built: Any) -> Built:
    if not isinstance(built, Built):
        raise ProtocolViolation(session.host, "the builder's agent answered something else than an image")
    return built
