"""Shows a plan as a comment of a pull request: one per project, renewed at every run.

Reads everything from the environment: ``TOKEN``, ``PULL_REQUEST``, ``PLAN`` (a file whose first line is
what the earlier comment is found by), ``GITHUB_REPOSITORY``, ``GITHUB_API_URL``.
"""

# ruff: noqa: INP001 - a script of its own

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

_PAGE = 100
_TIMEOUT = 30.0
"""Seconds."""


def request(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask GitHub's API and return its answer."""
    made = urllib.request.Request(  # noqa: S310 - the runner says where its API is
        f"{os.environ['GITHUB_API_URL']}/repos/{os.environ['GITHUB_REPOSITORY']}/issues/{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else None,
        headers={
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(made, timeout=_TIMEOUT) as answer:  # noqa: S310
        return json.load(answer)


def earlier(number: int, marker: str) -> int | None:
    """Return the id of the comment that an earlier run has left, or ``None``."""
    page = 1
    while True:
        comments = request("GET", f"{number}/comments?per_page={_PAGE}&page={page}")
        for comment in comments:
            ours = comment["user"]["type"] == "Bot"
            if ours and comment["body"].splitlines()[:1] == [marker]:
                return int(comment["id"])
        if len(comments) < _PAGE:
            return None
        page += 1


def main() -> None:
    """Renew the comment, or leave the first one."""
    number = int(os.environ["PULL_REQUEST"])
    text = Path(os.environ["PLAN"]).read_text(encoding="utf-8")
    comment = earlier(number, text.splitlines()[0])
    if comment is None:
        request("POST", f"{number}/comments", {"body": text})
    else:
        request("PATCH", f"comments/{comment}", {"body": text})


if __name__ == "__main__":
    main()
