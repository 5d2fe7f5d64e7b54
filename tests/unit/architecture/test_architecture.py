"""The architecture holds: imports run one way, modules stay small, the agent stays portable."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "orchestrator"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 330
"""About 300: a module that outgrows it has two purposes."""

VOCABULARY = {"orchestrator/protocol/messages.py": 700, "orchestrator/planning/types.py": 500}
"""Lists of plain declarations, where one file is easier to read than several."""

LAYERS_WITH_STDLIB_ONLY = ("protocol", "agent")


def relative(path: Path) -> str:
    """Return the path as people write it."""
    return path.relative_to(PACKAGE.parent).as_posix()


def imports_of(path: Path) -> set[str]:
    """Return the absolute names of the modules a file imports, wherever in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}: relative import"
            names.add(node.module or "")
    return names


def test_the_import_contract_is_kept() -> None:
    """import-linter finds no import against the layers of pyproject.toml."""
    command = [
        sys.executable,
        "-c",
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())",
    ]
    done = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_a_module_is_small_and_says_what_it_owns(path: Path) -> None:
    """Every module has a docstring and stays near 300 lines."""
    text = path.read_text()
    limit = VOCABULARY.get(relative(path), MAX_LINES)
    assert len(text.splitlines()) <= limit, f"{relative(path)} outgrew {limit} lines"
    assert ast.get_docstring(ast.parse(text)), f"{relative(path)} has no docstring"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.relative_to(PACKAGE).parts[0] in LAYERS_WITH_STDLIB_ONLY],
    ids=relative,
)
def test_what_runs_on_hosts_needs_the_standard_library_alone(path: Path) -> None:
    """protocol/ and agent/ import nothing but each other and the standard library."""
    for name in imports_of(path):
        top = name.split(".")[0]
        ours = name.startswith(("orchestrator.protocol", "orchestrator.agent"))
        assert ours or top in sys.stdlib_module_names, f"{relative(path)} imports {name}"


def test_only_report_prints() -> None:
    """print() and sys.stdout appear in report/, the command line and the lab's own programs alone."""
    allowed = {"report", "cli.py", "cli", "lab", "agent"}
    for path in MODULES:
        if path.relative_to(PACKAGE).parts[0] in allowed:
            continue
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        ]
        assert not calls, f"{relative(path)}:{calls[0].lineno} prints"
