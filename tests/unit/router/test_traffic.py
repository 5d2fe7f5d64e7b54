"""What a request meets, with the real HAProxy: routes, limits, maintenance, the mesh, TLS, reloads."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import socket
import ssl
import subprocess
import time

import pytest
from support import haproxy_process
from support.haproxy_process import IMAGE, Load, Process, free_port, services

from orchestrator.agent.router import moves
from orchestrator.protocol.routing import (
    Backend,
    Certificate,
    Listener,
    Member,
    Mesh,
    Remote,
    Route,
    RouterConfig,
    Shift,
    Virtual,
)

pytestmark = pytest.mark.skipif(not haproxy_process.available(), reason="HAProxy is not installed")


@pytest.fixture
def ports():
    """(of the listener, of the services)."""
    return free_port(), free_port()


def picture(ports, *routes: Route, **changes) -> RouterConfig:
    """A listener with routes."""
    backend = Backend("web", ports[1], inter=0.03, fall=2, slots=4, **changes.pop("backend", {}))
    made = tuple(dataclasses.replace(route, backend=backend.name) for route in routes)
    return RouterConfig("shop", IMAGE, (backend,), (Listener(ports[0], "127.0.0.1", routes=made),), **changes)


def serve(router, *running, slots=(1, 2)):
    """Give all traffic to tiny services."""
    for slot, one in zip(slots, running, strict=False):
        moves.attach(router.steering, ("web", slot, one.name), one.located)
    members = tuple(Member(slot, one.name) for slot, one in zip(slots, running, strict=False))
    moves.shift(router.steering, Shift("web", members))


def get(port, path="/", method="GET", body=None, **headers):
    """Return (status, headers, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        with contextlib.suppress(BrokenPipeError):  # refused before it was read to its end
            connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def test_routes_limits_and_headers(ports):
    """Hosts, prefixes at segment boundaries, sizes, redirects, headers in and out."""
    routes = (
        Route(
            "api",
            "",
            "a.example",
            "/api",
            set_headers=(("X-Said", 'it\'s 100% $HOME \\ "q" #'), ("X-Gone", "")),
        ),
        Route("wild", "", "*.b.example", max_body=10),
        Route("secure", "", "c.example", redirect_https=True),
        Route("rated", "", "d.example", rate=3),
    )
    with Process(picture(ports, *routes)) as router, services(ports[1], "r1") as (one,):
        serve(router, one)
        seen = get(ports[0], "/headers", Host="x.b.example", **{"X-Forwarded-For": "9.9.9.9"})[2].splitlines()
        assert "x-forwarded-for: 127.0.0.1" in seen
        assert "x-forwarded-proto: http" in seen
        assert "x-forwarded-host: x.b.example" in seen
        assert f"x-forwarded-port: {ports[0]}" in seen
        assert get(ports[0], "/api", Host="A.example:80")[0] == 200
        assert get(ports[0], "/api/x", Host="a.example")[0] == 200
        assert get(ports[0], "/apix", Host="a.example")[0] == 404
        assert get(ports[0], Host="b.example")[0] == 404
        assert get(ports[0], method="POST", body="x" * 10, Host="x.b.example")[0] == 200
        assert get(ports[0], method="POST", body="x" * 11, Host="x.b.example")[0] == 413
        assert get(ports[0], method="POST", body=iter([b"x"]), Host="x.b.example")[0] == 411
        status, headers, _ = get(ports[0], "/p?q=1", Host="c.example")
        assert (status, headers["location"]) == (308, "https://c.example/p?q=1")
        assert {get(ports[0], Host="d.example")[0] for _ in range(10)} == {200, 429}


def test_headers_of_a_route_arrive_as_they_were_written(ports):
    """Nothing in them is a word of HAProxy's."""
    said = 'it\'s 100% %[src] $HOME \\ "q" #'
    route = Route("a", "", set_headers=(("X-Gone", ""), ("X-Said", said)))
    with Process(picture(ports, route)) as router, services(ports[1], "r1") as (one,):
        serve(router, one)
        seen = get(ports[0], "/headers", **{"X-Gone": "here"})[2].splitlines()
        assert f"x-said: {said}" in seen
        assert not any(line.startswith("x-gone") for line in seen)


def test_maintenance_is_switched_while_it_runs(ports):
    """For one route, at once; the page is ours."""
    routes = (Route("a", "", "a.example"), Route("b", "", "b.example"))
    with Process(picture(ports, *routes)) as router, services(ports[1], "r1") as (one,):
        serve(router, one)
        router.steering.record(router.table.maintained("a", on=True))
        status, headers, body = get(ports[0], Host="a.example")
        assert (status, headers["retry-after"]) == (503, "60")
        assert "maintenance" in body
        assert get(ports[0], Host="b.example")[0] == 200
        router.kill()
        router.start()
        assert get(ports[0], Host="a.example")[0] == 503
        router.steering.record(router.table.maintained("a", on=False))
        assert get(ports[0], Host="a.example")[0] == 200


def test_a_cookie_keeps_a_client_with_its_container(ports):
    """As long as it is there."""
    config = picture(ports, Route("a", ""), backend={"cookie": "SID"})
    with Process(config) as router, services(ports[1], "r1", "r2") as both:
        serve(router, *both)
        _, headers, body = get(ports[0])
        cookie = headers["set-cookie"].partition(";")[0]
        assert {get(ports[0], Cookie=cookie)[2] for _ in range(10)} == {body}
        gone = both[0] if body == "r1" else both[1]
        other = both[1] if gone is both[0] else both[0]
        slots = {"r1": 1, "r2": 2}
        moves.shift(router.steering, Shift("web", (Member(slots[other.name], other.name),)))
        moves.drain(router.steering, ("web", slots[gone.name], gone.name), 5.0, lambda _: None)
        assert get(ports[0], Cookie=cookie)[2] == other.name


def test_a_virtual_address_is_for_the_project_alone(ports):
    """Whoever comes from elsewhere is not even answered."""
    config = picture(
        ports, Route("a", ""), virtual_network="127.200.0.0/16",
        virtuals=(Virtual("127.200.0.5", f"web_{ports[1]}", ports[0] + 1 if ports[0] < 65535 else 1024),),
    )  # fmt: skip
    where = ("127.200.0.5", config.virtuals[0].port)
    for sources, answered in ((("127.0.0.0/8",), True), (("10.1.2.0/24",), False), ((), False)):
        with Process(config, sources=sources) as router, services(ports[1], "r1") as (one,):
            serve(router, one)
            try:
                with socket.create_connection(where, timeout=5) as client:
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = client.recv(100)
            except ConnectionError:
                answer = b""
            assert answer.startswith(b"HTTP/1.1 200") is answered


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_the_mesh_leads_to_another_host_while_it_is_healthy(ports, mode):
    """Through its router, with the project's token alone; down there is down here."""
    mesh_port, outside = free_port(), free_port()
    backend = Backend("web", ports[1], mode, inter=0.03, fall=2, slots=2)
    meshed = (Mesh(backend.name, mesh_port),)
    there = RouterConfig("shop", IMAGE, (backend,), mesh=meshed, mesh_address="127.0.0.1", mesh_token="tok")
    remote = Remote("there", "127.0.0.1", mesh_port, "tok")
    route = Route("a", backend.name)
    here = RouterConfig(
        "shop", IMAGE, (dataclasses.replace(backend, remotes=(remote,)),),
        (Listener(outside, "127.0.0.1", mode, routes=(route,)),),
    )  # fmt: skip
    stranger = dataclasses.replace(
        here,
        backends=(dataclasses.replace(backend, remotes=(dataclasses.replace(remote, token="wrong"),)),),
        listeners=(Listener(ports[0], "127.0.0.1", mode, routes=(route,)),),
    )
    with (
        Process(there) as far,
        Process(here) as near,
        Process(stranger) as other,
        services(ports[1], "r1") as (one,),
    ):
        remotes = (backend.name, "r_there")
        assert near.steering.wait(5, lambda stats: stats[remotes].status.startswith("DOWN"))
        serve(far, one)
        assert near.steering.wait(5, lambda stats: stats[remotes].up)
        assert get(outside)[2] == "r1"
        assert other.steering.wait(5, lambda stats: stats[remotes].up)
        refused = None
        try:
            refused = get(ports[0])[0]
        except (OSError, http.client.HTTPException) as error:
            refused = error
        assert refused != 200
        moves.shift(far.steering, Shift("web", ()))
        assert near.steering.wait(5, lambda stats: stats[remotes].status.startswith("DOWN"))


def test_a_host_that_gives_up_its_last_one_costs_no_request(ports):
    """The others hear of it with their next checks; what they send until then goes to somebody else."""
    mesh_port, outside = free_port(), free_port()
    backend = Backend("web", ports[1], inter=1.0, fall=3, slots=2)
    meshed = (Mesh(backend.name, mesh_port),)
    there = RouterConfig("shop", IMAGE, (backend,), mesh=meshed, mesh_address="127.0.0.1", mesh_token="tok")
    both = dataclasses.replace(backend, remotes=(Remote("there", "127.0.0.1", mesh_port, "tok"),))
    listening = (Listener(outside, "127.0.0.1", routes=(Route("a", backend.name),)),)
    here = RouterConfig("shop", IMAGE, (both,), listening)
    remotes = (backend.name, "r_there")
    with Process(there) as far, Process(here) as near, services(ports[1], "r1", "r2") as (one, other):
        serve(far, one)
        serve(near, other)
        assert near.steering.wait(5, lambda stats: stats[remotes].up)
        client = Load(outside, keep_alive=True)
        while set(client.answers) != {"r1", "r2"}:
            time.sleep(0.01)
        moves.shift(far.steering, Shift("web", ()))
        assert near.steering.wait(10, lambda stats: stats[remotes].status.startswith("DOWN"))
        client.stop()
        assert client.failures == []
        moves.shift(near.steering, Shift("web", ()))
        assert get(outside)[0] == 503


def certificate(folder, name: str) -> bytes:
    """Make a certificate and its key, as one bundle."""
    key, made = folder / "key.pem", folder / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    subprocess.run(
        [*words, "-addext", f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(made)],
        check=True,
        capture_output=True,
    )
    return made.read_bytes() + key.read_bytes()


def served(port: int, name: str) -> bytes:
    """Return the certificate a client is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name) as client,
    ):
        return client.getpeercert(binary_form=True) or b""


def test_certificates_are_chosen_by_name_and_renewed_without_a_reload(ports, tmp_path):
    """New connections see the new one; the process is the same."""
    names = {"a": "a.example", "b": "b.example"}
    config = picture(ports, Route("x", ""))
    config = dataclasses.replace(
        config,
        certificates=tuple(Certificate(name, "0" * 64) for name in names),
        listeners=(dataclasses.replace(config.listeners[0], tls=True),),
    )
    router = Process(config)
    router.home.make()
    for name, host in names.items():
        (router.home.certificates / f"{name}.pem").write_bytes(certificate(tmp_path, host))
    with router:
        first = {host: served(ports[0], host) for host in names.values()}
        assert len(set(first.values())) == 2
        pid = router.runtime.info()["Pid"]
        bundle = certificate(tmp_path, "a.example").decode()
        router.runtime.set_certificate(f"{router.home.certificates}/a.pem", bundle)
        assert served(ports[0], "a.example") != first["a.example"]
        assert served(ports[0], "b.example") == first["b.example"]
        assert router.runtime.info()["Pid"] == pid


def test_a_reload_loses_nothing_and_knows_what_checks_have_said(ports):
    """Ten of them under load, with a server that is down and must not be tried."""
    with Process(picture(ports, Route("a", ""))) as router, services(ports[1], "r1", "r2") as (one, two):
        serve(router, one, two)
        two.close = lambda: None
        two._server.shutdown()
        two._server.server_close()
        name = f"web_{ports[1]}"
        assert router.steering.wait(5, lambda stats: stats[name, "s2"].status.startswith("DOWN"))
        clients = [Load(ports[0], keep_alive=True), Load(ports[0], keep_alive=False)]
        for number in range(10):
            router.config = picture(ports, Route("a", ""), drain_header=f"x-{number}")
            router.reload()
            assert router.steering.stats()[name, "s2"].status.startswith("DOWN")
        for client in clients:
            client.stop()
        assert [client.failures for client in clients] == [[], []]
