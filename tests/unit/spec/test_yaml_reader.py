"""Reading YAML with positions."""

from __future__ import annotations

import builtins
import sys

import pytest

from orchestrator.spec.positions import Positions
from orchestrator.spec.yaml_reader import MAX_DEPTH, read_yaml


@pytest.fixture(params=["fast", "exact"])
def read(request, monkeypatch):
    """Read with libyaml where it is there, and with ruamel.yaml's own parser."""
    if request.param == "fast":
        pytest.importorskip("_ruamel_yaml")
    else:
        monkeypatch.setitem(sys.modules, "_ruamel_yaml", None)

    def call(text, **options):
        data, problems = read_yaml(text, "f.yaml", **options)
        return data, [str(problem) for problem in problems]

    return call


def test_scalars(read):
    """Null, booleans and exact integers have their types; everything else keeps its text."""
    text = (
        "[1, -7, 0, 007, 1.10, 0x1F, 0o17, 1e3, -0, yes, on, true, False, null, ~, '1', \"true\", .inf, 1_0]"
    )
    data, problems = read(f"a: {text}\nb:\n")
    assert not problems
    assert data["a"] == [
        1, -7, 0, "007", "1.10", "0x1F", "0o17", "1e3", "-0", "yes", "on",
        True, False, None, None, "1", "true", ".inf", "1_0",
    ]  # fmt: skip
    assert data["b"] is None


def test_positions(read):
    """A scalar is where its value starts, a map or list where its key stands, an item where it starts."""
    data, _ = read("a:\n  b: [x,\n    y]\n  'c d': !!str 1\n")
    positions = Positions(data, "f.yaml")
    places = {
        ("a",): "f.yaml:1:1",
        ("a", "b"): "f.yaml:2:3",
        ("a", "b", 1): "f.yaml:3:5",
        ("a", "c d"): "f.yaml:4:10",
        ("a", "nope", 3): "f.yaml:1:1",
        (): "f.yaml:1:1",
    }
    assert {path: str(positions.at(path)) for path in places} == places
    assert str(positions.at(("a", "c d"), key=True)) == "f.yaml:4:3"


def test_anchors_and_merge_keys(read):
    """Aliases give the anchored value; a merge key gives what is not there yet, the first source first."""
    data, problems = read(
        "x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 9}\nw: {<<: *y}\nv: *x\nq: {'<<': 1}\n"
    )
    assert not problems
    assert data["z"] == {"a": 9, "b": 2, "c": 4}
    assert data["w"] == {"b": 3, "c": 4}
    assert data["v"] == {"a": 1, "b": 2}
    assert data["q"] == {"<<": 1}
    assert str(Positions(data).at(("z", "c"))) == "f.yaml:2:17"


def test_billion_laughs(read):
    """Aliases that expand without bound are refused, quickly."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    data, problems = read("\n".join(lines))
    assert not data
    assert "aliases expand to more than" in problems[0]


def test_deep_chain_of_aliases(read):
    """Aliases count for the depth, so that nothing later recurses too deep."""
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, MAX_DEPTH + 5)]
    assert "aliases expand" in read("\n".join(lines))[1][0]


def test_deep_nesting(read):
    """Nesting is bounded."""
    assert f"nested deeper than {MAX_DEPTH} levels" in read("a: " + "[" * 2000 + "]" * 2000)[1][0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: a: the key 'a' is given twice, first at f.yaml:1:1"),
        ("a: *b\n", "f.yaml:1:4: a: no anchor &b stands complete before this alias"),
        ("a: &b [*b]\n", "f.yaml:1:8: a[0]: no anchor &b stands complete before this alias"),
        ("? [a]\n: b\n", "f.yaml:1:3: expected a plain key, got a list, a map or an alias of one"),
        ("a: !foo b\n", "f.yaml:1:4: a: the tag !foo is not known here (only !reset and !override are)"),
        ("- a\n", "f.yaml:1:1: expected a map of keys at the top level"),
        ("a: 1\n---\nb: 1\n", "f.yaml:2:1: expected one document, got a second one after '---'"),
        ("a: {<<: [1]}\n", "f.yaml:1:9: a: expected a map, or a list of maps, to merge by <<"),
    ],
)
def test_problems(read, text, expected):
    """What is wrong has its place, key path and reason."""
    assert read(text)[1] == [expected]


@pytest.mark.parametrize(
    "text", ["a: [", "a: 'b", "\ta: b", "a: b: c", "%YAML 3.0\n---\na", "a: \x01", "a: \ufffe", "{a"]
)
def test_syntax_errors(read, text):
    """A syntax error is one problem with a line."""
    (problem,) = read(text)[1]
    assert problem.startswith("f.yaml:")
    assert "this is not YAML" in problem


def test_flow_text_that_libyaml_refuses(read):
    """YAML 1.2 allows a colon in plain text in flow style."""
    assert read("a: [b:/c, redis:7]\n") == ({"a": ["b:/c", "redis:7"]}, [])


def test_empty_documents(read):
    """Nothing, comments and a null are an empty map."""
    for text in ("", "# nothing\n", "---\n...\n", "~\n"):
        assert read(text) == ({}, [])


def test_interpolation_problem_has_a_place(read):
    """What an interpolation refuses is a problem at the scalar."""

    def refuse(text):
        raise ValueError(f"no {text}")

    assert read("a:\n  - $x\n", interpolate=refuse)[1] == ["f.yaml:2:5: a[0]: no $x"]


def test_opaque_tags_keep_their_text(read):
    """A tag named opaque is taken as text."""
    assert read("a: !vault |\n  12\n", opaque_tags=frozenset({"!vault"})) == ({"a": "12\n"}, [])


def test_surrogates_are_refused(monkeypatch):
    """Half a surrogate pair is a problem, not a crash when it is encoded later."""
    monkeypatch.setitem(sys.modules, "_ruamel_yaml", None)
    assert "surrogate" in str(read_yaml('a: "\\ud800"', "f")[1][0])


def test_works_without_the_fast_parser(monkeypatch):
    """Nothing but speed depends on libyaml."""
    real = builtins.__import__

    def refuse(name, *rest):
        if name == "_ruamel_yaml":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert read_yaml("a: 1", "f") == ({"a": 1}, ())
