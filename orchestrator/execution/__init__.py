"""Carries a plan out: a dataflow executor over ports, with limits, leases, restoring and releases.

Owns when things happen, never what should (that is ``planning/``) and never how a host is reached
(that is behind :mod:`orchestrator.ports`). No pydantic, no printing: it emits events.
"""
