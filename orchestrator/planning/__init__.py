"""From a model and what was observed to a plan and its ordered steps. Pure.

::

    graph.py      services and images as one dependency graph; cycles name their path
    placement.py  which host runs which slot of which service
    desired.py    model + placement + artifacts -> the instances that should run
    observed.py   what the hosts reported, checked and indexed
    limit.py      what --limit leaves of a plan
    reach.py      which hosts and slots a plan may touch: hosts that are down, --limit
    slots.py      what one slot needs
    reasons.py    why two configurations differ, without showing a value
    clashes.py    which containers hold a port that another needs
    retention.py  what stays of old releases
    reconcile.py  desired x observed -> plan: changes with reasons
    rollback.py, destroy.py, prune.py   plans that start from releases instead of a spec
    rollout/      plan -> ordered steps, a module for each strategy
    undo.py       what was done so far -> the steps that take it back, or finish it
    held.py       what hosts hold, and who must wait for it
    hold.py       the two ways out of a held release: promote and abort
    release.py    plan -> the record of the release it makes
    saved.py      a plan as a document, and what has changed since it was saved

No I/O, no clock, no randomness: "now" is an argument, and equal inputs give equal plans whatever
their order. It must not know how anything is carried out.
"""
