"""One process of the command line: signals, errors and exit codes.

Owns the frame around every command. Errors that the program raises on purpose are shown as a message,
what is known, and what to do next; anything else is a defect and says so.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from orchestrator.errors import DeployError, Interrupted
from orchestrator.execution.loop import Interrupt


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    from orchestrator.cli.app import app  # noqa: PLC0415

    try:
        code = app(args=list(arguments), standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return Interrupted.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the last line of defence shows it, whatever it is
        if (code := _usage(error)) is not None:
            return code
        from orchestrator.report.errors_view import show_error  # noqa: PLC0415

        show_error(error, stream=sys.stderr, environ=os.environ, verbose="-v" in arguments)
        return error.exit_code if isinstance(error, DeployError) else DeployError.exit_code


def _usage(error: Exception) -> int | None:
    """Show what typer's parser found wrong and return the exit code; ``None`` for any other error.

    Typer brings its parser along under a name of its own, so the classes are told by what they can do.
    """
    if type(error).__name__ == "Abort":
        return Interrupted.exit_code
    show = getattr(error, "show", None)
    if not callable(show) or not hasattr(error, "format_message"):
        return None
    show()
    return DeployError.exit_code


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn the first SIGINT or SIGTERM into a request to stop, the second into stopping at once.

    While nothing can have been changed yet, the first ends the run at once.
    """
    interrupt = Interrupt()

    def handle(_number: int, _frame: FrameType | None) -> None:
        interrupt.press()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
