"""The files on this machine that a spec names: are they there?

Owns the look at build contexts, Dockerfiles, templates and files of configs, so that ``validate``
finds a wrong path before a build does. It must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import Problem
from orchestrator.spec.loader import LoadedSpec
from orchestrator.spec.positions import Path as KeyPath


def check_files(spec: LoadedSpec) -> tuple[Problem, ...]:
    """Return a problem for each file or folder the spec names that is missing or of the wrong kind.

    Files of secrets are not looked at: they may exist only where a plan is made.
    """
    return tuple(_problems(spec))


def _problems(spec: LoadedSpec) -> Iterator[Problem]:
    for name, image in spec.project.images.items():
        if image.build is None:
            continue
        context = spec.directory / image.build.context
        where = ("images", name, "build")
        if not context.is_dir():
            yield spec.problem((*where, "context"), f"there is no folder {context}", hint=_near(context))
        elif not (dockerfile := context / image.build.dockerfile).is_file():
            yield spec.problem(
                (*where, "dockerfile"), f"there is no file {dockerfile}", hint=_near(dockerfile)
            )
    for name, service in spec.project.services.items():
        for index, config in enumerate(service.configs):
            for key, given in (("template", config.template), ("file", config.file)):
                if given is not None:
                    yield from _missing(spec, ("services", name, "configs", index, key), given)


def _missing(spec: LoadedSpec, path: KeyPath, given: str) -> Iterator[Problem]:
    file = spec.directory / given
    if not file.is_file():
        yield spec.problem(path, f"there is no file {file}", hint=_near(file))


def _near(path: Path) -> str:
    """Return a hint at the nearest folder that does exist: paths are most often relative to the wrong one."""
    nearest = next(parent for parent in path.parents if parent.exists())
    return f"paths start at the first spec file's folder; {nearest} exists"
