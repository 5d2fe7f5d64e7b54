"""``exec``: a command inside a running container, with input, output and a terminal if asked for.

Owns the two directions of bytes and their ends. It must not know what the command is for.
"""

from __future__ import annotations

import contextlib
import threading

from orchestrator.agent.engine import EngineError
from orchestrator.agent.handler import Context, Refusal
from orchestrator.agent.hijack import Hijacked, exit_status, hijack
from orchestrator.agent.logs import owned
from orchestrator.protocol.messages import Exec, Exited

_LARGEST = 10_000
_END_OF_TRANSMISSION = b"\x04"
"""What Ctrl-D sends: a program that reads sees the end of its input."""


def execute(params: Exec, context: Context) -> Exited:
    """Run a command; the request's body is its input, the answer's body its output.

    When it is cancelled the connection to the command ends, which is all an engine offers: a command
    that neither reads nor writes goes on by itself.

    Raises:
        Refusal: ``not-found`` or ``bad-request``; ``cancelled``.
        EngineError: The engine could not run it.
    """
    engine = context.engine
    if not params.command:
        raise Refusal("bad-request", "cannot run an empty command")
    inspect = owned(engine, params.project, params.container)
    created = engine.post(
        f"/containers/{inspect['Id']}/exec",
        body={
            "Cmd": list(params.command),
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": params.tty,
        },
    )
    exec_id = str(created["Id"])
    with hijack(engine, f"/exec/{exec_id}/start", {"Detach": False, "Tty": params.tty}) as process:
        if params.tty:
            size = {"h": _clamp(params.rows), "w": _clamp(params.columns)}
            with contextlib.suppress(EngineError):  # a command that has ended already needs no size
                engine.post(f"/exec/{exec_id}/resize", size)
        feed = threading.Thread(
            target=_feed, args=(context, process, params.tty), name="exec-input", daemon=True
        )
        feed.start()
        try:
            with context.aborting(process.abort):
                for piece in process.output(tty=params.tty):
                    context.send_body(piece)
        except EngineError:
            context.check_cancelled()
            raise
    context.check_cancelled()
    return Exited(exit_status(engine, exec_id))


def _feed(context: Context, process: Hijacked, tty: bool) -> None:
    """Give the request's body to the command; the end of the request ends the body too."""
    try:
        for piece in context.body():
            process.write(piece)
    except (EngineError, Refusal):
        return  # the command has ended, or nobody wants it any more: its output tells the rest
    if tty:
        # A terminal's input has no end: engines that are told of one drop the output with it.
        with contextlib.suppress(EngineError):
            process.write(_END_OF_TRANSMISSION)
    else:
        process.close_input()


def _clamp(size: int) -> int:
    return max(1, min(size, _LARGEST))
