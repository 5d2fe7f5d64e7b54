"""The engine suite against the fake engine, and the faults only a fake can make."""

import pytest
from support.agent_world import AgentWorld
from support.engine_suite import EngineSuite
from support.fake_engine import FakeEngine

from orchestrator.agent.engine import Engine


@pytest.fixture
def fake():
    """A fake engine."""
    with FakeEngine() as engine:
        yield engine


@pytest.fixture
def world(fake, tmp_path):
    """A host with the fake engine and one image."""
    engine = Engine(fake.socket_path, timeout=20)
    yield AgentWorld(engine, fake.host.add_image(tags=("busybox:1",)), tmp_path / "state")
    engine.close()


class TestFakeEngine(EngineSuite):
    """Everything the real engine is held to."""
