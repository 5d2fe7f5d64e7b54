"""From a model and what was observed to a plan and its ordered steps. Pure.

::

    graph.py      services and images as one dependency graph; cycles name their path
    placement.py  which host runs which slot of which service
    desired.py    model + placement + artifacts -> the instances that should run
    observed.py   what the hosts reported, checked and indexed
    reconcile.py  desired x observed -> plan: changes with reasons
    reasons.py    why two configurations differ, without showing a value
    rollout.py    plan -> ordered steps
    undo.py       what was done so far -> the steps that take it back

No I/O, no clock, no randomness: "now" is an argument, and equal inputs give equal plans whatever
their order. It must not know how anything is carried out.
"""
