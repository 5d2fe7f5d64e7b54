"""What routers serve and how services are replaced, worked out from the spec and a placement.

:mod:`.policies` resolves ``update:`` and places jobs, :mod:`.endpoints` gives services addresses that
never move, :mod:`.picture` draws each host's router, :mod:`.limited` keeps what ``--limit`` leaves out,
:mod:`.changes` tells which routers change and why, :mod:`.serving` who gets the traffic now. All pure.
"""
