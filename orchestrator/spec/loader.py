"""Files to a validated spec, with every problem at once.

Owns the order of the stages: read and interpolate each file, merge them left to right, merge
``defaults`` into the services, check references, validate. It must not know hosts' state.

Precedence, weakest first: the model's own defaults, ``defaults:`` of the merged files, the services of
the first file, those of each further file. Variables are taken from ``environ`` and replaced in each
file before merging.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.interpolation import interpolate
from orchestrator.spec.location import Location
from orchestrator.spec.merge import merge, without_resets
from orchestrator.spec.model import Project
from orchestrator.spec.positions import Path as KeyPath
from orchestrator.spec.positions import Positions
from orchestrator.spec.references import check_references
from orchestrator.spec.routing_rules import check_routing
from orchestrator.spec.text_file import read_text
from orchestrator.spec.validate import validate, validate_defaults, without_extensions
from orchestrator.spec.yaml_data import Map
from orchestrator.spec.yaml_errors import NOT_YAML
from orchestrator.spec.yaml_reader import read_yaml


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec and where it came from."""

    project: Project
    directory: Path
    """Absolute folder of the first file; relative paths in the spec start there."""
    digest: str
    """64 hexadecimal digits: SHA-256 of the merged, interpolated data in canonical JSON."""
    files: tuple[str, ...] = ()
    """As the user named them, in order of precedence, weakest first."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed and unwise."""
    positions: Positions = field(default=Positions(), repr=False, compare=False)

    def at(self, path: KeyPath) -> Location:
        """Return where ``path``, for example ``("services", "api", "hosts")``, was written."""
        return self.positions.at(path)

    def problem(self, path: KeyPath, message: str, *, hint: str = "") -> Problem:
        """Return a problem at ``path`` for a later stage to raise in a :class:`SpecError`."""
        return self.positions.problem(path, message, hint=hint)


def load_spec(paths: Sequence[Path], *, environ: Mapping[str, str]) -> LoadedSpec:
    """Load the spec from one file, or from several merged left to right.

    Args:
        paths: The files, at least one.
        environ: Variables for ``${VAR}``.

    Raises:
        SpecError: With everything that is wrong.
    """
    documents = [(read_text(path, SpecError), str(path)) for path in paths]
    return parse_spec(documents, environ=environ, directory=paths[0].absolute().parent)


def parse_spec(
    documents: Sequence[tuple[str, str]], *, environ: Mapping[str, str], directory: Path
) -> LoadedSpec:
    """Load the spec from texts; see :func:`load_spec`.

    Args:
        documents: Each a text and its name, at least one.
        environ: Variables for ``${VAR}``.
        directory: Absolute folder that relative paths in the spec start at.

    Raises:
        SpecError: With everything that is wrong.
    """
    replace = functools.partial(interpolate, environ=environ)
    data = Map()
    problems: list[Problem] = []
    for text, name in documents:
        document, unreadable = read_yaml(text, name, interpolate=replace)
        problems += unreadable
        data = merge(data, document)
    if any(problem.message.startswith(NOT_YAML) for problem in problems):
        raise SpecError(problems)  # half a file would only raise problems of its own
    files = tuple(name for _, name in documents)
    data = without_resets(data)
    for key in without_extensions(data):
        data.drop(key)
    positions = Positions(data, files[0])
    problems += _apply_defaults(data, positions)
    problems += check_references(data, positions)
    project, found = validate(data, positions)
    problems += found
    if project is not None and not problems:
        problems += check_routing(project, positions)
    if project is None or problems:
        raise SpecError(_tidy(problems, files))
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return LoadedSpec(
        project=project,
        directory=directory,
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        files=files,
        warnings=tuple(_warnings(project, positions)),
        positions=positions,
    )


def _apply_defaults(data: Map, positions: Positions) -> list[Problem]:
    """Merge ``defaults`` into the services of ``data``; what is wrong with them is reported once."""
    defaults = data.get("defaults")
    problems: list[Problem] = []
    if isinstance(defaults, Map):
        problems = validate_defaults(defaults, positions)
    elif defaults is not None:
        problems = [positions.problem(("defaults",), "expected a map of a service's fields", key=True)]
    data.drop("defaults")
    if problems or not isinstance(defaults, Map):
        return problems
    services = data.get("services")
    if isinstance(services, Map):
        for name, service in services.items():
            if isinstance(service, Map):
                services[name] = merge(defaults, service, ("services", name))
    return []


def _tidy(problems: Sequence[Problem], files: tuple[str, ...]) -> list[Problem]:
    """Return the problems in file order, one for each place that was wrong already when it was read."""
    order = {file: index for index, file in enumerate(files)}
    kept: dict[tuple[str, int, int, str], Problem] = {}
    for problem in problems:
        kept.setdefault((problem.file, problem.line, problem.column, problem.path), problem)
    return sorted(kept.values(), key=lambda each: (order.get(each.file, 0), each.line, each.column))


def _warnings(project: Project, positions: Positions) -> list[Problem]:
    return [
        positions.problem(
            ("images", name, "image"),
            f"{image.image} has no digest: what it names can change",
            hint="write name:tag@sha256:..., as docker images --digests shows it",
        )
        for name, image in project.images.items()
        if image.image is not None and "@sha256:" not in image.image
    ]
