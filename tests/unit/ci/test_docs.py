"""docs/ci.md shows what the templates have, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from support.pipelines import read_yaml

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
ACTION = read_yaml(ROOT / ".github" / "actions" / "deploy" / "action.yml")
GITLAB = read_yaml(ROOT / "docs" / "ci" / "gitlab.yml")
WORKFLOW, INCLUDE = (
    YAML(typ="safe", pure=True).load(text)
    for text in re.findall(r"^```yaml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
)


@pytest.mark.parametrize("name", WORKFLOW["jobs"])
def test_the_workflow_uses_inputs_and_outputs_that_there_are(name):
    """And passes every value of an output by the environment or an input."""
    job = WORKFLOW["jobs"][name]
    for step in job["steps"]:
        if step.get("uses", "").startswith("OWNER/deploy/"):
            assert step["with"].keys() <= ACTION["inputs"].keys()
            required = {key for key, item in ACTION["inputs"].items() if item.get("required")}
            assert required <= step["with"].keys()
        assert "${{" not in step.get("run", "")
    for value in job.get("outputs", {}).values():
        assert re.search(r"steps\.deploy\.outputs\.([a-z-]+)", value)[1] in ACTION["outputs"]
    needed = job.get("needs", [])
    for need in [needed] if isinstance(needed, str) else needed:
        assert need in WORKFLOW["jobs"]


def test_every_output_is_explained():
    """In the table of outputs."""
    assert [name for name in ACTION["outputs"] if f"`{name}`" not in TEXT] == []


def test_every_variable_of_the_template_is_explained():
    """In the table of variables, or in the template's own head."""
    head = (ROOT / "docs" / "ci" / "gitlab.yml").read_text(encoding="utf-8").split("variables:")[0]
    used = set(re.findall(r"DEPLOY_[A-Z_]+", str(GITLAB)))
    assert {name for name in used if name not in TEXT and name not in head} <= {"DEPLOY_COMMAND"}


def test_the_included_pipeline_fits_the_template():
    """What the example names is a job, a stage or a variable of the template."""
    assert INCLUDE["smoke"]["stage"] in GITLAB["stages"]
    assert "promote" in GITLAB
    assert INCLUDE["variables"].keys() <= GITLAB["variables"].keys()
    assert INCLUDE["include"][0]["file"] == "docs/ci/gitlab.yml"
