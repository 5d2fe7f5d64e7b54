"""The documents tell the truth as far as a machine can see: links, commands, messages, generated text."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import typer

from orchestrator.cli.app import app
from orchestrator.spec.reference import reference_markdown

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "playbooks").glob("*.md")])
TEXTS = sorted([*DOCUMENTS, *(ROOT / "playbooks").glob("*.yaml"), ROOT / "inventory.example.yaml"])

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_FOREIGN = re.compile(
    r"/(?:work|root|home|tmp)/\w|\b(?:docker|ghcr|gcr|quay|pypi|npmjs|debian)\.(?:io/|org|com)|registry\.\w+\.\w+"
)
"""Paths of whoever wrote it, and hosts that serve packages or images."""


def named(path: Path) -> str:
    """Return the path as people write it."""
    return path.relative_to(ROOT).as_posix()


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as the usual renderers make them."""
    text = _FENCE.sub("", document.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Yield every ``deploy ...`` command line, and whether it stands in a block, not in a sentence."""
    for language, block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            bare = line.removeprefix("$ ")
            if bare.startswith("deploy ") and (language == "sh" or line.startswith("$ ")):
                yield bare, True
    for code in _CODE.findall(_FENCE.sub("", text)):
        if code.startswith("deploy "):
            yield code, False


def parse(line: str) -> None:
    """Have the program's own parser read a command line, without running anything."""
    words = shlex.split(re.split(r" [|>#] |\s+#", line)[0])[1:]
    command, path = typer.main.get_command(app), ["deploy"]
    while hasattr(command, "commands") and words:
        assert words[0] in command.commands, f"there is no command {' '.join([*path, words[0]])}"
        path.append(words.pop(0))
        command = command.commands[path[-1]]
    if not hasattr(command, "commands"):
        command.make_context(" ".join(path), words)


LINES = sorted(
    {
        (named(path), line, whole)
        for path in DOCUMENTS
        for line, whole in commands(path.read_text())
        if "..." not in line and "COMMAND" not in line  # a synopsis
    }
)


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    """Relative links name files that are there, and headings that these have."""
    for link in _LINK.findall(_FENCE.sub("", document.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link}: there is no such file"
        assert target.is_relative_to(ROOT), f"{link}: leads out of the repository"
        assert not anchor or anchor in anchors(target), f"{link}: there is no such heading"


@pytest.mark.parametrize(
    ("line", "whole"), [each[1:] for each in LINES], ids=[f"{path}: {line}" for path, line, _ in LINES]
)
def test_every_command_shown_can_be_typed(line: str, whole: bool) -> None:
    """The program's own parser takes it; within a sentence arguments may be left out."""
    try:
        parse(line)
    except Exception as error:
        if whole or type(error).__name__ not in ("MissingParameter", "BadOptionUsage"):
            raise


@pytest.mark.parametrize("text", TEXTS, ids=named)
def test_nothing_of_one_machine(text: Path) -> None:
    """No path of whoever wrote it, and no host that serves packages or images."""
    found = _FOREIGN.search(text.read_text())
    assert found is None, f"{found and found.group()}"


def test_every_document_is_linked_from_the_readme_or_its_index() -> None:
    """Nothing is written that nobody finds."""
    indexes = [ROOT / "README.md", ROOT / "docs" / "decisions" / "README.md"]
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for index in indexes
        for link in _LINK.findall(index.read_text())
    }
    assert [named(path) for path in DOCUMENTS if path not in linked and path not in indexes[:1]] == []


def test_the_readme_is_short() -> None:
    """A stranger reads it to the end."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_readme_quotes_the_example() -> None:
    """Its excerpt of the spec is the example's own text."""
    spec = (ROOT / "docs" / "example" / "spec.yaml").read_text().splitlines()
    (excerpt,) = [block for kind, block in _FENCE.findall((ROOT / "README.md").read_text()) if kind == "yaml"]
    assert [line for line in excerpt.splitlines() if line not in spec] == []


def test_targets_of_make_exist() -> None:
    """Every `make X` of a document is in the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z]+)", document.read_text(), re.MULTILINE):
            assert target in targets, f"{named(document)}: make {target}"


def test_messages_of_troubleshooting_are_the_programs_own() -> None:
    """Every message it explains is found in the sources, but for the words in capitals."""
    sources = " ".join(path.read_text() for path in sorted((ROOT / "orchestrator").rglob("*.py")))
    text = (ROOT / "docs" / "troubleshooting.md").read_text().partition("## No error")[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 30
    for row in rows:
        for message in _CODE.findall(row.split(" | ")[0]):
            for piece in re.split(r"\b[A-Z][A-Z:]*\b|\.\.\.", message):
                words = piece.strip(" :,;")
                assert words in sources, f"{message}: {words!r} is said nowhere"


def load_generator() -> ModuleType:
    """Import ``docs/generate.py``."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_references_are_current() -> None:
    """``make docs`` would write what is there already."""
    again = "it is out of date: make docs"
    assert (ROOT / "docs" / "cli.md").read_text() == load_generator().cli_markdown(), again
    assert (ROOT / "docs" / "spec-reference.md").read_text() == reference_markdown(), again


def test_every_command_has_an_example() -> None:
    """Its help ends with one, and the parser takes it."""
    examples = re.findall(r"^Example: `(.+)`$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert len(examples) == (ROOT / "docs" / "cli.md").read_text().count("\n## ")
    for example in examples:
        parse(example)
