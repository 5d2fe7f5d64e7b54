"""Merging of files and defaults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.specs import load, service

from orchestrator.spec.merge import merge, without_resets
from orchestrator.spec.yaml_data import RESET, Map
from orchestrator.spec.yaml_reader import read_yaml


def merged(*texts):
    """Merge YAML texts."""
    result = Map()
    for text in texts:
        data, problems = read_yaml(text, "f")
        assert not problems
        result = merge(result, data)
    return without_resets(result)


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ("a: {b: 1, c: 2}", "a: {c: 3, d: 4}", {"a": {"b": 1, "c": 3, "d": 4}}),
        ("a: [1, 2]", "a: [3]", {"a": [3]}),
        ("a: {b: 1}", "a: !override {c: 2}", {"a": {"c": 2}}),
        ("a: {b: 1, c: 2}", "a: {b: !reset null}", {"a": {"c": 2}}),
        ("a: 1", "b: !reset []", {"a": 1}),
        ("environment: [A=1, B=2]", "environment: {B: 3}", {"environment": {"A": "1", "B": 3}}),
        ("labels: [A=1]", "labels: [A=2, B=3]", {"labels": {"A": "2", "B": "3"}}),
        (
            "services: {a: {replicas: 2}}",
            "services: {a: {per_host: 1}}",
            {"services": {"a": {"per_host": 1}}},
        ),
        ("images: {a: {build: x}}", "images: {a: {image: y}}", {"images": {"a": {"image": "y"}}}),
        (
            "services: {a: {command: x, healthcheck: {http: /, port: 1, interval: 1s}}}",
            "services: {a: {healthcheck: {tcp: 2}}}",
            {"services": {"a": {"command": "x", "healthcheck": {"interval": "1s", "tcp": 2}}}},
        ),
    ],
)
def test_rules(base, over, expected):
    """Each documented rule of merging."""
    assert merged(base, over) == expected


def test_places_follow_the_values():
    """A value's position is in the file it came from."""
    loaded = load(service("replicas: 1, user: x"), "services: { a: { replicas: 2 } }\n")
    assert str(loaded.at(("services", "a", "replicas"))) == "1.yaml:1:28"
    assert str(loaded.at(("services", "a", "user"))) == "0.yaml:4:37"
    assert loaded.project.services["a"].replicas == 2


def test_defaults_are_weaker_than_services():
    """Defaults are merged into every service, displaced where keys exclude each other."""
    project = load(
        service("per_host: 2, environment: [B=2]"),
        "defaults: { replicas: 3, environment: { A: 1, B: 1 }, user: me }\nservices: { b: { image: a } }\n",
    ).project
    assert project.services["a"].per_host == 2
    assert project.services["a"].replicas is None
    assert project.services["a"].environment == (("A", "1"), ("B", "2"))
    assert project.services["b"].replicas == 3
    assert project.services["b"].user == "me"


def test_the_weaker_side_is_not_changed():
    """Merging makes a new map."""
    base, _ = read_yaml("a: {b: 1}", "f")
    merge(base, read_yaml("a: {c: 1}", "g")[0])
    assert base == {"a": {"b": 1}}


def _as_map(value):
    if not isinstance(value, dict):
        return value
    result = Map()
    for key, item in value.items():
        result[key] = _as_map(item)
        result.places[key] = ("f", 1, 1, 1, 1)
    return result


values = st.recursive(
    st.none() | st.integers(0, 3) | st.just(RESET),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
maps = st.dictionaries(st.sampled_from("abc"), values, max_size=3).map(_as_map)


@given(maps, maps, maps)
def test_associative(one, two, three):
    """Files may be merged in any grouping."""
    left, right = merge(merge(one, two), three), merge(one, merge(two, three))
    assert without_resets(left) == without_resets(right)


@given(maps)
def test_empty_is_neutral(one):
    """Nothing on top, or underneath, changes nothing."""
    assert merge(one, Map()) == one
    assert merge(Map(), one) == one
