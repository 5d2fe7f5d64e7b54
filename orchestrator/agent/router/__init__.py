"""Traffic on one host: HAProxy as a container, what it serves, and every move of it without a lost request.

Owns HAProxy's configuration, its runtime socket, the record of who sits in which slot, and the guard
that takes an unconfirmed cutover back. It must not know other hosts nor why traffic is moved.

::

    operations -> lifecycle (the container) -> render (the text) -> picture (is it safe to say?)
               -> moves, watch (the traffic) -> table (who sits where), runtime (HAProxy's socket)
               -> guard -> moves
"""
