"""Compose's variable interpolation."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.spec.interpolation import interpolate

ENVIRON = {"SET": "value", "EMPTY": "", "OTHER": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain }", "plain }"),
        ("$SET-${SET}", "value-value"),
        ("$$SET $${SET}", "$SET ${SET}"),
        ("${SET:-d}${SET-d}", "valuevalue"),
        ("${EMPTY:-d}|${EMPTY-d}", "d|"),
        ("${NOPE:-d}|${NOPE-d}|${NOPE:-}", "d|d|"),
        ("${SET:+yes}|${EMPTY:+yes}|${EMPTY+yes}|${NOPE+yes}", "yes||yes|"),
        ("${NOPE:-${OTHER}/$SET}", "x/value"),
        ("${NOPE:-${NADA:-deep}}", "deep"),
        ("${SET:?needed}", "value"),
        ("${SET:-${NOPE}}", "value"),
        ("${SET:-${NOPE:?unused}}", "value"),
        ("${NOPE:-http://a:b@c/?d=e}", "http://a:b@c/?d=e"),
    ],
)
def test_forms(text, expected):
    """Every form of Compose's gives what Compose gives; what is not used is not evaluated."""
    assert interpolate(text, ENVIRON) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("$NOPE", "the variable NOPE is not set"),
        ("${OTHERS}", "did you mean OTHER?"),
        ("${NOPE:?give it}", "the variable NOPE is not set: give it"),
        ("${EMPTY:?}", "the variable EMPTY is not set: it is required"),
        ("a $ b", r"write \$\$ for a dollar sign"),
        ("$(id)", r"write \$\$ for a dollar sign"),
        ("${}", "expected the name of a variable"),
        ("${SET", "expected a }"),
        ("${SET!x}", "expected a }"),
        ("${A:-" * 20 + "}" * 20, "nested deeper"),
    ],
)
def test_errors(text, message):
    """What cannot be replaced says why."""
    with pytest.raises(ValueError, match=message):
        interpolate(text, ENVIRON)


@given(st.text(alphabet="${}:-?+AB \n", max_size=40))
def test_never_anything_but_value_error(text):
    """Arbitrary text gives a result or a ValueError."""
    with contextlib.suppress(ValueError):
        interpolate(text, {"A": "1"})


@given(st.text())
def test_doubled_dollars_are_dollars(text):
    """Escaping every dollar sign gives the text back."""
    assert interpolate(text.replace("$", "$$"), {}) == text
