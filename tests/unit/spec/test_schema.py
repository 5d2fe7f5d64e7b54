"""The JSON Schema and the reference are one with the model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.json_schema import errors
from support.specs import load

from orchestrator.spec.reference import reference_markdown
from orchestrator.spec.schema import json_schema
from orchestrator.spec.yaml_data import core_scalar
from orchestrator.spec.yaml_reader import read_yaml

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
DOCS = sorted(ROOT.glob("docs/**/*.md")) + [path for path in [ROOT / "README.md"] if path.exists()]
SPECS = [
    (f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}", match[1])
    for path in DOCS
    for text in [path.read_text()]
    for match in re.finditer(r"```yaml\n(project:.*?)```", text, re.DOTALL)
] + [
    (str(path.relative_to(ROOT)), path.read_text())
    for path in [*(HERE / "good").glob("*.yaml"), *ROOT.glob("docs/example/spec*.yaml")]
]
SCHEMA = json_schema()


def as_an_editor(text):
    """Return what a YAML 1.2 library makes of a plain scalar: floats too."""
    value = core_scalar(text)
    try:
        return float(value) if isinstance(value, str) and "." in value else value
    except ValueError:
        return value


@pytest.mark.parametrize("text", [text for _, text in SPECS], ids=[name for name, _ in SPECS])
def test_every_example_is_valid(text):
    """Every spec in the documentation and the tests loads, and editors agree."""
    variables = dict.fromkeys(re.findall(r"\$\{?([A-Z_]+)", text), "1")
    load(text, **variables)
    data, problems = read_yaml(text, "example", scalar=as_an_editor)
    assert not problems
    assert errors(SCHEMA, data) == []


@pytest.mark.parametrize(
    "text",
    [
        "projct: p",
        "project: A",
        "services: {a: {}}",
        "services: {a: {image: a, replicas: x}}",
        "services: {a: {image: a, ports: [[]]}}",
        "services: {a: {image: a, stop_grace_period: soon}}",
        "images: {a: {build: {}}}",
    ],
)
def test_schema_refuses(text):
    """The schema is of use: editors see mistakes."""
    assert errors(SCHEMA, read_yaml(text, "x")[0])


def test_variables_are_allowed_anywhere():
    """A number, a choice or a pattern may come from a variable."""
    text = "project: ${P}\nservices: {a: {image: '${I}', replicas: '${R:-2}', read_only: '${B}'}}"
    assert errors(SCHEMA, read_yaml(text, "x")[0]) == []


def test_reference_is_current():
    """``docs/spec-reference.md`` is what the model generates."""
    path = ROOT / "docs" / "spec-reference.md"
    assert path.read_text(encoding="utf-8") == reference_markdown(), (
        "write it anew: python -c 'from orchestrator.spec import reference;"
        ' print(reference.reference_markdown(), end="")\' > docs/spec-reference.md'
    )
