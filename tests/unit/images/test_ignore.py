"""`.dockerignore` means what it means to Docker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.images.ignore import BadPatternError, parse


@pytest.mark.parametrize(
    ("text", "path", "excluded"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/README.md", False),
        ("**/*.md", "docs/deep/README.md", True),
        ("**/*.md", "README.md", True),
        ("docs", "docs/README.md", True),
        ("docs/", "docs/README.md", True),
        ("/docs", "docs", True),
        ("./docs", "docs", True),
        ("docs/**", "docs/a/b", True),
        ("docs/**", "docs", False),
        ("**", "anything/at/all", True),
        ("*\n!keep", "keep/inside", False),
        ("*\n!keep", "other", True),
        ("!keep\n*", "keep", True),
        ("docs\n!docs/keep.md", "docs/keep.md", False),
        ("docs\n!docs/keep.md\ndocs/keep*", "docs/keep.md", True),
        ("# comment\nx", "# comment", False),
        (" # not a comment", "# not a comment", True),
        ("temp?", "temp1", True),
        ("temp?", "temp", False),
        ("a[0-9]", "a5", True),
        ("a[^0-9]", "a5", False),
        ("a[^0-9]", "ax", True),
        ("\\!literal", "!literal", True),
        ("a.b", "axb", False),
        ("a+b", "a+b", True),
        ("foo/../bar", "bar", True),
        ("\ufeffx", "x", True),
        (".", "x", False),
        ("  spaced  ", "spaced", True),
        ("a**b", "a/x/b", True),
    ],
)
def test_patterns_decide_like_docker(text: str, path: str, excluded: bool) -> None:
    """Wildcards, order, comments, slashes and exceptions."""
    assert parse(text).excludes(path) is excluded


def test_a_lonely_exclamation_mark_is_an_error() -> None:
    """As in Docker, it names its line."""
    with pytest.raises(BadPatternError, match="line 2"):
        parse("x\n!\n")


@given(st.text(alphabet="ab/*?![]\\.# \n", max_size=30), st.text(alphabet="ab/.", min_size=1, max_size=12))
def test_any_text_either_parses_or_names_its_line(text: str, path: str) -> None:
    """No pattern makes the matcher fail later."""
    ignore, problem = None, ""
    try:
        ignore = parse(text)
    except BadPatternError as error:
        problem = str(error)
    assert ignore is not None or problem.startswith("line ")
    if ignore is None:
        return
    ignore.excludes(path.strip("/") or "a")
    ignore.may_hold("a")
