"""What an apply does on real hosts."""

from __future__ import annotations

from support.deploying import Project


def test_first_apply(project: Project) -> None:
    """An empty fleet gets what the spec says, healthy and served."""
    done = project.apply()
    assert done.changes == {"web[1]": ["create", "new"], "web[2]": ["create", "new"]}
    assert project.page("web[1]") == project.page("web[2]") == "one"
