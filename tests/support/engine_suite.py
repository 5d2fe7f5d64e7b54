"""What an engine must do for the agent, and the agent with it: run against the fake and against Docker."""

from __future__ import annotations

from support.inside_suite import InsideSuite
from support.instance_suite import InstanceSuite


class EngineSuite(InstanceSuite, InsideSuite):
    """All of it. A subclass provides the fixture ``world``, an :class:`~support.agent_world.AgentWorld`."""
