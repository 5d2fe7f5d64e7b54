"""Ask several hosts at once and wait for all answers, heeding a second Ctrl-C.

Owns the waiting only; it must not know what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.errors import HostError
from orchestrator.execution.loop import Interrupt, Loop, reraise
from orchestrator.execution.world import Aborted
from orchestrator.ports import Call, Fleet, RequestFailed


@dataclass(frozen=True)
class Answer:
    """What one host said."""

    host: str
    result: Any = None
    error: RequestFailed | HostError | None = None


def gather(
    fleet: Fleet, loop: Loop, interrupt: Interrupt, asked: Sequence[tuple[str, Any]]
) -> tuple[Answer, ...]:
    """Send one request to each (host, parameters) and return the answers in that order.

    Raises:
        Aborted: A second Ctrl-C came before all had answered.
    """
    answers: dict[int, Answer] = {}

    def ask(number: int, host: str, params: Any) -> None:
        """Run in a worker: a session that is not there yet takes its time to connect."""
        try:
            fleet.session(host).request(
                params, on_done=lambda call: loop.post(partial(answered, number, host, call))
            )
        except (RequestFailed, HostError) as error:
            loop.post(partial(answers.__setitem__, number, Answer(host, error=error)))
        except BaseException as defect:  # noqa: BLE001 - it must surface where somebody can see it
            loop.post(partial(reraise, defect))

    def answered(number: int, host: str, call: Call) -> None:
        try:
            answers[number] = Answer(host, call.result(0))
        except (RequestFailed, HostError) as error:
            answers[number] = Answer(host, error=error)

    with interrupt.waking(loop):
        for number, (host, params) in enumerate(asked):
            loop.spawn(partial(ask, number, host, params))
        while len(answers) < len(asked):
            if interrupt.abort:
                raise Aborted
            loop.wait()()
    return tuple(answers[number] for number in range(len(asked)))
