"""Plain output: stable lines, whatever the event."""

from __future__ import annotations

import io
import typing
from pathlib import Path

import pytest
from support.golden import check_golden
from support.report_samples import finished, run, ship, start

from orchestrator import events as ev
from orchestrator.report import plain
from orchestrator.report.output import Output

GOLDEN = Path(__file__).parent / "golden"


def printed(events, *, verbose=False):
    """Return the lines a listener prints for ``events``."""
    stream = io.StringIO()
    listener = plain.PlainListener(Output(stream), verbose=verbose)
    for event in events:
        listener(event)
    listener.close()
    return stream.getvalue().splitlines()


def test_every_event_has_its_line():
    """No event type is forgotten."""
    assert set(plain._LINES) == set(typing.get_args(ev.Event))
    assert {type(event) for event in run()} == set(typing.get_args(ev.Event))


@pytest.mark.parametrize("verbose", [False, True])
def test_a_whole_run(verbose):
    """The lines of a run that fails are the ones that were agreed on."""
    check_golden(GOLDEN / f"run-{'verbose' if verbose else 'plain'}.txt", printed(run(), verbose=verbose))


def test_a_good_end():
    """The last line says what changed, the release, bytes and seconds."""
    assert printed([finished()]) == [
        "done: release r5; 1 created, 3 replaced, 1 removed, 1 unchanged; 81 kB sent in 3.4 s"
    ]


def test_an_end_without_a_release():
    """A run that changes nothing by design still ends with a line."""
    assert printed([ev.Finished(ok=True, exit_code=0, seconds=1.0)]) == [
        "done: nothing to report; 0 B sent in 1.0 s"
    ]


def test_a_hostile_host_cannot_write_to_the_terminal():
    """Escape sequences in anything a host says do not reach the output, nor do extra lines."""
    evil = "\x1b]0;owned\x07\x1b[2J\nweb-2: connected\r"
    lines = printed(
        [
            ev.HostFailed("web-1", evil),
            ev.BuildOutput("front", evil),
            ev.StepFailed(start(), evil, None, 1.0),
            ev.StepProgress(start(), evil, evil),
            ev.RestoreFinished(ok=False, states=(("web-1", evil),)),
        ],
        verbose=True,
    )
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("web-2") for line in lines)


def test_bytes_on_their_way_print_one_line():
    """A thousand pieces of a layer do not become a thousand lines."""
    events = [ev.StepProgress(ship(), "sending", done=n, total=1000) for n in range(1000)]
    assert len(printed(events, verbose=True)) == 1
    assert printed(events) == []


class Refusing(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text):
        """Refuse."""
        raise BrokenPipeError


def test_a_reader_that_leaves_stops_nothing():
    """`deploy apply | head` must not end the apply."""
    output = Output(Refusing())
    listener = plain.PlainListener(output)
    for event in run():
        listener(event)
    assert output.gone


def test_a_closed_stream_stops_nothing():
    """Printing after the end is dropped."""
    stream = io.StringIO()
    stream.close()
    output = Output(stream)
    output.lines(["late"])
    assert output.gone


def test_an_old_encoding_gets_readable_signs():
    """A stream that cannot say ± gets a sign it can say."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, "ascii")
    Output(stream).lines(["± api[1] … 漢"])
    assert raw.getvalue() == b"~ api[1] ... ?\n"
