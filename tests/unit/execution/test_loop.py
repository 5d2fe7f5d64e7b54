"""The loop and the interrupt: what a signal handler may do, and who is woken by it."""

from __future__ import annotations

import os
import signal
import threading

from orchestrator.execution.loop import Interrupt, ThreadLoop


def test_actions_come_in_order_from_any_thread():
    """A worker's posts are heard after those made before it was spawned."""
    loop, heard = ThreadLoop(), []
    loop.post(lambda: heard.append("first"))
    loop.spawn(lambda: loop.post(lambda: heard.append("second")))
    loop.wait()()
    loop.wait()()
    assert heard == ["first", "second"]
    assert loop.idle()


def test_a_signal_wakes_a_loop_that_waits():
    """A real signal, sent while the main thread is about to wait: its handler presses, the wait ends."""
    loop, interrupt = ThreadLoop(), Interrupt()
    before = signal.signal(signal.SIGUSR1, lambda *_: interrupt.press())
    sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
    try:
        with interrupt.waking(loop):
            sender.start()
            loop.wait()()
    finally:
        sender.join()
        signal.signal(signal.SIGUSR1, before)
    assert interrupt.stop
    assert not interrupt.abort


def test_only_the_innermost_loop_is_woken_and_a_press_outside_is_kept():
    """A press between two phases of a run is not lost: the count is what the next one looks at."""
    outer, inner, interrupt = ThreadLoop(), ThreadLoop(), Interrupt()
    interrupt.press()
    assert interrupt.stop
    with interrupt.waking(outer):
        with interrupt.waking(inner):
            interrupt.press()
        assert outer.idle()
        assert not inner.idle()
        interrupt.press()
        assert not outer.idle()
    assert interrupt.abort
