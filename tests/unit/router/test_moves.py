"""Moving traffic with the real HAProxy: nothing is lost, whatever is moved and whoever restarts."""

from __future__ import annotations

import http.client
import socket
import threading

import pytest
from support import haproxy_process
from support.haproxy_process import IMAGE, Load, Process, free_port, services

from orchestrator.agent.failures import OperationFailed
from orchestrator.agent.router import moves
from orchestrator.protocol.routing import Backend, Listener, Member, Route, RouterConfig, Shift

pytestmark = pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class World:
    """A router in front of one service, and where its containers are."""

    def __init__(self) -> None:
        self.port, self.inside = free_port(), free_port()
        self.config = picture(self.port, self.inside)
        self.backend = self.config.backends[0].name

    def attach(self, router, service, slot=1):
        """Attach a tiny service, named by its release."""
        return moves.attach(router.steering, ("web", slot, service.name), service.located)

    def shift(self, router, *members):
        """Shift to members given as release, or (release, weight)."""
        pairs = [one if isinstance(one, tuple) else (one, 256) for one in members]
        return moves.shift(router.steering, Shift("web", tuple(Member(1, *pair) for pair in pairs)))

    def drain(self, router, release, seconds=10.0):
        """Drain one."""
        return moves.drain(router.steering, ("web", 1, release), seconds, lambda _: None)

    def get(self, path="/", **headers):
        """Ask the router."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()


def picture(port: int, inside: int, **changes) -> RouterConfig:
    """A listener that leads to one backend."""
    backend = Backend("web", inside, "http", "roundrobin", "/health", inter=0.03, fall=2, slots=4)
    listener = Listener(port, "127.0.0.1", routes=(Route("site", backend.name),))
    return RouterConfig("shop", IMAGE, (backend,), (listener,), **changes)


@pytest.fixture
def world():
    """Ports that are free."""
    return World()


def test_a_hundred_cutovers_lose_no_request(world):
    """Blue to green and back, with clients that never retry, with keep-alive and without."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        clients = [Load(world.port, keep_alive=True), Load(world.port, keep_alive=False)]
        for number in range(100):
            new, old = (green, "r1") if number % 2 == 0 else (blue, "r2")
            world.attach(router, new)
            world.shift(router, new.name)
            world.drain(router, old)
        for client in clients:
            client.stop()
        assert [client.failures for client in clients] == [[], []]
        assert all(client.done > 100 and set(client.answers) == {"r1", "r2"} for client in clients)


def test_an_attached_container_gets_no_traffic_but_the_preview(world):
    """Header, cookie and nothing else lead to it; another release's name does not."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        world.attach(router, green)
        assert {world.get()[1] for _ in range(20)} == {"r1"}
        assert world.get(**{"X-Deploy-Preview": "r2"}) == (200, "r2")
        assert world.get(Cookie="a=b; x-deploy-preview=r2") == (200, "r2")
        assert world.get(**{"X-Deploy-Preview": "r3"}) == (200, "r1")
        world.shift(router, "r2")
        assert world.get(**{"X-Deploy-Preview": "r2"}) == (200, "r2")
        assert world.get()[1] == "r2"


def test_weights_are_exact(world):
    """A canary gets its share."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        for one in (blue, green):
            world.attach(router, one)
        world.shift(router, ("r1", 192), ("r2", 64))
        answers = [world.get()[1] for _ in range(200)]
        assert 40 <= answers.count("r2") <= 60


def test_a_drain_waits_for_a_slow_request(world):
    """The request ends as it should; only then is the container taken out."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        answers = []
        slow = threading.Thread(target=lambda: answers.append(world.get("/slow=0.6")))
        slow.start()
        steering = router.steering
        assert steering.wait(5, lambda stats: steering.sessions(stats, "web", 1) == 1)
        world.attach(router, green)
        world.shift(router, "r2")
        assert world.get()[1] == "r2"
        world.drain(router, "r1")
        assert [seat.release for seat in router.table.seats] == ["r2"]
        slow.join()
        assert answers == [(200, "r1")]


def test_a_tunnel_lives_on_until_the_drain_ends_it(world):
    """A WebSocket to the old release speaks on during the shift, and is ended at the limit."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        with socket.create_connection(("127.0.0.1", world.port), timeout=10) as tunnel:
            tunnel.sendall(UPGRADE)
            assert b" 101 " in tunnel.recv(4096)
            world.attach(router, green)
            world.shift(router, "r2")
            tunnel.sendall(b"still there?")
            assert tunnel.recv(4096) == b"r1:still there?"
            assert world.drain(router, "r1", 0.1).startswith("ended 1 sessions")
            assert tunnel.recv(4096) == b""


def test_moves_can_be_made_twice(world):
    """The second time is a remark, not a failure."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        assert world.attach(router, blue) == ""
        assert world.shift(router, "r1") == ""
        assert world.shift(router, "r1") == "was so already"
        assert world.attach(router, blue) == "was attached already"
        world.attach(router, green)
        world.shift(router, "r2")
        assert world.drain(router, "r1") == ""
        assert world.drain(router, "r1") == "was out already"
        assert moves.detach(router.steering, ("web", 1, "r1")) == "was out already"
        with pytest.raises(OperationFailed, match="shift it first"):
            moves.detach(router.steering, ("web", 1, "r2"))


def test_a_sick_container_is_not_attached(world, monkeypatch):
    """It is taken out again, and the failure tells what the checks said."""
    monkeypatch.setattr(moves, "ATTACH_SECONDS", 0.3)
    with Process(world.config) as router, services(world.inside, "r1") as (blue,):
        blue.sicken()
        with pytest.raises(OperationFailed, match="L7STS"):
            world.attach(router, blue)
        assert router.table.seats == ()


def test_a_shift_to_what_has_become_sick_is_taken_back(world, monkeypatch):
    """The old one goes on serving, as if nothing had been tried."""
    monkeypatch.setattr(moves, "SHIFT_SECONDS", 0.3)
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        world.attach(router, green)
        green.sicken()
        steering = router.steering
        assert steering.wait(5, lambda stats: stats[world.backend, "s2"].status.startswith("DOWN"))
        before = router.table
        with pytest.raises(OperationFailed, match="does not take traffic"):
            world.shift(router, "r2")
        assert router.table == before
        assert {world.get()[1] for _ in range(5)} == {"r1"}


def test_going_back_to_what_served_before_needs_no_health(world):
    """A revert must not fail because the old release is sick as well."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        world.attach(router, blue)
        world.shift(router, "r1")
        world.attach(router, green)
        world.shift(router, "r2")
        blue.sicken()
        steering = router.steering
        assert steering.wait(5, lambda stats: stats[world.backend, "s1"].status.startswith("DOWN"))
        assert "unhealthy" in world.shift(router, "r1")
        assert [seat.release for seat in router.table.seats if seat.weight] == ["r1"]


@pytest.mark.parametrize("rewritten", [True, False], ids=["file as recorded", "file of long ago"])
def test_a_crashed_router_comes_back_as_it_was(world, rewritten):
    """From the file at once; and the next move heals whatever the file did not know."""
    with Process(world.config) as router, services(world.inside, "r1", "r2") as (blue, green):
        old_file = router.home.config.read_text()
        world.attach(router, blue)
        world.shift(router, "r1")
        world.attach(router, green)
        world.shift(router, "r2")
        router.kill()
        if not rewritten:
            router.home.config.write_text(old_file)
        router.start()
        if rewritten:
            assert {world.get()[1] for _ in range(5)} == {"r2"}
            assert router.runtime.stats()[0].weight == 0
        moves.healed(router.steering)
        assert router.steering.wait(5, lambda stats: stats[world.backend, "s2"].up)
        assert {world.get()[1] for _ in range(5)} == {"r2"}
        world.shift(router, "r1")
        assert {world.get()[1] for _ in range(5)} == {"r1"}


def test_a_full_service_says_so(world):
    """No slot is ever taken from somebody."""
    with Process(world.config) as router, services(world.inside, "r1") as (blue,):
        for slot in (1, 2, 3, 4):
            world.attach(router, blue, slot)
        with pytest.raises(OperationFailed, match="all 4 places"):
            world.attach(router, blue, 5)
