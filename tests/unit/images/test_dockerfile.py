"""Finding and replacing the images a Dockerfile stands on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.images.dockerfile import parse


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM base", ("base",)),
        ("from base as build\nFROM build\n", ("base",)),
        ("FROM --platform=linux/amd64 base AS x\nFROM other\nCOPY --from=x /a /a\n", ("base", "other")),
        ("FROM base\nCOPY --from=0 /a /a\nCOPY --chown=1 --from=tools /a /a\n", ("base", "tools")),
        ("ARG IMAGE=base\nFROM ${IMAGE}\n", ("base",)),
        ("ARG IMAGE\nFROM ${IMAGE:-base}\n", ("base",)),
        ('ARG TAG="12"\nARG IMAGE=debian:$TAG\nFROM $IMAGE\n', ("debian:12",)),
        ("FROM scratch\nCOPY x /\n", ()),
        ("# a comment\n\nFROM \\\n  # inside\n  base \\\n  AS x\n", ("base",)),
        ("# escape=`\nFROM `\n  base\n", ("base",)),
        ("FROM base\nRUN <<EOF\nFROM other\nEOF\nFROM last\n", ("base", "last")),
        ("FROM base\nCOPY <<-'X' /a\n\tFROM other\n\tX\nFROM last\n", ("base", "last")),
        ("FROM base\nRUN --mount=type=bind,from=tools,target=/t true\n", ("base", "tools")),
        ("FROM base\nRUN echo \\\nFROM other\n", ("base",)),
        ("FROM Build AS b\nFROM B\n", ("Build",)),
        ("", ()),
    ],
)  # fmt: skip
def test_images_outside_of_the_file_are_found(text: str, images: tuple[str, ...]) -> None:
    """Stages, arguments, continued lines, comments, here-documents, directives."""
    assert parse(text).images == images


def test_build_arguments_win_over_defaults() -> None:
    """As they do for the builder."""
    assert parse("ARG IMAGE=base\nFROM $IMAGE\n", {"IMAGE": "java"}).images == ("java",)


def test_references_are_replaced_in_place() -> None:
    """Everything else stays byte for byte."""
    text = "# syntax=x\nARG B=base\nFROM --platform=$P  ${B}   AS one\nRUN base\nCOPY --from=tools a b\n"
    assert parse(text).rewritten({"base": "deploy.local/p/base:1", "tools": "t:2"}) == (
        "# syntax=x\nARG B=base\nFROM --platform=$P  deploy.local/p/base:1   AS one\nRUN base\n"
        "COPY --from=t:2 a b\n"
    )


def test_lines_of_instructions_are_counted() -> None:
    """So that a step number of the builder leads to a line."""
    assert parse("# c\nARG A=1\n\nFROM x\nRUN a \\\n b\nRUN c\n").lines == (2, 4, 5, 7)


@given(st.text(alphabet="FROMfrom ARGCOPY=-$\\{}:\n#<`EOF\"'\tb", max_size=80))
def test_any_text_is_read_and_rewriting_with_nothing_changes_nothing(text: str) -> None:
    """A Dockerfile is never rejected here."""
    parsed = parse(text)
    assert parsed.rewritten({}) == text
    assert parsed.rewritten(dict.fromkeys(parsed.images, "X")).count("X") >= len(parsed.images)
