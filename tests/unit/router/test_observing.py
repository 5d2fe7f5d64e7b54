"""Watching containers under traffic: the router's eyes, their own health, a look at the others."""

from __future__ import annotations

import http.client
import threading

import pytest
from support import haproxy_process
from support.haproxy_process import Process, free_port, services

from orchestrator.agent.engine import EngineError
from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.router import moves, observing
from orchestrator.protocol.routing import Backend, Listener, Member, Route, RouterConfig, Shift, Watch

pytestmark = pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")


class Engine:
    """Has no container's output to give."""

    def stream(self, *_: object, **__: object) -> None:
        """Refuse."""
        raise EngineError(404, "no such container")


class Journal:
    """Knows no configuration: containers have no healthcheck of their own."""

    project = "shop"

    def instance(self, _: str) -> None:
        """Know nothing."""


def running(key):
    """Find a container that runs."""
    return {"Id": f"id-{key[2]}", "State": {"Running": True}, "RestartCount": 0}


@pytest.fixture
def canary():
    """Two releases with half of the traffic each; yields (router, services, ask)."""
    port, inside = free_port(), free_port()
    backend = Backend("web", inside, check_path="/health", inter=0.03, fall=2, slots=4)
    config = RouterConfig(
        "shop",
        haproxy_process.IMAGE,
        (backend,),
        (Listener(port, "127.0.0.1", routes=(Route("a", backend.name),)),),
    )

    def ask(path="/", times=1):
        for _ in range(times):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            connection.getresponse().read()
            connection.close()

    with Process(config) as router, services(inside, "r1", "r2") as both:
        for one in both:
            moves.attach(router.steering, ("web", 1, one.name), one.located)
        moves.shift(router.steering, Shift("web", (Member(1, "r1", 128), Member(1, "r2", 128))))
        yield router, both, ask


def watch(router, find=running, **limits):
    """Watch the second release."""
    order = Watch("web", (Member(1, "r2"),), limits.pop("seconds", 0.3), **limits)
    return observing.watch(
        Engine(), Journal(), router.steering, order, find=find, cancelled=threading.Event()
    )


def during(action):
    """Do something while the watch is under way."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_quiet_watch_tells_what_was_served(canary):
    """Nothing went wrong."""
    router, _, ask = canary
    thread = during(lambda: ask(times=20))
    assert watch(router, seconds=0.6).endswith(" requests, 0 failed")
    thread.join()


def test_a_member_that_the_router_finds_down_ends_the_watch(canary):
    """At once, with what its checks said."""
    router, (_, green), _ = canary
    green.sicken()
    with pytest.raises(OperationFailed, match="down \\(L7STS\\)"):
        watch(router, seconds=30.0)


def test_a_member_that_fails_more_than_the_others_ends_the_watch(canary):
    """But one that fails as often as they do does not: the cause is elsewhere."""
    router, (_, green), ask = canary
    thread = during(lambda: ask("/500", times=100))
    assert "failed" in watch(router, seconds=0.5, max_error_rate=0.1)
    thread.join()
    green.break_down()
    thread = during(lambda: ask(times=200))
    with pytest.raises(OperationFailed, match=r"requests to web failed: 100.0% of \d+, of others 0.0%"):
        watch(router, seconds=30.0, max_error_rate=0.1)
    thread.join()


def test_a_member_that_is_slower_than_the_others_ends_the_watch(canary):
    """By the ratio that was asked for."""
    router, (_, green), ask = canary
    green.slow_down(0.02)
    thread = during(lambda: ask(times=200))
    with pytest.raises(OperationFailed, match=r"web takes \d+ ms, the others \d+ ms"):
        watch(router, seconds=30.0, max_latency_ratio=3.0)
    thread.join()


def test_a_process_that_restarts_ends_the_watch(canary):
    """Whatever the router thinks of it."""
    router, _, _ = canary
    seen = iter(range(10))

    def restarting(key):
        return {**running(key), "RestartCount": next(seen)}

    with pytest.raises(OperationFailed, match="has ended"):
        watch(router, restarting, seconds=30.0)
