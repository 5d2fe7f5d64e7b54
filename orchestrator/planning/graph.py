"""Services and images as one dependency graph, and its forms for people and programs.

Owns the directed graph (an edge leads from what is needed to what needs it), its check for cycles,
its layers, and the exports of ``deploy graph``. It must not know hosts or what runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import networkx as nx

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.model import Project


class Node(NamedTuple):
    """An image or a service."""

    kind: str
    """``image`` or ``service``."""
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


Graph: TypeAlias = "nx.DiGraph[Node]"


class Cycle(SpecError):  # noqa: N818 - reads as what was found
    """Things of the spec need each other; ``path`` begins and ends with the same one."""

    def __init__(self, path: tuple[Node, ...]) -> None:
        self.path = path
        way = " -> ".join(node.name for node in path)
        super().__init__([Problem(f"the {path[0].kind}s go round in a circle: {way}", path=_key(path[0]))])


def build(project: Project) -> Graph:
    """Return the graph of ``project``.

    Raises:
        SpecError: A name leads nowhere.
        Cycle: Something needs itself, directly or not.
    """
    graph: Graph = nx.DiGraph()
    graph.add_nodes_from(Node("image", name) for name in sorted(project.images))
    graph.add_nodes_from(Node("service", name) for name in sorted(project.services))
    problems = []
    for node, needed in _needs(project):
        if needed in graph:
            graph.add_edge(needed, node)
        else:
            problems.append(
                Problem(f"there is no {needed.kind} called {needed.name!r}", path=_key(node)),
            )
    if problems:
        raise SpecError(problems)
    if cycle := _cycle(graph):
        raise Cycle(cycle)
    return graph


def generations(graph: Graph) -> tuple[tuple[Node, ...], ...]:
    """Return the nodes in layers: each needs only nodes of layers before its own. Sorted within."""
    return tuple(tuple(sorted(layer)) for layer in nx.topological_generations(graph))


def affected(graph: Graph, *nodes: Node) -> tuple[Node, ...]:
    """Return ``nodes`` and all that needs them, directly or not, sorted."""
    return tuple(sorted({*nodes, *(found for node in nodes for found in nx.descendants(graph, node))}))


def tree(graph: Graph) -> tuple[str, ...]:
    """Return the graph as lines of an indented tree: services at the root, what they need below them.

    What was drawn before is named again, marked ``(above)``, and not drawn again.
    """
    roots = [node for node in graph if graph.out_degree(node) == 0]
    drawn: set[Node] = set()
    lines: list[str] = []
    # A stack, last first; services come before images that nothing uses.
    roots.sort(key=lambda node: (node.kind == "image", node), reverse=True)
    stack = [(root, "", "", "") for root in roots]
    while stack:
        node, indent, branch, below = stack.pop()
        needed = sorted(graph.predecessors(node))
        again = node in drawn and bool(needed)
        lines.append(f"{indent}{branch}{node}{' (above)' if again else ''}")
        if again:
            continue
        drawn.add(node)
        inner = indent + below
        for index, child in enumerate(reversed(needed)):
            last = index == 0
            stack.append((child, inner, "└─ " if last else "├─ ", "   " if last else "│  "))
    return tuple(lines)


def dot(graph: Graph) -> str:
    """Return the graph in Graphviz's language."""
    lines = ["digraph deploy {", "  rankdir=LR;"]
    for node in sorted(graph):
        shape = "box" if node.kind == "service" else "ellipse"
        lines.append(f'  "{node}" [label="{node.name}", shape={shape}];')
    lines += [f'  "{before}" -> "{after}";' for before, after in sorted(graph.edges)]
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(graph: Graph) -> str:
    """Return the graph in Mermaid's language, which Markdown viewers draw."""
    number = {node: f"n{index}" for index, node in enumerate(sorted(graph))}
    lines = ["flowchart LR"]
    for node, key in number.items():
        box = f'["{node.name}"]' if node.kind == "service" else f'(["{node.name}"])'
        lines.append(f"  {key}{box}")
    lines += [f"  {number[before]} --> {number[after]}" for before, after in sorted(graph.edges)]
    return "\n".join(lines) + "\n"


def document(graph: Graph) -> dict[str, Any]:
    """Return the graph as JSON values."""
    return {
        "version": 1,
        "nodes": [{"kind": node.kind, "name": node.name} for node in sorted(graph)],
        "edges": [
            {
                "from": {"kind": before.kind, "name": before.name},
                "to": {"kind": after.kind, "name": after.name},
            }
            for before, after in sorted(graph.edges)
        ],
        "order": [[str(node) for node in layer] for layer in generations(graph)],
    }


def _needs(project: Project) -> Iterator[tuple[Node, Node]]:
    for name, image in sorted(project.images.items()):
        if image.build is not None and image.build.from_ is not None:
            yield Node("image", name), Node("image", image.build.from_)
    for name, service in sorted(project.services.items()):
        yield Node("service", name), Node("image", service.image)
        for dependency in service.depends_on:
            yield Node("service", name), Node("service", dependency.service)


def _cycle(graph: Graph) -> tuple[Node, ...]:
    """Return one cycle, rotated to begin with its first name, or nothing."""
    try:
        edges = nx.find_cycle(graph)
    except nx.NetworkXNoCycle:
        return ()
    # Edges lead from the needed to the needing; people read it the other way round.
    path = [after for _, after in reversed(edges)]
    start = path.index(min(path))
    return (*path[start:], *path[:start], path[start])


def _key(node: Node) -> str:
    return f"{node.kind}s.{node.name}"
