"""Logs of many instances: whole lines, prefixed, harmless and bounded."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.logs_view import MAX_LINE, LogPrinter, log_line
from orchestrator.report.style import ansi


def printed(pieces, **options):
    """Return the lines printed for (instance, bytes) pieces."""
    stream = io.StringIO()
    printer = LogPrinter(stream, **options)
    for instance, data in pieces:
        printer.write(instance, data)
    printer.close()
    return stream.getvalue().splitlines()


def test_lines_are_interleaved_whole():
    """Halves of lines wait for their other half, whatever comes between."""
    lines = printed(
        [("api[1]", b"one\ntw"), ("web[10]", b"hello\n"), ("api[1]", b"o\nthree")],
        instances=("api[1]", "web[10]"),
    )
    assert lines == ["api[1]  | one", "web[10] | hello", "api[1]  | two", "api[1]  | three"]


@given(st.binary(max_size=300), st.integers(1, 20))
def test_cutting_does_not_matter(data, piece):
    """However the bytes are cut, the lines are the same."""
    pieces = [("a", data[at : at + piece]) for at in range(0, len(data), piece)]
    assert printed(pieces) == printed([("a", data)])


@given(st.binary(max_size=300))
def test_nothing_a_terminal_obeys_gets_through(data):
    """Whatever an instance writes, the terminal only draws it."""
    assert all(line.isprintable() for line in printed([("a", data)]))


def test_a_line_that_never_ends_is_bounded():
    """Memory does not grow with what an instance writes."""
    printer = LogPrinter(io.StringIO())
    for _ in range(100):
        printer.write("a", b"x" * 10_000)
        assert len(printer._open["a"]) <= MAX_LINE


def test_colours_are_stable_and_only_where_wanted():
    """An instance has the same colour in every run; the text itself is not coloured."""
    first, again = (log_line("api[1]", "\x1b[31mtext", style=ansi) for _ in range(2))
    assert first == again
    assert first.startswith("\x1b[")
    assert first.endswith("\x1b[0m text")
    assert log_line("api[1]", "text") == "api[1] | text"


def test_a_reader_that_left_can_be_noticed():
    """Following stops when nobody reads."""
    stream = io.StringIO()
    printer = LogPrinter(stream)
    stream.close()
    printer.write("a", b"x\n")
    assert printer.gone
