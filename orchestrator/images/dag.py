"""The images of a spec as a graph: who stands on whom, in which order, and what each one's address is.

Owns reading the contexts into :class:`Recipe` objects, the edges (``from:`` and every reference of a
Dockerfile to an image of the spec), and resolving them to artifacts. It must not know engines.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from orchestrator.errors import RequestError
from orchestrator.images.context import Context, scan
from orchestrator.images.digest import BuildInputs
from orchestrator.images.dockerfile import Dockerfile, parse
from orchestrator.images.filedigests import FileDigests
from orchestrator.planning.types import Artifact
from orchestrator.spec.model import Build, Image

_SCANNERS = 4


@dataclass(frozen=True)
class Source:
    """What an image is built from, as read from disk."""

    build: Build
    context: Context
    dockerfile: Dockerfile


@dataclass(frozen=True)
class Recipe:
    """How one image comes about."""

    name: str
    reference: str = ""
    """What to pull; empty for a built image."""
    source: Source | None = None
    """``None`` for a pulled image."""
    parents: tuple[str, ...] = ()
    """Images of the spec it stands on, sorted."""
    build: str = ""
    """Build digest; empty for a pulled image."""

    @property
    def key(self) -> str:
        """What its image id is remembered under: the build digest, or the reference."""
        return self.build or self.reference


def resolve(
    images: Mapping[str, Image], directory: Path, known: Mapping[str, str], cache: Path | None = None
) -> tuple[Artifact, ...]:
    """Return an artifact for every image, with its id where that is known.

    Args:
        images: The spec's images.
        directory: What contexts are relative to.
        known: Build digest, or reference of a pulled image, to image id.
        cache: Folder that remembers file digests between runs.

    Raises:
        RequestError: A context cannot be read, or images stand on each other in a circle.
    """
    return artifacts(recipes(images, directory, cache), known)


def artifacts(recipes: tuple[Recipe, ...], known: Mapping[str, str]) -> tuple[Artifact, ...]:
    """Return an artifact for every recipe, sorted by name. Pure."""
    found = (
        Artifact(recipe.name, recipe.build, recipe.reference, known.get(recipe.key, "")) for recipe in recipes
    )
    return tuple(sorted(found, key=lambda artifact: artifact.name))


def recipes(images: Mapping[str, Image], directory: Path, cache: Path | None = None) -> tuple[Recipe, ...]:
    """Read all contexts and return the recipes, parents before children; see :func:`resolve`."""
    built = {name: image.build for name, image in images.items() if image.build is not None}
    with ThreadPoolExecutor(_SCANNERS) as pool:
        reading = {name: pool.submit(_source, name, build, directory, cache) for name, build in built.items()}
    sources = {name: read.result() for name, read in reading.items()}
    parents = {name: _parents(name, sources[name], images) if name in sources else () for name in images}
    done: dict[str, Recipe] = {}
    for name in order(parents):
        image, source = images[name], sources.get(name)
        if source is None:
            done[name] = Recipe(name, reference=image.image or "")
            continue
        above = tuple((parent, _identity(done[parent])) for parent in parents[name])
        done[name] = Recipe(name, source=source, parents=parents[name], build=_inputs(source, above).digest)
    return tuple(done.values())


def order(parents: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names so that parents come first; by name where the graph leaves a choice.

    Raises:
        RequestError: There is a circle; the message names its path.
    """
    # The standard library's sorter: networkx costs 0.1 s to import, which every run would pay.
    sorter = TopologicalSorter(parents)
    try:
        sorter.prepare()
    except CycleError as error:
        circle: list[str] = error.args[1][:-1]
        first = circle.index(min(circle))
        circle = [*circle[first:], *circle[: first + 1]]
        raise RequestError(
            "images stand on each other in a circle: " + " -> ".join(circle),
            hint="look at build.from and at the FROM lines of their Dockerfiles",
        ) from None
    found: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        for name in sorter.get_ready():
            heapq.heappush(ready, name)
        found.append(heapq.heappop(ready))
        sorter.done(found[-1])
    return tuple(found)


def _source(name: str, build: Build, directory: Path, cache: Path | None) -> Source:
    root = directory / build.context
    digests = None
    if cache is not None:
        known_as = hashlib.sha256(os.fsencode(os.path.realpath(root)) + b"\0" + build.dockerfile.encode())
        digests = FileDigests(cache / f"{known_as.hexdigest()[:32]}.json")
    try:
        context = scan(root, build.dockerfile, digests)
        return Source(build, context, parse(context.text, dict(build.args)))
    except RequestError as error:
        raise RequestError(f"image {name}: {error.message}", hint=error.hint) from error


def _parents(name: str, source: Source, images: Mapping[str, Image]) -> tuple[str, ...]:
    named = source.dockerfile.images
    wanted = source.build.from_
    if wanted is not None and wanted not in named:
        raise RequestError(
            f"image {name}: it is to be built from {wanted}, but its {source.context.dockerfile}"
            f" has no FROM {wanted}",
            hint=f"write FROM {wanted}, it is replaced by the exact image" if wanted in images else None,
        )
    # An image that names itself means the one of that name elsewhere (FROM redis in image redis).
    return tuple(sorted(image for image in named if image in images and image != name))


def _identity(recipe: Recipe) -> str:
    return f"build:{recipe.build}" if recipe.build else f"pull:{recipe.reference}"


def _inputs(source: Source, parents: tuple[tuple[str, str], ...]) -> BuildInputs:
    text = source.dockerfile.text.encode("utf-8", "surrogateescape")
    return BuildInputs(
        dockerfile=source.context.dockerfile,
        text=hashlib.sha256(text).hexdigest(),
        context=source.context.digest,
        args=tuple(sorted(source.build.args)),
        target=source.build.target,
        platform=source.build.platform,
        parents=parents,
    )
