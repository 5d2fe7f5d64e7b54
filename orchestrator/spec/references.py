"""References between the parts of a spec: do they lead somewhere, and never in a circle?

Owns the checks of ``image``, ``from``, ``depends_on`` and the services of routes, on the data before
validation, so that they are reported together with every other problem. It must not know hosts;
:func:`check_hosts` is told them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchestrator.errors import Problem
from orchestrator.spec.inventory_types import Inventory
from orchestrator.spec.model import Project
from orchestrator.spec.positions import Positions
from orchestrator.spec.suggest import did_you_mean

_Reference = tuple[tuple[str | int, ...], str]
"""Where it stands, and the name it refers to."""


def check_references(data: Mapping[str, Any], positions: Positions) -> list[Problem]:
    """Return a problem for each reference to an image or a service that is not there, and each cycle."""
    images, services = _maps(data.get("images")), _maps(data.get("services"))
    problems: list[Problem] = []
    parents: dict[str, list[_Reference]] = {}
    for name, declared in images.items():
        build = declared.get("build")
        parent = build.get("from") if isinstance(build, Mapping) else None
        if isinstance(parent, str):
            parents[name] = [(("images", name, "build", "from"), parent)]
    needs: dict[str, list[_Reference]] = {}
    for name, service in services.items():
        needs[name] = list(_depends_on(name, service.get("depends_on")))
        if isinstance(image := service.get("image"), str):
            problems += _unknown(
                [(("services", name, "image"), image)], data.get("images"), "image", positions
            )
    problems += _routing(data, positions)
    for edges, among, what in (
        (parents, data.get("images"), "image"),
        (needs, data.get("services"), "service"),
    ):
        for references in edges.values():
            problems += _unknown(references, among, what, positions)
        problems += _cycles(edges, what, positions)
    return problems


def _routing(data: Mapping[str, Any], positions: Positions) -> Iterator[Problem]:
    router = data.get("router")
    image = router.get("image") if isinstance(router, Mapping) else None
    if isinstance(image, str):
        yield from _unknown([(("router", "image"), image)], data.get("images"), "image", positions)
    targets = [
        (("routes", name, "service"), route["service"])
        for name, route in _maps(data.get("routes")).items()
        if isinstance(route.get("service"), str)
    ]
    yield from _unknown(targets, data.get("services"), "service", positions)


def check_hosts(project: Project, inventory: Inventory, positions: Positions) -> list[Problem]:
    """Return a problem for each host, group or label the spec names and the inventory lacks."""
    problems: list[Problem] = []
    for name, service in project.services.items():
        for index, term in enumerate(service.hosts):
            problems += _placed(inventory, term, ("services", name, "hosts", index), positions)
    for index, term in enumerate(project.router.hosts if project.router else ()):
        problems += _placed(inventory, term, ("router", "hosts", index), positions)
    if project.builder is not None and inventory.get(project.builder) is None:
        hint = did_you_mean(project.builder, [host.name for host in inventory.hosts])
        problems.append(positions.problem(("builder",), f"no host is called {project.builder!r}", hint=hint))
    return problems


def _placed(
    inventory: Inventory, term: str, path: tuple[str | int, ...], positions: Positions
) -> Iterator[Problem]:
    for problem in inventory.unknown([term]):
        yield positions.problem(path, f"{problem.message} in the inventory", hint=problem.hint)


def _maps(value: object) -> dict[str, Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return {}
    return {name: item for name, item in value.items() if isinstance(item, Mapping)}


def _depends_on(name: str, value: object) -> Iterator[_Reference]:
    if isinstance(value, Mapping):
        yield from ((("services", name, "depends_on", key), key) for key in value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            target = item.get("service") if isinstance(item, Mapping) else item
            if isinstance(target, str):
                yield ("services", name, "depends_on", index), target


def _unknown(
    references: Iterable[_Reference], among: object, what: str, positions: Positions
) -> Iterator[Problem]:
    known = list(among) if isinstance(among, Mapping) else []
    lookup = set(known)
    for path, name in references:
        if name not in lookup:
            hint = did_you_mean(name, known)
            if not hint and what == "image" and path[0] == "services":
                hint = f"declare it: images: {{{name.split(':')[0].split('/')[-1]}: {{image: {name!r}}}}}"
            yield positions.problem(path, f"there is no {what} called {name!r}", hint=hint)


def _cycles(edges: Mapping[str, list[_Reference]], what: str, positions: Positions) -> Iterator[Problem]:
    """Yield each cycle that a depth-first walk closes, once, starting at its first name in file order."""
    done: set[str] = set()
    for start in edges:
        trail: list[str] = []
        on_trail: set[str] = set()
        stack: list[Iterator[_Reference]] = []
        if start not in done:
            trail.append(start)
            on_trail.add(start)
            stack.append(iter(edges[start]))
        while stack:
            path, name = next(stack[-1], ((), ""))
            if not path:
                stack.pop()
                done.add(leaving := trail.pop())
                on_trail.discard(leaving)
            elif name in on_trail:
                circle = [*trail[trail.index(name) :], name]
                yield positions.problem(path, f"the {what}s go round in a circle: {' -> '.join(circle)}")
            elif name in edges and name not in done:
                trail.append(name)
                on_trail.add(name)
                stack.append(iter(edges[name]))
