"""docs/rollouts.md says what the planner does."""

from __future__ import annotations

from support.rollout_tables import PAGE, filled, tables


def test_the_tables_are_the_planners() -> None:
    """Every table is in the page, and none is out of date."""
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text
    assert all(table in text for table in tables().values())
