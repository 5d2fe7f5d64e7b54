"""The command line: arguments in, exit codes out.

::

    run.py      the process: signals, errors, exit codes
    app.py      the list of commands
    options.py  the options that commands share
    author.py   init, validate, graph, schema
    change.py   plan, apply, build, rollback, destroy, prune
    traffic.py  promote, abort, routes, maintenance
    look.py     status, history, show, logs, exec
    lab.py      lab up, down, status, ssh

It owns words and defaults only; what a command does is `pipeline`'s, how it looks is `report`'s.
"""
