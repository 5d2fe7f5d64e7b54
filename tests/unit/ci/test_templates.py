"""The CI templates, run: what they ask of ``deploy``, what they hand on, and where secrets do not go."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fake_forge import forge
from support.pipelines import Action, Result, gitlab_job, read_yaml

ROOT = Path(__file__).parents[3]
ACTION = ROOT / ".github" / "actions" / "deploy" / "action.yml"
GITLAB = ROOT / "docs" / "ci" / "gitlab.yml"
KEYS = "web-1 ssh-ed25519 AAAAC3Nz\n"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot really\n-----END OPENSSH PRIVATE KEY-----"
PLAN = "<!-- deploy plan: shop -->\n\n### Plan for `shop`: 1 to create\n"
SECRETS = ("not really", "t0ken")

_PYTHON = """\
#!/bin/sh
echo "python3 $*" >>"$FAKE_DEPLOY/argv"
if [ "$1" = -m ] && [ "$2" = venv ]; then
    mkdir -p "$3/bin"
    printf '#!/bin/sh\\necho "pip $*" >>"$FAKE_DEPLOY/argv"\\n' >"$3/bin/pip"
    printf '#!/bin/sh\\necho "deploy $*" >>"$FAKE_DEPLOY/argv"\\n' >"$3/bin/deploy"
    echo 'exec {python} {deploy} "$@"' >>"$3/bin/deploy"
    chmod +x "$3/bin/pip" "$3/bin/deploy"
else
    exec {python} "$@"
fi
"""
_AGENT = """\
#!/bin/sh
echo "ssh-agent $*" >>"$FAKE_DEPLOY/argv"
if [ "$1" = -s ]; then echo 'export SSH_AUTH_SOCK=/run/agent.1 SSH_AGENT_PID=1'; fi
"""
_ADD = '#!/bin/sh\necho "ssh-add $*" >>"$FAKE_DEPLOY/argv"\ncat >"$FAKE_DEPLOY/key"\n'


@dataclass
class Machine:
    """A CI machine: its programs are fakes that write down how they are called."""

    root: Path

    def __post_init__(self) -> None:
        programs, self.temp, self.scene = (self.root / name for name in ("bin", "temp", "scene"))
        for folder in (programs, self.temp, self.scene, self.root / "home"):
            folder.mkdir()
        python, fake = shlex.quote(sys.executable), shlex.quote(str(ROOT / "tests/support/fake_deploy.py"))
        for name, text in (("python3", _PYTHON), ("ssh-agent", _AGENT), ("ssh-add", _ADD)):
            (programs / name).write_text(text.replace("{python}", python).replace("{deploy}", fake))
            (programs / name).chmod(0o755)
        self.environ = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.root / "home"),
            "FAKE_DEPLOY": str(self.scene),
            "PYTHONPATH": str(ROOT),
        }
        self.plays("")

    def plays(self, stdout: str, code: int = 0) -> None:
        """Let ``deploy`` print this and exit so."""
        (self.scene / "stdout").write_text(stdout)
        (self.scene / "code").write_text(str(code))

    def ends(self, *, code: int = 0, **fields: object) -> None:
        """Let a run of ``deploy`` end with this ``finished`` event."""
        event = {
            "event": "finished",
            "version": 1,
            "ok": code == 0,
            "exit_code": code,
            "release": "r5",
            "held": False,
        }
        self.plays('{"event": "lease_taken"}\n' + json.dumps(event | fields) + "\n", code)

    def action(self, event: str = "push", **inputs: str) -> Result:
        """Run the GitHub action."""
        github = {"token": "t0ken", "event.pull_request.number": "7"}
        inputs = {"known_hosts": KEYS, "ssh_key": KEY, **inputs}
        return Action(ACTION, self.temp, self.environ, event, github).run(**inputs)

    def job(self, name: str, **environ: str) -> Result:
        """Run a job of the GitLab template."""
        (self.root / "known").write_text(KEYS)
        (self.root / "key").write_text(KEY)
        given = {
            "CI_BUILDS_DIR": str(self.temp),
            "CI_PROJECT_DIR": str(self.temp),
            "DEPLOY_KNOWN_HOSTS": str(self.root / "known"),
            "DEPLOY_SSH_KEY": str(self.root / "key"),
        }
        return gitlab_job(GITLAB, name, {**self.environ, **given, **environ}, self.temp)

    @property
    def call(self) -> dict:
        """The one call of ``deploy``."""
        (line,) = (self.scene / "calls.jsonl").read_text().splitlines()
        return json.loads(line)

    @property
    def argv(self) -> str:
        """Every program that was started, with its arguments."""
        return (self.scene / "argv").read_text()


@pytest.fixture
def machine(tmp_path):
    """A CI machine."""
    if shutil.which("bash") is None:
        pytest.skip("the templates need bash")
    return Machine(tmp_path)


# --- GitHub --------------------------------------------------------------------------------------


def test_a_pull_request_gets_its_plan_as_one_comment(machine):
    """The second run renews what the first has left; comments of people are not touched."""
    machine.plays(PLAN, code=2)
    with forge() as site:
        site.add("<!-- deploy plan: shop -->\na person's")
        for _ in range(100):
            site.add("chatter")
        machine.environ |= {"GITHUB_API_URL": site.url, "GITHUB_REPOSITORY": "ann/shop"}
        for _ in range(2):
            result = machine.action("pull_request", command="plan")
            assert result.code == 0, result.output
    assert result.outputs["changes"] == "true"
    assert result.summary == PLAN
    assert [c["body"] for c in site.comments if c["user"]["type"] == "Bot"] == [PLAN]
    assert site.requests[-1] == ("PATCH", "/repos/ann/shop/issues/comments/102")
    assert site.tokens == {"Bearer t0ken"}


def test_a_plan_without_changes_says_so(machine):
    """Exit code 0 of ``plan --exit-code``; nothing is commented outside of pull requests."""
    machine.plays(PLAN)
    result = machine.action("push", command="plan", spec="spec.yaml\nproduction.yaml\n", limit="web")
    assert (result.code, result.outputs["changes"]) == (0, "false")
    assert "Comment on the pull request" not in result.ran
    values = machine.call["values"]
    assert values["specs"] == ["spec.yaml", "production.yaml"]
    assert (values["limit"], values["form"]) == (["web"], "markdown")


def test_a_plan_that_fails_fails_the_job(machine):
    """With the exit code of deploy, and no comment."""
    machine.plays("", code=5)
    result = machine.action("pull_request", command="plan")
    assert (result.code, result.outputs["exit-code"]) == (5, "5")
    assert "changes" not in result.outputs
    assert "Comment on the pull request" not in result.ran


def test_apply_holds_and_hands_the_release_on(machine):
    """What the next jobs need: which release waits."""
    machine.ends(held=True)
    result = machine.action(command="apply", hold="true", inventory="hosts.yaml", builder="build-1")
    assert result.code == 0, result.output
    assert (result.outputs["release"], result.outputs["held"], result.outputs["exit-code"]) == (
        "r5",
        "true",
        "0",
    )
    assert "waits for promote" in result.summary
    call = machine.call
    assert call["command"] == "apply"
    assert call["values"] == {
        "specs": ["spec.yaml"],
        "inventory": "hosts.yaml",
        "builder": "build-1",
        "hold": True,
        "yes": True,
        "as_json": True,
    }
    assert call["known_hosts"].strip() == KEYS.strip()
    assert call["agent"] == "/run/agent.1"


@pytest.mark.parametrize("command", ["promote", "abort"])
def test_another_job_goes_on(machine, command):
    """From any machine: the release is all it takes."""
    machine.ends()
    result = machine.action(command=command, release="r5")
    assert result.code == 0, result.output
    assert machine.call["command"] == command
    assert machine.call["values"] == {
        "release": "r5",
        "files": ["spec.yaml"],
        "yes": True,
        "as_json": True,
    }


@pytest.mark.parametrize("code", [1, 3, 4, 6])
def test_a_failed_apply_fails_the_job_with_its_exit_code(machine, code):
    """And the key is forgotten all the same."""
    machine.ends(code=code, release="r4")
    result = machine.action(command="apply")
    assert (result.code, result.outputs["exit-code"], result.outputs["held"]) == (code, str(code), "false")
    assert f"failed with exit code {code}" in result.summary
    assert result.ran[-1] == "Forget the key"
    assert "ssh-agent -k" in machine.argv


def test_a_run_that_printed_nothing_fails_too(machine):
    """Deploy itself did not start."""
    machine.plays("", code=1)
    result = machine.action(command="apply")
    assert (result.code, result.outputs["release"]) == (1, "")


def test_secrets_are_in_no_argument_and_no_output(machine):
    """The key goes in by standard input, the token by the environment."""
    machine.plays(PLAN, code=2)
    with forge() as site:
        machine.environ |= {"GITHUB_API_URL": site.url, "GITHUB_REPOSITORY": "ann/shop"}
        result = machine.action("pull_request", command="plan")
    assert result.code == 0, result.output
    assert (machine.scene / "key").read_text().strip() == KEY
    left = [file for file in machine.temp.rglob("*") if file.is_file()]
    for secret in SECRETS:
        assert secret not in machine.argv
        assert secret not in result.output
        assert not any(secret in file.read_text() for file in left)


@pytest.mark.parametrize(
    "inputs",
    [
        {"command": "destroy"},
        {"command": "plan", "known_hosts": " \n"},
        {"command": "apply", "hold": "yes"},
        {"command": "plan", "hold": "true"},
        {"command": "apply", "release": "r5"},
        {"command": "promote", "release": "r5; reboot"},
        {"command": "apply", "spec": "spec.yaml\n--limit=x"},
        {"command": "apply", "spec": ""},
        {"command": "apply", "inventory": "--yes"},
        {"command": "apply", "limit": "web$(reboot)"},
        {"command": "apply", "builder": "-x"},
    ],
    ids=lambda inputs: " ".join(f"{key}={value!r}" for key, value in inputs.items()),
)
def test_wrong_inputs_are_refused_before_anything_is_done(machine, inputs):
    """With a message that names the input; nothing was installed or called."""
    result = machine.action(**inputs)
    assert result.code == 1
    assert "::error title=deploy::" in result.output
    assert result.ran == ["Check the inputs"]
    assert not (machine.scene / "argv").exists()


def test_output_of_hosts_is_no_command_to_the_runner(machine):
    """All that deploy prints stands between stop-commands and its token, which nobody can guess."""
    machine.plays('::error::pwned\n{"event": "finished", "ok": true, "release": "r5\\nx=1"}\n')
    result = machine.action(command="apply")
    before, _, rest = result.output.partition("::stop-commands::")
    token, _, inside = rest.partition("\n")
    assert "pwned" not in before
    assert len(token) == 32
    assert "pwned" in inside.partition(f"::{token}::")[0]
    assert result.outputs["release"] == ""
    assert "x" not in result.outputs


def test_inputs_never_stand_in_the_text_of_a_script():
    """An expression inside ``run`` would let a value be code."""
    document = read_yaml(ACTION)
    assert document["runs"]["using"] == "composite"
    for step in document["runs"]["steps"]:
        assert "${{" not in step["run"], step["name"]


# --- GitLab --------------------------------------------------------------------------------------

MERGE_REQUEST = {"CI_PROJECT_ID": "12", "CI_MERGE_REQUEST_IID": "7"}


def test_a_merge_request_gets_its_plan_as_one_note(machine):
    """As on GitHub; the token goes by a header that no argument holds."""
    machine.plays(PLAN, code=2)
    with forge() as site:
        for _ in range(100):
            site.add("chatter")
        for _ in range(2):
            result = machine.job(
                "plan", CI_API_V4_URL=site.url + "/api/v4", DEPLOY_TOKEN="t0ken", **MERGE_REQUEST
            )
            assert result.code == 0, result.output
    assert [c["body"] for c in site.comments[100:]] == [PLAN]
    assert site.requests[-1] == ("PUT", "/api/v4/projects/12/merge_requests/7/notes/101")
    assert site.tokens == {"t0ken"}
    for secret in SECRETS:
        assert secret not in machine.argv
        assert secret not in result.output


def test_without_a_token_the_plan_is_an_artifact_only(machine):
    """The job still ends well, or with the exit code of deploy."""
    machine.plays(PLAN)
    assert machine.job("plan").code == 0
    assert (machine.temp / "plan.md").read_text() == PLAN
    machine.plays("", code=4)
    assert machine.job("plan").code == 4


def test_a_held_release_travels_between_jobs(machine):
    """Apply writes it down, promote and abort take it from there."""
    machine.ends(held=True)
    result = machine.job("apply")
    assert result.code == 0, result.output
    assert result.outputs == {"DEPLOY_RELEASE": "r5", "DEPLOY_HELD": "true"}
    call = machine.call
    assert call["values"]["hold"] is True
    assert call["known_hosts"] == KEYS
    assert call["config"] == f'IdentityFile "{machine.root / "key"}"\n'
    for command in ("promote", "abort"):
        (machine.scene / "calls.jsonl").unlink()
        assert machine.job(command, **result.outputs).code == 0
        assert machine.call["command"] == command
        assert machine.call["values"]["release"] == "r5"


def test_without_a_held_release_there_is_nothing_to_promote(machine):
    """The job says so and ends well."""
    machine.ends()
    result = machine.job("apply", DEPLOY_HOLD="false")
    assert result.outputs == {"DEPLOY_RELEASE": "r5", "DEPLOY_HELD": "false"}
    assert "hold" not in machine.call["values"]
    (machine.scene / "calls.jsonl").unlink()
    assert "no release is held" in machine.job("promote", **result.outputs).output
    assert not (machine.scene / "calls.jsonl").exists()


def test_a_failed_apply_fails_the_job(machine):
    """And hands on that nothing is held."""
    machine.ends(code=3, release="r4")
    result = machine.job("apply")
    assert result.code == 3
    assert result.outputs["DEPLOY_HELD"] == "false"


@pytest.mark.parametrize(
    "environ",
    [
        {"DEPLOY_KNOWN_HOSTS": "/nonexistent"},
        {"DEPLOY_HOLD": "maybe"},
        {"DEPLOY_SPEC": "spec.yaml --limit=x"},
        {"DEPLOY_INVENTORY": "-x"},
    ],
    ids=str,
)
def test_wrong_variables_are_refused_before_anything_is_done(machine, environ):
    """Nothing was installed or called."""
    result = machine.job("apply", **environ)
    assert result.code == 1
    assert "deploy: " in result.output
    assert not (machine.scene / "argv").exists()
