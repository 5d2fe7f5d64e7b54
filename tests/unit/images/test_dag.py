"""Images of a spec: order, addresses, and what a change rebuilds."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import RequestError
from orchestrator.images.dag import artifacts, order, recipes, resolve
from orchestrator.spec.model import Image


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Base, java on it, tomcat on java, and redis apart."""
    for name, parent in {"base": "scratch", "java": "base", "tomcat": "java", "redis": "scratch"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(f"FROM {parent}\nCOPY file /\n")
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def images(**froms: str | None) -> dict[str, Image]:
    """Return images of the spec by name, with their `from:`."""
    return {
        name: Image.model_validate({"build": {"context": name, **({"from": above} if above else {})}})
        for name, above in froms.items()
    }


SPEC = images(tomcat="java", redis=None, java="base", base=None)


def builds(directory: Path) -> dict[str, str]:
    """Return the build digests by name."""
    return {artifact.name: artifact.build for artifact in resolve(SPEC, directory, {})}


def test_a_change_rebuilds_only_what_stands_on_it(chain: Path) -> None:
    """Above and beside nothing changes."""
    before = builds(chain)
    (chain / "java" / "file").write_text("changed")
    after = builds(chain)
    assert {name for name in before if before[name] != after[name]} == {"java", "tomcat"}


def test_parents_come_first_and_artifacts_are_sorted(chain: Path) -> None:
    """Order of the spec is irrelevant."""
    found = recipes(SPEC, chain)
    assert [recipe.name for recipe in found] == ["base", "java", "redis", "tomcat"]
    assert found[3].parents == ("java",)
    assert artifacts(found, {}) == resolve(dict(reversed(SPEC.items())), chain, {})


def test_from_may_be_left_out(chain: Path) -> None:
    """A Dockerfile that names an image of the spec is edge enough."""
    assert builds(chain) == {
        artifact.name: artifact.build
        for artifact in resolve(images(base=None, java=None, tomcat=None, redis=None), chain, {})
    }


def test_known_ids_are_filled_in(chain: Path) -> None:
    """By build digest, or by reference for pulled images."""
    spec = {**SPEC, "cache": Image.model_validate("redis:7")}
    base = builds(chain)["base"]
    found = {item.name: item.id for item in resolve(spec, chain, {base: "sha256:1", "redis:7": "sha256:2"})}
    assert found == {"base": "sha256:1", "java": "", "tomcat": "", "redis": "", "cache": "sha256:2"}


def test_an_unused_from_is_an_error(chain: Path) -> None:
    """It would silently do nothing."""
    (chain / "java" / "Dockerfile").write_text("FROM debian\n")
    with pytest.raises(RequestError, match="no FROM base"):
        recipes(SPEC, chain)


def test_a_circle_names_its_path(chain: Path) -> None:
    """So that it can be found."""
    (chain / "base" / "Dockerfile").write_text("FROM tomcat\n")
    with pytest.raises(RequestError, match="base -> java -> tomcat -> base"):
        recipes(SPEC, chain)


def test_problems_of_a_context_name_the_image(chain: Path) -> None:
    """The user thinks in images."""
    (chain / "redis" / "Dockerfile").unlink()
    with pytest.raises(RequestError, match="image redis: cannot find"):
        recipes(SPEC, chain)


@given(st.dictionaries(st.sampled_from("abcdef"), st.sets(st.sampled_from("abcdef"), max_size=3)))
def test_order_is_topological_or_a_circle(edges: dict[str, set[str]]) -> None:
    """Parents always precede children."""
    parents = {name: tuple(sorted(edges.get(name, set()))) for name in "abcdef"}
    graph = nx.DiGraph([(above, name) for name, them in parents.items() for above in them])
    if not nx.is_directed_acyclic_graph(graph):
        with pytest.raises(RequestError, match="circle"):
            order(parents)
        return
    found = order(parents)
    assert sorted(found) == list("abcdef")
    assert all(found.index(above) < found.index(name) for name in found for above in parents[name])
