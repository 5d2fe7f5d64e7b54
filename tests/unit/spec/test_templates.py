"""Jinja2 templates of configs."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.spec.templates import render

CONTEXT = {
    "host": {"name": "web-1", "labels": {"zone": "a"}},
    "slot": 0,
    "environment": {"A": "1"},
    "list": [1],
}


def test_render():
    """Blocks leave no empty lines, the final newline stays, values appear as they are."""
    loop = "{% for key, value in environment.items() %}\n{{ key }}={{ value }}\n{% endfor %}\n"
    text = f"name={{{{ host.name }}}}\n{loop}<&>\n"
    assert render(text, CONTEXT, file="t.j2") == "name=web-1\nA=1\n<&>\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a\n{{ nope }}",
            "t.j2:2: cannot render: 'nope' is undefined (a template knows environment, host,",
        ),
        ("{{ host.nmae }}", "t.j2:1: cannot render: 'dict object' has no attribute 'nmae'"),
        ("a\n{% if", "t.j2:2: cannot read the template:"),
        ("a\nb\n{{ 1 / 0 }}", "t.j2:3: cannot render: ZeroDivisionError: division by zero"),
        ("{{ ''.__class__.__mro__ }}", "the sandbox forbids it"),
        ("{% set x = list.append(2) %}", "the sandbox forbids it"),
        ("{{ 'x' * 10 ** 8 }}", "the sandbox forbids it: the result of * would be too large"),
        ("{{ 2 ** 100000000 }}", "the sandbox forbids it: the result of ** would be too large"),
        ("{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}", "t.j2: the result is larger than"),
        ("{% include 'other' %}", "no loader"),
        ("{{ [1, 2] | random }}", "No filter named 'random'"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
        ("{{ 1 + 'a' }}", "cannot render: TypeError"),
    ],
)
def test_errors(text, expected):
    """What fails says where; nothing escapes the sandbox, hangs, or depends on chance."""
    with pytest.raises(SpecError) as caught:
        render(text, CONTEXT, file="t.j2")
    assert expected in str(caught.value.problems[0])


def test_jinja2_is_imported_when_needed():
    """Commands that render nothing do not pay for it."""
    code = "import sys, orchestrator.spec.templates; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.text(alphabet="{}%| ax.()[]'\"+-*/~\n1", max_size=30))
def test_never_anything_but_spec_error(text):
    """Arbitrary templates render or raise a SpecError."""
    with contextlib.suppress(SpecError):
        render(text, {"a": 1, "x": "y"}, file="t")
