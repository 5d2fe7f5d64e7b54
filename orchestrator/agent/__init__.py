"""The program that runs on a host: it observes and changes one engine on behalf of one controller.

Owns everything that happens on the host: the lease, the journal, the containers, their health. It is
bundled as one file and runs on the host's own python3 (3.9 and later) with the standard library and
:mod:`orchestrator.protocol` alone. It must not know the controller: no spec, no plan, no other host.

::

    serve -> handlers -> observe, lease, operations, imaging, logs, execute
                      -> journal, containers, health
                      -> engine
"""
