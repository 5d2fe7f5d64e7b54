"""Whole specs: good ones load, bad ones report everything at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.golden import check_golden
from support.specs import load, problems, service

from orchestrator.errors import SpecError
from orchestrator.spec.loader import load_spec, parse_spec

HERE = Path(__file__).parent
GOOD = sorted((HERE / "good").glob("*.yaml"))
BAD = sorted((HERE / "bad").glob("*.yaml"))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_good_specs_load(path):
    """Every example is valid and has no digest of chance."""
    first, second = load_spec([path], environ={}), load_spec([path], environ={"UNUSED": "x"})
    assert first == second
    assert len(first.digest) == 64
    assert first.directory == path.parent


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_specs_say_why(path):
    """Every problem of a bad spec is reported, in file order, with its place."""
    with pytest.raises(SpecError) as caught:
        parse_spec([(path.read_text(), path.name)], environ={}, directory=HERE)
    check_golden(path.with_suffix(".txt"), map(str, caught.value.problems))


def test_digest_follows_the_meaning():
    """The order of keys and comments do not matter; values and variables do."""
    one = load("project: p\nimages: {a: {build: x}, b: {build: y}}\n")
    same = load("# hello\nimages: {b: {build: y}, a: {build: x}}\nproject: p\nx-any: 1\n")
    other = load("project: p\nimages: {a: {build: x}, b: {build: $V}}\n", V="z")
    assert one.digest == same.digest != other.digest


def test_problems_in_file_order():
    """Problems of several files come by precedence, then line."""
    found = problems("project: p\nservices: {b: {image: x}}\n", "project: P\nservices: {a: {image: y}}\n")
    assert [each.split(" ")[0] for each in found] == ["0.yaml:2:23:", "1.yaml:1:10:", "1.yaml:2:23:"]


def test_one_problem_for_one_place():
    """What could not be read is not complained about again when it is validated."""
    (problem,) = problems(service("replicas: '${NOPE}'"))
    assert "NOPE is not set" in problem


def test_missing_file_and_encoding(tmp_path):
    """A file that cannot be read is a problem of the spec."""
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"a: 1\nb: \xff\n")
    for path, message in (
        (tmp_path / "no.yaml", "no such file"),
        (tmp_path, "is a directory"),
        (bad, "UTF-8"),
    ):
        with pytest.raises(SpecError) as caught:
            load_spec([path], environ={})
        assert message in str(caught.value.problems[0])
    assert caught.value.problems[0].line == 2


def test_byte_order_mark_is_ignored(tmp_path):
    """Editors on other systems add one."""
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"\xef\xbb\xbfproject: p\n")
    assert load_spec([path], environ={}).project.project == "p"


def test_unpinned_image_is_a_warning():
    """A tag alone can move; it is said, with the place, and allowed."""
    (warning,) = load("project: p\nimages: {a: redis:7}\n").warnings
    assert str(warning).startswith("0.yaml:2:13: images.a.image: redis:7 has no digest")


def test_problem_for_later_stages():
    """A later stage can point into the file."""
    problem = load(service("hosts: [web]")).problem(
        ("services", "a", "hosts", 0), "no room", hint="add a host"
    )
    assert str(problem) == "0.yaml:4:26: services.a.hosts[0]: no room (add a host)"


def test_two_thousand_services():
    """A large spec loads in about half a second; the bound is generous because machines differ."""
    text = ["project: p\nimages: {a: {build: x}}\nservices:\n"]
    text += [
        f"  s{i}:\n    image: a\n    hosts: [web]\n    environment: {{A: b, C: 1}}\n    ports: ['80:80']\n"
        f"    healthcheck: {{http: /h, port: 80}}\n    depends_on: [{f's{i - 1}' if i else ''}]\n"
        for i in range(2000)
    ]
    started = time.process_time()
    assert len(load("".join(text)).project.services) == 2000
    assert time.process_time() - started < 5
