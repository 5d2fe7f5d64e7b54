"""The dependency graph and its forms."""

from __future__ import annotations

import pytest
from support.planning import project

from orchestrator.errors import SpecError
from orchestrator.planning.graph import (
    Cycle,
    Node,
    affected,
    build,
    document,
    dot,
    generations,
    mermaid,
    tree,
)

CHAIN = {
    "images": {
        "base": {"build": "base"},
        "java": {"build": {"context": "java", "from": "base"}},
        "redis": {"image": "redis:7"},
        "spare": {"image": "spare:1"},
    }
}
SERVICES = {
    "cache": {"image": "redis"},
    "api": {"image": "java", "depends_on": ["cache"]},
    "front": {"image": "java", "depends_on": ["api"]},
}


def test_layers_hold_only_what_needs_earlier_layers() -> None:
    """Sorted within, so that the order of the spec is irrelevant."""
    layers = [[str(node) for node in layer] for layer in generations(build(project(SERVICES, **CHAIN)))]
    assert layers == [
        ["image base", "image redis", "image spare"],
        ["image java", "service cache"],
        ["service api"],
        ["service front"],
    ]


def test_a_changed_image_affects_all_above_it() -> None:
    """And nothing else."""
    graph = build(project(SERVICES, **CHAIN))
    assert [str(node) for node in affected(graph, Node("image", "java"))] == [
        "image java",
        "service api",
        "service front",
    ]


@pytest.mark.parametrize(
    ("services", "images", "path"),
    [
        ({"b": {"depends_on": ["a"]}, "a": {"depends_on": ["b"]}}, {}, "a -> b -> a"),
        ({"a": {"depends_on": ["a"]}}, {}, "a -> a"),
        (
            {},
            {
                "images": {
                    "x": {"build": {"context": "x", "from": "y"}},
                    "y": {"build": {"context": "y", "from": "x"}},
                }
            },
            "x -> y -> x",
        ),
    ],
)
def test_a_cycle_names_its_path(services: dict[str, object], images: dict[str, object], path: str) -> None:
    """As people read it: each needs the next."""
    with pytest.raises(Cycle) as caught:
        build(project(services, **images))
    assert path in caught.value.problems[0].message


def test_names_that_lead_nowhere_are_all_said() -> None:
    """With the key path of what names them."""
    spec = project({"api": {"image": "missing", "depends_on": ["nobody"]}})
    with pytest.raises(SpecError) as caught:
        build(spec)
    assert [str(problem) for problem in caught.value.problems] == [
        "services.api: there is no image called 'missing'",
        "services.api: there is no service called 'nobody'",
    ]


def test_the_tree_draws_everything_once() -> None:
    """What was drawn before is named again and marked."""
    assert "\n".join(tree(build(project(SERVICES, **CHAIN)))) == (
        "service front\n"
        "├─ image java\n"
        "│  └─ image base\n"
        "└─ service api\n"
        "   ├─ image java (above)\n"
        "   └─ service cache\n"
        "      └─ image redis\n"
        "image spare"
    )


def test_the_other_forms() -> None:
    """Graphviz, Mermaid and JSON name the same edges."""
    graph = build(project({"api": {"image": "a"}}, images={"a": {"image": "a:1"}}))
    assert dot(graph) == (
        "digraph deploy {\n"
        "  rankdir=LR;\n"
        '  "image a" [label="a", shape=ellipse];\n'
        '  "service api" [label="api", shape=box];\n'
        '  "image a" -> "service api";\n'
        "}\n"
    )
    assert mermaid(graph) == 'flowchart LR\n  n0(["a"])\n  n1["api"]\n  n0 --> n1\n'
    assert document(graph) == {
        "version": 1,
        "nodes": [{"kind": "image", "name": "a"}, {"kind": "service", "name": "api"}],
        "edges": [{"from": {"kind": "image", "name": "a"}, "to": {"kind": "service", "name": "api"}}],
        "order": [["image a"], ["service api"]],
    }
