"""Several calls at once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agent.together import Call, each


@given(st.lists(st.integers(), max_size=40), st.integers(1, 8))
def test_results_come_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    """Whichever ends first."""
    assert each(lambda item: item * 2, items, workers) == tuple(item * 2 for item in items)


def test_no_more_run_at_once_than_allowed_and_as_many() -> None:
    """Three that wait for each other go through three at a time, and no fourth joins them."""
    together, lock, running = threading.Barrier(3, timeout=5), threading.Lock(), [0, 0]

    def count(_: int) -> None:
        with lock:
            running[0] += 1
            running[1] = max(running)
        together.wait()
        with lock:
            running[0] -= 1

    each(count, range(6), workers=3)
    assert running == [0, 3]


def test_what_a_call_raises_comes_back() -> None:
    """To whoever asks for the result."""

    def fail(item: int) -> None:
        if item == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        each(fail, range(5), workers=2)
    with pytest.raises(ValueError, match="three"):
        Call(lambda: fail(3)).result()
