"""Where a run waits: one queue of completions, and threads for work that blocks.

Owns the hand-over from sessions' threads, workers and signal handlers to the one thread that decides.
A simulated run replaces :class:`ThreadLoop`, so nothing else in this folder may block or start a
thread. It must not know what is decided.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol, TypeAlias

Action: TypeAlias = Callable[[], None]
"""Something for the deciding thread to run; it must not block."""


class Loop(Protocol):
    """What the deciding thread needs of its surroundings."""

    def post(self, action: Action) -> None:
        """Hand an action to the deciding thread; from any thread or signal handler, never blocks."""
        ...

    def wait(self, seconds: float | None = None) -> Action:
        """Return the next action; one that does nothing when there is none for ``seconds``."""
        ...

    def idle(self) -> bool:
        """Tell whether :meth:`wait` would have to wait: time to act on everything heard so far."""
        ...

    def spawn(self, work: Action) -> None:
        """Run ``work``, which may block and must not raise, beside the deciding thread."""
        ...


class ThreadLoop:
    """The real one. ``SimpleQueue.put`` is re-entrant, which is what a signal handler needs."""

    def __init__(self) -> None:
        self._actions: queue.SimpleQueue[Action] = queue.SimpleQueue()

    def post(self, action: Action) -> None:
        """See :meth:`Loop.post`."""
        self._actions.put(action)

    def wait(self, seconds: float | None = None) -> Action:
        """See :meth:`Loop.wait`."""
        try:
            return self._actions.get(timeout=seconds)
        except queue.Empty:
            return _wake

    def idle(self) -> bool:
        """See :meth:`Loop.idle`."""
        return self._actions.empty()

    def spawn(self, work: Action) -> None:
        """See :meth:`Loop.spawn`. A daemon thread: a second Ctrl-C waits for nobody."""
        threading.Thread(target=work, daemon=True).start()


class Interrupt:
    """The user's wish to stop, counted: one press stops in good order, the second at once."""

    def __init__(self) -> None:
        self._presses = 0
        self._loop: Loop | None = None
        self._harmless = False

    def press(self) -> None:
        """Count one Ctrl-C. Safe in a signal handler: takes no lock.

        Raises:
            KeyboardInterrupt: Within :meth:`harmless`.
        """
        self._presses += 1
        if self._harmless:
            raise KeyboardInterrupt
        loop = self._loop
        if loop is not None:
            loop.post(_wake)

    @property
    def stop(self) -> bool:
        """True once anything was pressed: start nothing new."""
        return self._presses > 0

    @property
    def abort(self) -> bool:
        """True from the second press on: leave everything as it is."""
        return self._presses > 1

    @contextmanager
    def harmless(self) -> Iterator[None]:
        """Let the first press end the block, whatever it waits for: nothing in it changes a host.

        For the main thread, where signal handlers run.

        Raises:
            KeyboardInterrupt: By any press within the block, or by one that came before.
        """
        self._harmless = True
        try:
            if self.stop:
                raise KeyboardInterrupt
            yield
        finally:
            self._harmless = False

    @contextmanager
    def waking(self, loop: Loop) -> Iterator[None]:
        """Make every press within the block wake ``loop``."""
        before, self._loop = self._loop, loop
        try:
            yield
        finally:
            self._loop = before


def _wake() -> None:
    """Do nothing: having been posted is the message."""


def reraise(defect: BaseException) -> NoReturn:
    """Raise in the deciding thread what a worker ran into."""
    raise defect
