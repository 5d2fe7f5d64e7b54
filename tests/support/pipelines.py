"""Runs the shell steps of a composite GitHub Action and of a GitLab job on this machine.

Owns the little of both runners that the templates rely on: the files and variables of a step, expressions
that name a value, conditions of ``==``, ``!=``, ``&&`` and ``always()``. Anything else is an error here
rather than silently true.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

_EXPRESSION = re.compile(r"\$\{\{\s*([a-z_.-]+)\s*\}\}")
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""As GitHub's ``shell: bash``; GitLab's runner sets the same options."""


def read_yaml(path: Path) -> Any:
    """Return the values of a YAML file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


@dataclass
class Result:
    """What a job came to."""

    code: int = 0
    output: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    """Of the step ``run``, by GitHub; of the dotenv report, by GitLab."""
    summary: str = ""
    ran: list[str] = field(default_factory=list)
    """Names of the steps that ran."""


@dataclass
class Action:
    """A composite action and a runner for it."""

    path: Path
    """Of ``action.yml``."""
    temp: Path
    environ: Mapping[str, str]
    """Of the job."""
    event: str = "push"
    github: Mapping[str, str] = field(default_factory=dict)

    def run(self, **inputs: str) -> Result:
        """Run the action; a step that fails skips all but those with ``always()``."""
        document = read_yaml(self.path)
        values = {f"github.{key}": value for key, value in self.github.items()}
        values |= {"github.event_name": self.event, "github.action_path": str(self.path.parent)}
        given = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert given.keys() <= document["inputs"].keys(), "an input that the action does not have"
        for name, declared in document["inputs"].items():
            if declared.get("required"):
                assert name in given, f"{name} is required"
            values[f"inputs.{name}"] = given.get(name, _filled(str(declared.get("default", "")), values))
        result = Result()
        paths: list[str] = []
        for step in document["runs"]["steps"]:
            condition = step.get("if", "")
            if result.code and "always()" not in condition:
                continue
            if condition and not _holds(condition, values):
                continue
            result.ran.append(step["name"])
            outputs = self._step(step, values, paths, result)
            values |= {f"steps.{step.get('id', '')}.outputs.{key}": value for key, value in outputs.items()}
            if step.get("id") == "run":
                result.outputs = outputs
        return result

    def _step(
        self, step: Mapping[str, Any], values: Mapping[str, str], paths: list[str], result: Result
    ) -> dict[str, str]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "a value in the text of a script is an injection"
        files = {name: self.temp / name for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.write_text("")
        environ = {
            **self.environ,
            **{name: str(file) for name, file in files.items()},
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_ACTION_PATH": str(self.path.parent),
            "PATH": os.pathsep.join([*reversed(paths), self.environ["PATH"]]),
            **{key: _filled(str(value), values) for key, value in step.get("env", {}).items()},
        }
        folder = _filled(step.get("working-directory", "."), values)
        done = subprocess.run(
            [*SHELL, step["run"]],
            env=environ,
            cwd=self.temp / folder,
            capture_output=True,
            text=True,
            check=False,
        )
        result.output += done.stdout + done.stderr
        result.code = result.code or done.returncode
        result.summary += files["GITHUB_STEP_SUMMARY"].read_text()
        paths += files["GITHUB_PATH"].read_text().split("\n")[:-1]
        return dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Replace every expression; a value that nobody has set is empty, as the runner has it."""

    def value(found: re.Match[str]) -> str:
        assert found[1].startswith(("inputs.", "steps.", "github.")), found[1]
        return values.get(found[1], "")

    filled = _EXPRESSION.sub(value, text)
    assert "${{" not in filled, f"an expression that this runner does not know: {text}"
    return filled


def _holds(condition: str, values: Mapping[str, str]) -> bool:
    return all(_term(term.strip(), values) for term in condition.split("&&"))


def _term(term: str, values: Mapping[str, str]) -> bool:
    if term == "always()":
        return True
    found = re.fullmatch(r"([a-z_.-]+) (==|!=) '([a-z_]*)'", term)
    assert found, f"a condition that this runner does not know: {term}"
    return (values.get(found[1], "") == found[3]) is (found[2] == "==")


def gitlab_job(path: Path, name: str, environ: Mapping[str, str], folder: Path) -> Result:
    """Run one job of a GitLab template in ``folder``: its variables, ``before_script`` and ``script``."""
    document = read_yaml(path)
    job = _extended(document, name)
    variables = {**document.get("variables", {}), **job.get("variables", {})}
    script = "\n".join([*job.get("before_script", ()), *job["script"]])
    done = subprocess.run(
        [*SHELL, script],
        env={**variables, **environ},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    report = job.get("artifacts", {}).get("reports", {}).get("dotenv")
    lines = (folder / report).read_text().splitlines() if report and (folder / report).exists() else []
    return Result(
        done.returncode, done.stdout + done.stderr, dict(line.split("=", 1) for line in lines), ran=[name]
    )


def _extended(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    job = dict(document[name])
    parent = _extended(document, job["extends"]) if "extends" in job else {}
    return {**parent, **job}
