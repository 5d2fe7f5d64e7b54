"""Text from hosts is safe to print, and numbers read well."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.report.text import (
    clean,
    clean_lines,
    duration,
    moment,
    parse_moment,
    plural,
    short_id,
    size,
)

HOSTILE = st.text(st.one_of(st.characters(), st.sampled_from("\x1b\x9b\x9d[]0;m?\x07\\\u202e\r\n")))


@given(HOSTILE)
def test_nothing_that_a_terminal_obeys_survives(text):
    """No control character, no direction override and no line end is left, whatever comes in."""
    cleaned = clean(text)
    assert all(unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for character in cleaned)
    cleaned.encode()


@given(st.text(), st.integers(3, 80))
def test_a_line_is_bounded(text, limit):
    """A line is never longer than its limit."""
    assert len(clean(text, limit)) <= limit


@given(HOSTILE)
def test_cleaning_twice_changes_nothing(text):
    """What is clean stays as it is."""
    assert clean(clean(text)) == clean(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bP1;2|payload\x1b\\after", "after"),
        ("a\x1b[2J\x1b[Hb", "ab"),
        ("\x9b31mred", "red"),
        ("50%\r100%", "50% 100%"),
        ("one\ttwo\n", "one two"),
        ("\u202eevil", "evil"),
        ("\x1bcreset", "reset"),
        ("größe 漢字", "größe 漢字"),
    ],
)
def test_sequences_are_dropped_with_their_parameters(raw, expected):
    """Escape sequences go as a whole, not only their first byte."""
    assert clean(raw) == expected


def test_a_huge_line_is_cut_before_it_is_looked_at():
    """A line of ten million characters costs no more than a short one."""
    line = clean("x" * 10_000_000, 50)
    assert line == "x" * 47 + "..."


def test_a_block_keeps_its_last_lines_and_says_what_is_missing():
    """The end of a log is what explains a failure."""
    assert clean_lines(["a\nb", "c", "d"], 2) == ("(2 lines before)", "c", "d")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (512, "512 B"), (999.7, "1.0 kB"), (1500, "1.5 kB"), (81_000, "81 kB"),
     (999_600, "1.0 MB"), (12_300_000, "12 MB"), (2_000_000_000, "2.0 GB"), (5e15, "5000 TB")],
)  # fmt: skip
def test_sizes(count, expected):
    """Decimal units, two digits where they say something."""
    assert size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-1, "0.0 s"), (0.04, "0.0 s"), (12.34, "12.3 s"), (59.96, "1 min"), (125, "2 min 5 s"),
     (3600, "1 h"), (3599.7, "1 h"), (90_000, "1 d 1 h"), (86_400, "1 d")],
)  # fmt: skip
def test_durations(seconds, expected):
    """Two units at most, and never sixty of one."""
    assert duration(seconds) == expected


def test_times_of_the_engine_are_read():
    """Nanoseconds and the engine's zero time are understood; nonsense is no time."""
    assert parse_moment("2023-11-14T22:13:20.123456789Z") == pytest.approx(1_700_000_000.123456)
    assert parse_moment("0001-01-01T00:00:00Z") is None
    assert parse_moment("yesterday") is None
    assert moment(1_700_000_000) == "2023-11-14 22:13:20"
    assert moment(1e30) == "unknown"


def test_small_words():
    """Ids are shortened, nouns counted."""
    assert short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert (plural(1, "host"), plural(0, "host")) == ("1 host", "0 hosts")
