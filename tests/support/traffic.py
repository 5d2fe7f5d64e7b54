"""Clients that do not retry, in a process of their own, and the service that they ask.

Owns what is asked, how, and what is counted as a failure: anything but a whole answer with a status of
2xx. What is deployed meanwhile is the test's. The file is the clients' program too: it must not import
anything that is not in the standard library.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self

KINDS = ("keep-alive", "close", "long", "upgrade")
"""One connection for many requests, one for each, requests that last a second, and tunnels."""
_TIMEOUT = 10.0
_PAUSE = 0.02
_ECHOES = 12
_ECHO_PAUSE = 0.1
_HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


class Sample(NamedTuple):
    """One request."""

    at: float
    """When it began, in seconds since the epoch."""
    address: str
    kind: str
    seconds: float
    page: str
    """What came back."""
    error: str
    """Empty exactly when it went well."""


class Load:
    """Ask every address all the time, in each way, while the block runs.

    Args:
        addresses: Hosts' addresses; ``ADDRESS:PORT`` when it is not port 80.
        kinds: Of :data:`KINDS`.
        headers: Sent with each request.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        kinds: Sequence[str] = KINDS,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._asked = json.dumps([list(addresses), list(kinds), dict(headers or {})])
        self.samples: tuple[Sample, ...] = ()
        """Once the block has ended."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, self._asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said, _ = self._process.communicate("", timeout=2 * _TIMEOUT)
        self.samples = tuple(Sample(*one) for one in json.loads(said))

    def failures(self, *, since: float = 0.0, until: float = float("inf")) -> list[Sample]:
        """The requests that did not go well, of those that began in between."""
        return [one for one in self.samples if one.error and since <= one.at < until]

    def pages(self, *, since: float = 0.0, until: float = float("inf"), kind: str = "") -> Counter[str]:
        """How often each page came back to requests that began in between."""
        found = (one for one in self.samples if since <= one.at < until and kind in ("", one.kind))
        return Counter(one.page for one in found if not one.error)

    def p99(self, *, since: float = 0.0, until: float = float("inf"), kind: str = "keep-alive") -> float:
        """Seconds that 99 of 100 requests of a kind took at most, of those that began in between."""
        took = sorted(o.seconds for o in self.samples if o.kind == kind and since <= o.at < until)
        return took[min(len(took) - 1, len(took) * 99 // 100)]

    def outage(self) -> float:
        """Seconds between the last good answer before the first failure and the first after the last."""
        failed = [one.at for one in self.samples if one.error]
        if not failed:
            return 0.0
        good = [one.at for one in self.samples if not one.error]
        return min(at for at in good if at > failed[-1]) - max(at for at in good if at < failed[0])


SERVE = """\
trap 'exit 0' TERM
case $VERSION in
    exits*) echo 'no licence' >&2; exit 7 ;;
    sick*) sleep 1000 & wait ;;
esac
echo "$VERSION" >/tmp/version
nc -ll -p 9000 -e /bin/tunnel &
httpd -f -p 8080 -h /srv &
wait
"""
"""Serves its ``VERSION`` at / of port 8080, after a second at /cgi-bin/long, and an echo at port 9000.

Versions called ``exits`` and ``sick`` do what they are called.
"""
LONG = """\
#!/bin/sh
sleep 1
printf 'Content-Type: text/plain\\r\\n\\r\\n%s\\n' "$VERSION"
"""
TUNNEL = """\
#!/bin/sh
while read -r line; do test "$line" != "$(printf '\\r')" || break; done
test -n "$line" || exit 0
printf '%s\\r\\n' 'HTTP/1.1 101 Switching Protocols' 'Connection: Upgrade' 'Upgrade: websocket' \\
    'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=' ''
exec cat
"""
"""Shakes hands with the one client whose key is the standard's sample; then frames are its own affair."""
FAST = {"min_healthy": "100ms", "bake": "300ms", "drain": "10s"}
"""An update that does not keep a test waiting."""


def routed(project: Any, **update: Any) -> Any:
    """Have the service of this module in a project, once on each of its hosts, behind routers.

    Args:
        project: A :class:`support.deploying.Project`; its spec and files are changed.
        update: Of the service's ``update``, besides :data:`FAST`.

    Returns:
        The project.
    """
    for name, text in {"start": f"#!/bin/sh\n{SERVE}", "long": LONG, "tunnel": TUNNEL}.items():
        project.file(f"images/shop/{name}", text)
    lines = [
        "FROM busybox:static",
        "RUN mkdir /srv && ln -s /tmp/version /srv/index.html",
        "COPY --chmod=0755 start tunnel /bin/",
        "COPY --chmod=0755 long /srv/cgi-bin/long",
        'CMD ["/bin/start"]',
        "",
    ]
    project.file("images/shop/Dockerfile", "\n".join(lines))
    project.spec = {
        "project": project.name,
        "images": {"shop": {"build": "images/shop"}},
        "router": {},
        "routes": {
            "shop": {"service": "shop", "port": 8080},
            "tunnel": {"service": "shop", "port": 9000, "path": "/tunnel"},
        },
        "services": {
            "shop": project.service(
                "shop",
                hosts=["web", "db"],
                ports=[],
                tmpfs=["/tmp"],
                expose=[8080, 9000],
                environment={"VERSION": "v0"},
                update={**FAST, **update},
            )
        },
    }
    return project


def change(project: Any, *arguments: str, code: int = 0, **environ: str) -> Any:
    """Run ``deploy apply``, or what the arguments say, on a project and check its exit code; the run."""
    words = arguments if arguments and not arguments[0].startswith("-") else ("apply", *arguments)
    done = project.run(*words, "--yes", "--json", timeout=120.0, **environ)
    assert done.code == code, done.stdout[-6000:] + done.stderr
    assert done.finished["exit_code"] == code
    return done


def start_hasty(project: Any, *arguments: str) -> subprocess.Popen[str]:
    """Start ``deploy apply --yes --json`` such that a host waits 5 seconds for its confirm, not a minute."""
    hasty = "import runpy, sys, orchestrator.planning.rollout.cutover as _; "
    hasty += "sys.modules['orchestrator.planning.rollout.cutover'].MARGIN = 5.0; "
    program = hasty + "runpy.run_module('orchestrator', run_name='__main__')"
    project.write()
    return subprocess.Popen(
        [sys.executable, "-c", program, "apply", "--yes", "--json", *arguments],
        cwd=project.folder,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def moments(done: Any, event: str, step: str) -> list[float]:
    """Return when an event happened to the steps whose id begins like that, in seconds since the epoch."""
    found = ((line["time"], line["step"]) for line in done.named(event))
    named = ((at, named["id"] if isinstance(named, dict) else named) for at, named in found)
    return [at for at, id_ in named if id_.startswith(step)]


def changed(look: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until ``look`` finds what it looks for; no answer is not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if look():
                return
        except OSError:
            pass
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)


# --- the program of the clients --------------------------------------------------------------------


class _Client(threading.Thread):
    """Asks one address in one way until it is told to end; what is running then is finished."""

    def __init__(self, address: str, kind: str, headers: Mapping[str, str], end: threading.Event) -> None:
        super().__init__()
        self.samples: list[Sample] = []
        self._address = address
        self._kind = kind
        self._headers = dict(headers)
        self._end = end
        self._connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        ask: Callable[[], str] = {
            "keep-alive": self._keep_alive,
            "close": self._close,
            "long": self._long,
            "upgrade": self._upgrade,
        }[self._kind]
        while not self._end.is_set():
            at, started = time.time(), time.monotonic()
            page = error = ""
            try:
                page = ask()
            except (OSError, http.client.HTTPException, ValueError) as failed:
                error = repr(failed)
                self._connection = None
            took = time.monotonic() - started
            self.samples.append(Sample(at, self._address, self._kind, took, page, error))
            self._end.wait(_PAUSE)

    def _get(self, connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str]) -> str:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        page = answer.read().decode().strip()
        if not 200 <= answer.status < 300:
            raise ValueError(f"status {answer.status}")
        if answer.will_close:
            self._connection = None
        return page

    def _keep_alive(self) -> str:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT)
        return self._get(self._connection, "/", self._headers)

    def _close(self) -> str:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT)
        try:
            return self._get(connection, "/", {**self._headers, "Connection": "close"})
        finally:
            connection.close()

    def _long(self) -> str:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT)
        try:
            return self._get(connection, "/cgi-bin/long", self._headers)
        finally:
            connection.close()

    def _upgrade(self) -> str:
        with open_tunnel(self._address, self._headers) as tunnel:
            for number in range(_ECHOES):
                tunnel.sendall(b"%d\n" % number)
                if tunnel.recv(100) != b"%d\n" % number:
                    raise ValueError(f"the tunnel ended after {number} echoes")
                time.sleep(_ECHO_PAUSE)
        return "tunnel"


def open_tunnel(address: str, headers: Mapping[str, str] | None = None) -> socket.socket:
    """Open a tunnel whose other end echoes lines.

    Raises:
        ValueError: The other end does not want to.
    """
    host, _, port = address.partition(":")
    tunnel = socket.create_connection((host, int(port or 80)), timeout=_TIMEOUT)
    fields = {"Host": host, **_HANDSHAKE, **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    heard = b""
    tunnel.sendall(f"GET /tunnel HTTP/1.1\r\n{head}\r\n".encode())
    while b"\r\n\r\n" not in heard and (data := tunnel.recv(4096)):
        heard += data
    if b" 101 " not in heard:
        tunnel.close()
        raise ValueError(f"not upgraded: {heard[:40]!r}")
    return tunnel


def _main() -> None:
    addresses, kinds, headers = json.loads(sys.argv[1])
    end = threading.Event()
    clients = [_Client(address, kind, headers, end) for address in addresses for kind in kinds]
    for client in clients:
        client.start()
    sys.stdin.read()
    end.set()
    for client in clients:
        client.join()
    samples = [one for client in clients for one in client.samples]
    json.dump(sorted(samples), sys.stdout)


if __name__ == "__main__":
    _main()
