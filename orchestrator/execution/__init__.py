"""Carries a plan out: a dataflow executor over ports, with limits, leases and restoring.

::

    apply.py       one run from lease to outcome; the verdict
    leases.py      the project's lease on all hosts, or on none
    executor.py    starts every step the moment its predecessors have ended well
    schedule.py    which steps may start now, and which travel together (pure)
    lanes.py       how much may be under way at once (pure)
    operations.py  steps as the protocol says them (pure)
    survey.py      what a run that stopped has left uncertain
    restore.py     taking back what was done
    explain.py     one screen that explains a failure (pure)
    requests.py    one request under way; the confirm, over a connection of its own
    sessions.py    what one run's sessions cost
    standing.py    whether a run that stopped goes back at all (pure)
    outages.py     how long something that had to stop first was away (pure)
    gather.py      one request to each of several hosts
    loop.py        the queue of completions, threads, Ctrl-C
    world.py       what a run is given, and what is known when it ends

Owns when things happen, never what should (that is ``planning/``) and never how a host is reached
(that is behind :mod:`orchestrator.ports`). No pydantic, no printing: it emits events.
"""
