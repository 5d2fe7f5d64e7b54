"""deploy: an orchestrator that replaces servers instead of changing them.

The folders read as the flow of one apply::

    spec file -> model -> graph -> desired -> observed -> plan -> execution -> report
    [    spec/      ]    [         planning/  (pure)          ]   [execution/]  [report/]
                            images/    remote/ --protocol/--> agent/  (on the host)

``pipeline.py`` shows that flow on one screen.
"""

__version__ = "0.1.0"
