"""What routers serve and how services are replaced, worked out from the spec and a placement.

:mod:`.policies` resolves ``update:``, :mod:`.endpoints` gives services addresses that never move,
:mod:`.picture` draws each host's router, :mod:`.changes` tells which routers change and why. All pure.
"""
