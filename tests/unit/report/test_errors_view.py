"""Errors: what happened, where, and what to do next."""

from __future__ import annotations

from orchestrator.errors import ApplyFailed, HostUnreachable, InventoryError, Problem, SpecError
from orchestrator.report import errors_view


def test_message_context_and_hint():
    """An expected error is its message, indented context and a hint."""
    error = HostUnreachable(
        "web-1", "no answer within 10 s", hint="check its address", context=["tried 2 ways"]
    )
    assert errors_view.lines(error) == (
        "error: web-1: no answer within 10 s",
        "  tried 2 ways",
        "hint: check its address",
    )


def test_a_bare_message():
    """Nothing is said where there is nothing to say."""
    assert errors_view.lines(ApplyFailed("cannot apply")) == ("error: cannot apply",)


def test_problems_are_lines_that_editors_jump_to():
    """Every problem is one line: file, line, column, key path, message."""
    problems = (
        Problem("unknown key", "spec.yaml", 3, 5, "services.api.replica", "did you mean 'replicas'?"),
        Problem("expected a number", "spec.yaml", 9, 1, "services.web.per_host"),
    )
    assert errors_view.lines(SpecError(problems)) == (
        "spec.yaml:3:5: services.api.replica: unknown key (did you mean 'replicas'?)",
        "spec.yaml:9:1: services.web.per_host: expected a number",
        "error: 2 problems in the spec",
    )


def test_on_a_terminal_the_line_is_shown_with_a_caret(tmp_path):
    """The caret stands under the column, also after tabs and control characters."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("a: 1\n    \x1breplica: 2\n")
    problem = Problem("unknown key", str(spec), 2, 6)
    rows = errors_view.lines(InventoryError([problem]), source=errors_view.read_line)
    assert rows[1] == "  2 |     eplica: 2"
    assert rows[2] == "    |     ^"


def test_a_line_that_cannot_be_read_is_left_out(tmp_path):
    """A file that is gone, or shorter by now, is no second error."""
    spec = tmp_path / "spec.yaml"
    spec.write_text("a: 1\n")
    gone = Problem("m", str(tmp_path / "none"), 1, 1)
    short = Problem("m", str(spec), 7, 1)
    rows = errors_view.lines(SpecError([gone, short]), source=errors_view.read_line)
    assert len(rows) == 3


def test_an_unexpected_error_is_called_a_bug():
    """The traceback is shown only to those who asked for it."""
    try:
        raise KeyError("x\x1b[2J")  # noqa: TRY301
    except KeyError as error:
        quiet = errors_view.lines(error)
        loud = errors_view.lines(error, debug=True)
    assert quiet[0].startswith("error: this is a bug: KeyError: 'x")
    assert "DEPLOY_DEBUG=1" in quiet[1]
    assert not any("Traceback" in line for line in quiet)
    assert "Traceback" in loud[0]
    assert loud[-1] == quiet[0]
    assert all(line.isprintable() for line in loud)


def test_an_interrupt_is_no_bug():
    """Ctrl-C before anything started is said in a word."""
    assert errors_view.lines(KeyboardInterrupt()) == ("error: interrupted",)


def test_who_wants_tracebacks():
    """-v, or DEPLOY_DEBUG set to anything but nothing and 0."""
    assert errors_view.debug_wanted({}, verbose=True)
    assert errors_view.debug_wanted({"DEPLOY_DEBUG": "1"}, verbose=False)
    assert not errors_view.debug_wanted({"DEPLOY_DEBUG": "0"}, verbose=False)
    assert not errors_view.debug_wanted({}, verbose=False)
