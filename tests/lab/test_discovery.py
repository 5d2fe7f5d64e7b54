"""Services that find each other by name on any host, and routes from outside."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.deploying import Project
from support.seen import fetch
from support.traffic import change, changed, routed

from orchestrator.lab import Lab

DOMAIN = "shop.example.com"


@pytest.fixture(scope="module")
def shop(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Two services with one port on two hosts, a user of both on a third, and routes to one."""
    made = routed(Project(tmp_path_factory.mktemp("discovery"), lab, "discovery"))
    _certificate(made.folder)
    api = made.spec["services"].pop("shop")
    api = {**api, "hosts": ["web"], "environment": {"VERSION": "api"}}
    made.spec["services"] = {
        "api": api,
        "books": {**api, "environment": {"VERSION": "books"}},
        "user": {
            **api,
            "hosts": ["db"],
            "environment": {"VERSION": "user"},
            "depends_on": ["api", "books"],
            "expose": [8080],
        },
    }
    made.spec["router"] = {"hosts": ["db"]}
    made.spec["routes"] = {
        "api": {"service": "api", "port": 8080, "sticky": True},
        "safe": {
            "service": "books",
            "port": 8080,
            "host": DOMAIN,
            "redirect": True,
            "tls": {"certificate": {"from": {"file": "tls.pem"}}},
        },
    }
    try:
        change(made)
        yield made
    finally:
        made.remove()


def _certificate(folder: Path) -> None:
    key, chain = folder / "key.pem", folder / "chain.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={DOMAIN}"]
    words += ["-addext", f"subjectAltName=DNS:{DOMAIN}", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(words, check=True, capture_output=True)
    (folder / "tls.pem").write_text(chain.read_text() + key.read_text())


def _inside(shop: Project, *command: str) -> str:
    """What a command prints in the user's container."""
    done = shop.lab.docker("db-1", "exec", shop.containers()["user[1]"].id, *command)
    return str(done.stdout)


def _address(shop: Project, name: str) -> str:
    """What a service's name resolves to in the user's container, where no client here can do so itself."""
    lines = [line.split() for line in _inside(shop, "cat", "/etc/hosts").splitlines()]
    (address,) = [words[0] for words in lines if name in words[1:]]
    return address


def _ask(shop: Project, name: str) -> str:
    """The last line that a service answers with."""
    asking = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {_address(shop, name)} 8080"
    return _inside(shop, "sh", "-c", asking).splitlines()[-1]


def _entry(shop: Project) -> str:
    return str(shop.lab.host("db-1").address)


def test_names_lead_to_services_on_other_hosts(shop: Project) -> None:
    """Over HTTP, each by its own address, though both have the same port; over TCP too."""
    assert _ask(shop, "api") == "api"
    assert _ask(shop, "books") == "books"
    hello = r"printf 'GET /tunnel HTTP/1.1\r\nHost: x\r\n\r\n'; sleep 0.5"
    assert " 101 " in _inside(shop, "sh", "-c", f"({hello}) | nc -w 2 {_address(shop, 'api')} 9000")
    assert _address(shop, "api") != _address(shop, "books")


def test_addresses_do_not_move(shop: Project) -> None:
    """A new release of the service is found where the old one was, and its user is left alone."""
    before = shop.ids()["user[1]"]
    shop.spec["services"]["books"]["environment"]["VERSION"] = "books-2"
    change(shop)
    assert shop.ids()["user[1]"] == before
    assert _ask(shop, "books") == "books-2"


def test_strangers_reach_nothing(shop: Project) -> None:
    """A container of another project on the same host gets no answer at a service's address."""
    address = _address(shop, "api")
    image = shop.containers()["user[1]"].inspected["Image"]
    asking = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 8080"
    stranger = shop.lab.docker("db-1", "run", "--rm", image, "sh", "-c", asking, check=False)
    assert stranger.stdout == ""


def test_a_dead_host_is_left_out(shop: Project) -> None:
    """Within the health interval nobody is sent there any more; back again, it takes part."""
    assert {_ask(shop, "api") for _ in range(6)} == {"api"}
    shop.lab.cut("web-2")
    try:
        time.sleep(3)
        began = time.monotonic()
        assert [fetch(f"http://{_entry(shop)}/", timeout=1).strip() for _ in range(20)] == ["api"] * 20
        assert time.monotonic() - began < 2
        assert _ask(shop, "api") == "api"
    finally:
        shop.lab.heal("web-2")
    changed(lambda: "UP" in _states(shop, "r_web-2"))


def _states(shop: Project, server: str) -> set[str]:
    (host,) = [one for one in shop.look("routes")["hosts"] if one["host"] == "db-1"]
    return {one["state"] for one in host["servers"] if one["server"] == server}


def test_maintenance(shop: Project) -> None:
    """The route answers 503 until it is switched back; inside, the service serves on."""
    assert shop.run("maintenance", "on", "api").code == 0
    try:
        with pytest.raises(OSError, match="503"):
            fetch(f"http://{_entry(shop)}/")
        assert _ask(shop, "api") == "api"
    finally:
        assert shop.run("maintenance", "off", "api").code == 0
    assert fetch(f"http://{_entry(shop)}/").strip() == "api"


def test_tls_and_redirect(shop: Project) -> None:
    """Plain requests are sent on to https, where the certificate is the secret's."""
    plain = http.client.HTTPConnection(_entry(shop), timeout=5)
    plain.request("GET", "/a?b=c", headers={"Host": DOMAIN})
    answer = plain.getresponse()
    assert answer.status == 308
    where = urlsplit(answer.headers["Location"])
    assert (where.scheme, where.hostname, where.path, where.query) == ("https", DOMAIN, "/a", "b=c")
    plain.close()
    trust = ssl.create_default_context(cafile=str(shop.folder / "chain.pem"))
    trust.check_hostname = False
    safe = http.client.HTTPSConnection(_entry(shop), timeout=5, context=trust)
    safe.request("GET", "/", headers={"Host": DOMAIN})
    assert safe.getresponse().read().startswith(b"books")
    safe.close()


def test_sticky(shop: Project) -> None:
    """A client that sends its cookie back stays where it was."""
    given = []
    headers: dict[str, str] = {}
    for _ in range(6):
        client = http.client.HTTPConnection(_entry(shop), timeout=5)
        client.request("GET", "/", headers=headers)
        answer = client.getresponse()
        assert answer.status == 200
        if cookies := answer.headers.get_all("Set-Cookie"):
            given.append(cookies)
            headers["Cookie"] = "; ".join(cookie.split(";")[0] for cookie in cookies)
        client.close()
    assert len(given) == 1
