"""The right view for where the output goes, and no cost for those not chosen."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest

from orchestrator.errors import ApplyFailed
from orchestrator.events import Finished, HostConnecting, HostFailed, Warned
from orchestrator.report.console import ConsoleListener
from orchestrator.report.errors_view import show_error
from orchestrator.report.jsonlines import JsonListener
from orchestrator.report.plain import PlainListener
from orchestrator.report.select import Both, make_listener, quiet


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """Say yes."""
        return True


@pytest.mark.parametrize(
    ("stream", "json", "environ", "expected"),
    [
        (Terminal(), False, {"TERM": "xterm"}, ConsoleListener),
        (Terminal(), False, {"TERM": "xterm", "NO_COLOR": "1"}, ConsoleListener),
        (Terminal(), False, {"TERM": "dumb"}, PlainListener),
        (Terminal(), False, {}, PlainListener),
        (Terminal(), True, {"TERM": "xterm"}, JsonListener),
        (io.StringIO(), False, {"TERM": "xterm"}, PlainListener),
        (io.StringIO(), True, {}, JsonListener),
    ],
)
def test_the_view_follows_the_stream(stream, json, environ, expected):
    """--json wins, then the kind of terminal decides."""
    assert type(make_listener(stream, io.StringIO(), json=json, verbose=False, environ=environ)) is expected


def test_no_color_is_honoured():
    """NO_COLOR keeps the board and drops the colours."""
    listener = make_listener(
        Terminal(), io.StringIO(), json=False, verbose=False, environ={"TERM": "xterm", "NO_COLOR": "1"}
    )
    assert listener._colour is False


def test_rich_is_not_imported_where_it_is_not_needed():
    """A piped run does not pay for drawing."""
    code = (
        "import io, sys; from orchestrator.report.select import make_listener\n"
        "out, options = io.StringIO(), {'verbose': False, 'environ': {}}\n"
        "for json in (True, False): make_listener(out, out, json=json, **options)\n"
        "sys.exit(any(name.partition('.')[0] == 'rich' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_error_goes_to_the_stream_it_is_given():
    """Errors are plain where colours are not understood, and dressed where they are."""
    pipe, terminal = io.StringIO(), Terminal()
    error = ApplyFailed("cannot start api[1]", hint="see its log")
    show_error(error, stream=pipe, verbose=False, environ={})
    show_error(error, stream=terminal, verbose=False, environ={"TERM": "xterm"})
    assert pipe.getvalue() == "error: cannot start api[1]\nhint: see its log\n"
    assert terminal.getvalue().startswith("\x1b[1;31merror\x1b[0m: cannot start")


def test_a_person_sees_trouble_while_json_goes_to_a_file():
    """JSON alone on stdout; warnings on a terminal's stderr too."""
    stdout, stderr = io.StringIO(), Terminal()
    listener = make_listener(stdout, stderr, json=True, verbose=False, environ={"TERM": "xterm"})
    assert isinstance(listener, Both)
    listener(Warned("the clock is behind"))
    listener(HostConnecting("web-1"))
    listener.close()
    assert all(line.startswith('{"event": ') for line in stdout.getvalue().splitlines())
    assert stderr.getvalue() == "warning: the clock is behind\n"


def test_the_quiet_view_shows_trouble_only():
    """A command that prints a table prints nothing else but trouble."""
    stream = io.StringIO()
    listener = quiet(stream)
    for event in (HostConnecting("web-1"), HostFailed("web-1", "no route"), Finished(ok=False, exit_code=5)):
        listener(event)
    assert stream.getvalue() == "web-1: failed: no route\n"
