"""Where the value of a secret is on real hosts, and above all where it is not."""

from __future__ import annotations

import json

from support.deploying import Project

FIRST = "correct-horse-battery"
SECOND = "staple-and-more-words"


def test_secret_is_a_file_and_nothing_else(project: Project) -> None:
    """A changed value replaces what uses it, by name; the value is in a root-only file and nowhere else."""
    project.hosts = ("web-1",)
    project.spec["services"]["api"] = project.service()
    token = {"name": "TOKEN", "from": {"env": "SHOP_TOKEN"}, "uid": 0, "gid": 7}
    project.spec["services"]["web"]["secrets"] = [token]
    first = project.apply(SHOP_TOKEN=FIRST)
    api = project.ids()["api[1]"]
    assert project.apply(SHOP_TOKEN=FIRST).changes == {}

    second = project.apply(SHOP_TOKEN=SECOND)
    assert second.changes == {"web[1]": ["replace", "secret TOKEN changed"]}
    assert project.ids()["api[1]"] == api
    container = project.containers()["web[1]"].id
    inside = ["exec", container, "stat", "-c", "%a %u:%g", "/run/secrets/TOKEN"]
    assert project.lab.docker("web-1", *inside).stdout == "400 0:7\n"
    value = project.lab.docker("web-1", "exec", container, "cat", "/run/secrets/TOKEN").stdout
    assert value == SECOND
    write = ["exec", container, "sh", "-c", "echo x > /run/secrets/TOKEN"]
    assert project.lab.docker("web-1", *write, check=False).returncode != 0

    text = project.run("status", "-v", SHOP_TOKEN=SECOND)
    shown = [text.stdout, text.stderr]
    for run in (first, second):
        shown += [run.stdout, run.stderr]
    for words in (("status",), ("history",), ("show", "r2")):
        shown.append(json.dumps(project.look(*words, SHOP_TOKEN=SECOND)))
    saved = project.run("plan", "--out", "plan.json", SHOP_TOKEN="another-one")
    shown += [saved.stdout, (project.folder / "plan.json").read_text()]
    for output in shown:
        _clean(output)
    _clean(_everything_on_host(project))
    assert _files_with_values(project) == {"secrets": 2, "mounts": 2}


def test_secret_that_a_program_prints_is_masked(project: Project) -> None:
    """What a failing program said is shown, but for the value it was given."""
    project.hosts = ("web-1",)
    project.image("web", "one", start='echo "token: $(cat /run/secrets/TOKEN)"; exit 1')
    project.spec["services"]["web"]["secrets"] = [{"name": "TOKEN", "from": {"env": "SHOP_TOKEN"}}]
    done = project.apply(code=3, SHOP_TOKEN=FIRST)
    assert set(done.named("step_failed")[0]["failure"]["logs"]) == {"token: ********"}
    text = project.run("apply", "--yes", SHOP_TOKEN=FIRST)
    for output in (done.stdout, done.stderr, text.stdout, text.stderr):
        _clean(output)
    assert "token: ********" in text.stdout + text.stderr


def _clean(text: str) -> None:
    assert FIRST not in text
    assert SECOND not in text


def _everything_on_host(project: Project) -> str:
    """What the host tells about containers and processes, and every file of the agent that is no secret's."""
    mine = f"/var/lib/deploy/projects/{project.name}"
    script = (
        "docker ps -aq | xargs docker inspect; docker image ls -aq | xargs docker image inspect;"
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/[0-9]*/environ | tr '\\0' ' ';"
        f"cd {mine}; find . -type f ! -path './secrets/*' ! -path './mounts/*'"
        " | xargs cat; find /var/lib/deploy ! -path '*/projects/*' -type f | xargs strings -a"
    )
    told = project.lab.run("web-1", ["sh", "-c", script], check=False).stdout
    assert len(told) > 10_000
    return told


def _files_with_values(project: Project) -> dict[str, int]:
    """How many files hold a value, by folder of the project's state, each of which only root can enter."""
    root = f"/var/lib/deploy/projects/{project.name}"
    found = project.lab.run("web-1", ["grep", "-rlE", f"{FIRST}|{SECOND}", "/var/lib/deploy"]).stdout.split()
    assert all(path.startswith(root) for path in found), found
    private = project.lab.run("web-1", ["stat", "-c", "%a %u", "/var/lib/deploy", root]).stdout.split("\n")
    assert private[:2] == ["700 0", "700 0"]
    modes = project.lab.run("web-1", ["stat", "-c", "%a", *found]).stdout.split()
    assert set(modes) <= {"400", "600"}
    folders = [path.removeprefix(f"{root}/").split("/")[0] for path in found]
    return {folder: folders.count(folder) for folder in sorted(set(folders), reverse=True)}
