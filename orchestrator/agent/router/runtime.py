"""HAProxy's runtime socket: commands, what it says of its servers, and what counts as a refusal.

Owns the wire (one connection a command, so that a broken answer spoils nothing else) and the parsing.
It must not know why something is set. Every command is acknowledged or raises.
"""

from __future__ import annotations

import csv
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Tuple

from orchestrator.agent.failures import OperationFailed

TIMEOUT = 5.0
"""Seconds without a byte from HAProxy before it counts as not answering."""

_MOST = 64 << 20
_ADDRESS_ANSWERS = ("changed from", "no need to change", "nothing changed")


class RouterError(OperationFailed):
    """Something about the router did not work out."""

    def __init__(self, message: str) -> None:
        super().__init__("router", message)


class RouterSilent(RouterError):  # noqa: N818 - reads as the state it names
    """HAProxy cannot be asked: it does not run, or does not answer."""


class RouterRefused(RouterError):  # noqa: N818
    """HAProxy understood a command and refused it; the message has its words."""


@dataclass(frozen=True)
class ServerStat:
    """One line of ``show stat`` about a server."""

    backend: str
    server: str
    status: str
    """``UP``, ``UP 1/3``, ``DOWN``, ``DOWN 1/2``, ``DRAIN``, ``MAINT``, ``no check``."""
    check: str
    """Last check: ``L7OK``, ``L4CON``, ...; a leading ``* `` (one is under way) is left out."""
    address: str
    """``10.0.0.2:80``."""
    weight: int
    """As set, whatever the state."""
    sessions: int
    queued: int
    requests: int
    total: int
    """Sessions so far."""
    errors: int
    """Failed connections and responses so far."""
    responses_5xx: int
    response_time: float
    """Mean of the last 1024 requests, in seconds."""

    @property
    def up(self) -> bool:
        """It takes new traffic."""
        return self.status.startswith("UP") or self.status == "no check"


class Runtime:
    """The runtime socket of one router."""

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def ask(self, command: str) -> str:
        """Return HAProxy's answer to one command, without the blank line at its end.

        Raises:
            RouterSilent: There was none.
        """
        try:
            with self._connect() as sock:
                sock.sendall(f"{command}\n".encode())
                answer = b""
                while piece := sock.recv(1 << 16):
                    answer += piece
                    if len(answer) > _MOST:
                        raise RouterSilent("the router's answer has no end")
        except OSError as error:
            raise RouterSilent(f"cannot talk to the router: {error.strerror or error}") from error
        return answer.decode("utf-8", "replace").rstrip("\n")

    def order(self, command: str) -> None:
        """Give a command that says nothing when it is carried out.

        Raises:
            RouterRefused: It said something.
            RouterSilent: It cannot be asked.
        """
        answer = self.ask(command)
        if answer.strip():
            raise RouterRefused(f"{_short(command)}: {answer.strip().splitlines()[0]}")

    def set_address(self, backend: str, server: str, address: str, port: int) -> None:
        """Have a server lead to ``address`` from now on; see :meth:`order` for what is raised."""
        command = f"set server {backend}/{server} addr {address} port {port}"
        answer = self.ask(command)
        if not any(words in answer for words in _ADDRESS_ANSWERS):
            raise RouterRefused(f"{command}: {answer.strip()}")

    def set_weight(self, backend: str, server: str, weight: int) -> None:
        """Set a server's share; see :meth:`order`."""
        self.order(f"set server {backend}/{server} weight {weight}")

    def set_state(self, backend: str, server: str, state: str) -> None:
        """Set a server to ``ready``, ``drain`` or ``maint``; see :meth:`order`."""
        self.order(f"set server {backend}/{server} state {state}")

    def set_down(self, backend: str, server: str) -> None:
        """Forget what earlier checks of a server have said: it has to prove itself; see :meth:`order`."""
        self.order(f"set server {backend}/{server} health down")

    def shutdown_sessions(self, backend: str, server: str) -> None:
        """End every session of a server; see :meth:`order`."""
        self.order(f"shutdown sessions server {backend}/{server}")

    def replace_map(self, path: str, entries: Tuple[Tuple[str, str], ...]) -> None:
        """Put ``entries`` in place of the whole content of a map, in one step; see :meth:`order`."""
        answer = self.ask(f"prepare map {path}").strip()
        version = answer.rpartition(" ")[2]
        if not version.isdecimal():
            raise RouterRefused(f"prepare map {path}: {answer}")
        for key, value in entries:
            self.order(f"add map @{version} {path} {key} {value}")
        self.order(f"commit map @{version} {path}")

    def set_certificate(self, path: str, bundle: str) -> None:
        """Serve another certificate from now on, for new connections; see :meth:`order`."""
        lines = "\n".join(line for line in bundle.splitlines() if line.strip())
        for command in (f"set ssl cert {path} <<\n{lines}\n", f"commit ssl cert {path}"):
            answer = self.ask(command)
            if "Success!" not in answer and "Transaction created" not in answer:
                raise RouterRefused(f"{_short(command)}: {answer.strip()}")

    def stats(self) -> Tuple[ServerStat, ...]:
        """Return every server of every backend; see :meth:`ask` for what is raised."""
        return parse_stats(self.ask("show stat -1 4 -1"))

    def state_dump(self) -> str:
        """Return what a reloaded HAProxy reads to know what checks have said; see :meth:`ask`."""
        return self.ask("show servers state") + "\n"

    def info(self) -> Dict[str, str]:
        """Return what HAProxy says of itself; see :meth:`ask`."""
        pairs = (line.partition(": ") for line in self.ask("show info").splitlines())
        return {name: value for name, _, value in pairs}

    def _connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = -1
        try:
            sock.settimeout(self._timeout)
            # By a short name: a socket's path has room for 107 bytes, a state directory may be longer.
            folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY)
            sock.connect(f"/proc/self/fd/{folder}/{self.path.name}")
        except BaseException:
            sock.close()
            raise
        finally:
            if folder >= 0:
                os.close(folder)
        return sock


def parse_stats(text: str) -> Tuple[ServerStat, ...]:
    """Return the servers of a ``show stat`` answer.

    Raises:
        RouterRefused: It is no such answer.
    """
    if not text.startswith("# "):
        raise RouterRefused(f"show stat: {text.strip()[:200]}")
    rows: List[Dict[str, str]] = list(csv.DictReader(text[2:].splitlines()))
    return tuple(_stat(row) for row in rows if row["svname"] not in ("FRONTEND", "BACKEND"))


def _stat(row: Dict[str, str]) -> ServerStat:
    def number(name: str) -> int:
        text = row.get(name) or "0"
        return int(text) if text.lstrip("-").isdecimal() else 0

    return ServerStat(
        backend=row["pxname"],
        server=row["svname"],
        status=row["status"],
        check=(row.get("check_status") or "").replace("* ", ""),
        address=row.get("addr") or "",
        weight=number("uweight"),
        sessions=number("scur"),
        queued=number("qcur"),
        requests=number("req_tot") or number("stot"),
        total=number("stot"),
        errors=number("econ") + number("eresp"),
        responses_5xx=number("hrsp_5xx"),
        response_time=number("rtime") / 1000,
    )


def _short(command: str) -> str:
    return command.splitlines()[0]
