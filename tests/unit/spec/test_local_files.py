"""Files that a spec names."""

from __future__ import annotations

from pathlib import Path

from orchestrator.spec.loader import load_spec
from orchestrator.spec.local_files import check_files

SPEC = """\
project: p
images:
  good: { build: good }
  gone: { build: { context: gone } }
  bare: { build: { context: bare, dockerfile: Other } }
  pulled: redis:7
services:
  a:
    image: good
    configs:
      - { template: a.j2, target: /a }
      - { file: gone.conf, target: /b }
      - { content: x, target: /c }
    secrets: [{ name: later, from: { file: not-yet } }]
"""


def test_missing_files_have_positions(tmp_path: Path):
    """What is missing is said where it is named; secrets may come later."""
    (tmp_path / "good").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "good" / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "a.j2").write_text("x")
    (tmp_path / "spec.yaml").write_text(SPEC)
    found = check_files(load_spec([tmp_path / "spec.yaml"], environ={}))
    assert [(each.line, each.path, each.message) for each in found] == [
        (4, "images.gone.build.context", f"there is no folder {tmp_path}/gone"),
        (5, "images.bare.build.dockerfile", f"there is no file {tmp_path}/bare/Other"),
        (12, "services.a.configs[1].file", f"there is no file {tmp_path}/gone.conf"),
    ]
    assert found[0].hint == f"paths start at the first spec file's folder; {tmp_path} exists"


def test_the_example_of_the_documentation_is_complete():
    """Every file that ``docs/example`` names is there."""
    spec = Path(__file__).parents[3] / "docs" / "example" / "spec.yaml"
    assert check_files(load_spec([spec], environ={})) == ()
