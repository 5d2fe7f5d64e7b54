"""The example of the README, as `make demo` tells it: it works, leaves nothing, and prints what is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
LONGEST = 1200
"""Seconds, with the base image and all others built from nothing; a minute when they are there."""


@pytest.fixture(scope="module")
def told(lab_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the demo where killed runs are swept, with an empty cache; return the folder and its output."""
    cache = tmp_path_factory.mktemp("cache")
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.lab.demo"],
        cwd=lab_base,
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return lab_base, done.stdout


def chapter(text: str, title: str) -> str:
    """Return what the demo printed below a heading."""
    return text.partition(f"\n# {title}")[2].partition("\n# ")[0]


def without_numbers(line: str) -> str:
    """Return a line without what differs from run to run: times, sizes, addresses."""
    return re.sub(r"[\d.]+( [kM]?B)?", "N", line.strip())


def test_the_story(told: tuple[Path, str]) -> None:
    """Every chapter ends as its heading says."""
    text = told[1]
    first = chapter(text, "The first apply")
    assert "Plan: 5 to create, 0 to replace, 0 to remove, 0 unchanged" in first
    assert "done: release r1; 5 created" in first
    assert "Welcome to the shop.\nYou are visitor 1, " in first
    again = chapter(text, "Nothing has changed")
    assert "No changes: 5 instances as wanted" in again
    assert "building" not in again
    broken = chapter(text, "Break it")
    assert "catalog[1] of release r2 keeps running" in broken
    assert "$ echo $?\n3\n" in broken
    assert "Welcome to the new shop." in broken
    back = chapter(text, "Roll back")
    assert "± resume catalog[1] on web-1: rollback to r1" in back
    assert "Welcome to the shop." in back
    assert "release r4, 5 of 5 instances healthy" in back


def test_one_changed_file_travels_alone(told: tuple[Path, str]) -> None:
    """About a kilobyte for each host that runs the image, and nothing for the others."""
    changed = chapter(told[1], "Change one file")
    assert "Plan: 0 to create, 2 to replace, 0 to remove, 3 unchanged" in changed
    sent = re.findall(r"^(\S+): image (\S+) sent in [\d.]+ s, ([\d.]+) kB$", changed, re.MULTILINE)
    assert sorted(each[:2] for each in sent) == [("web-1", "tomcat"), ("web-2", "tomcat")]
    assert all(float(size) < 10 for _, _, size in sent)
    assert "Welcome to the new shop." in changed


def test_no_secret_is_shown(told: tuple[Path, str]) -> None:
    """The demo's password appears nowhere."""
    assert "correct-horse" not in told[1]


def test_nothing_is_left(told: tuple[Path, str]) -> None:
    """No folder, no mount and no process of the demo's lab."""
    lab = told[0] / ".lab" / "demo"
    assert not lab.exists()
    assert str(lab) not in Path("/proc/self/mounts").read_text()
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert str(lab).encode() not in process.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile


def test_the_readme_shows_what_is_printed(told: tuple[Path, str]) -> None:
    """Every line of its example is a line of the demo, but for numbers."""
    printed = {without_numbers(line) for line in told[1].splitlines()}
    shown = "".join(re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
    assert shown.count("\n") > 30
    for line in shown.splitlines():
        if line != "..." and "(" not in line:  # how often a check was tried is up to the machine
            assert without_numbers(line) in printed, line
