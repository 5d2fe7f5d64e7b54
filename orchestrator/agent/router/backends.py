"""The sections of HAProxy's configuration that traffic goes to: a backend and its twins.

Owns servers, weights and checks. Everything here has passed :mod:`.picture`. For each backend there is

- itself: the containers here, and other hosts by their own routers;
- ``_mesh``: the containers here alone, for what comes from other hosts (nothing goes in circles);
- ``_preview``: the containers that are attached and wait;
- ``remote:``: checks of the other hosts' routers, which need other words than those of containers.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from orchestrator.agent.router.table import ATTACHED, FULL, SERVING, Seat, Table
from orchestrator.agent.router.words import NOBODY_HEADER, bind, ms, quote
from orchestrator.protocol.routing import Backend, RouterConfig

NOWHERE = "127.0.0.1:9"
"""Where an empty slot points: nothing listens on ``discard``, and nothing is ever sent there."""


def slots(backend: Backend, table: Table) -> int:
    """Return the number of servers of a backend: its own, or more while a seat is beyond them."""
    return max([backend.slots] + [seat.server for seat in table.of(backend.service)])


def has_mesh(config: RouterConfig, backend: Backend) -> bool:
    """Other hosts reach this backend here."""
    return any(mesh.backend == backend.name for mesh in config.mesh)


def scaled(backend: Backend, weight: int) -> int:
    """Return a local container's share as HAProxy's weight.

    A remote counts for all its containers, and HAProxy's weights end at 256: the largest remote gets
    that, everything else is in proportion.
    """
    most = max([1] + [remote.weight for remote in backend.remotes])
    return max(1, weight // most) if weight else 0


def backend(config: RouterConfig, backend: Backend, table: Table) -> List[List[str]]:
    """Return a backend and its twins: the one behind the mesh, the preview, the checks of remotes."""
    seats = {seat.server: seat for seat in table.of(backend.service)}
    numbers = range(1, slots(backend, table) + 1)
    blocks = [_main(backend, [(number, seats.get(number)) for number in numbers])]
    if has_mesh(config, backend):
        lines = [f"backend {backend.name}_mesh", *_common(backend, f"{backend.cookie}_mesh")]
        for number in numbers:
            seat, tracked = seats.get(number), f"track {backend.name}/s{number}"
            lines.append(
                f"{_server(backend, number, seat, scaled=False)} {tracked}{_limits(backend, number)}"
            )
        blocks.append(lines)
    lines = [f"backend {backend.name}_preview", *_common(backend, "")]
    for number in numbers:
        seat = seats.get(number)
        held = seat is not None and seat.state == ATTACHED
        lines.append(f"server s{number} {_address(backend, seat)}{'' if held else ' disabled'}")
    blocks.append(lines)
    if backend.remotes:
        lines = [f"backend remote:{backend.name}", "mode http", "option httpchk GET /", _EXPECT]
        for remote in backend.remotes:
            where = bind(remote.address, remote.port)
            lines.append(f"server r_{remote.host} {where} check {_check(backend)} send-proxy-v2")
        blocks.append(lines)
    return blocks


_EXPECT = "http-check expect status 200-399"


def _main(backend: Backend, seats: Sequence[Tuple[int, Optional[Seat]]]) -> List[str]:
    lines = [f"backend {backend.name}", *_common(backend, backend.cookie)]
    if backend.check_path:
        lines.append("option httpchk")
        lines.append(f"http-check send meth GET uri {quote(backend.check_path)} hdr Host {backend.service}")
        lines.append(_EXPECT)
    for number, seat in seats:
        empty = " disabled" if seat is None else ""
        check = f"check {_check(backend)}{_limits(backend, number)}{empty}"
        lines.append(f"{_server(backend, number, seat, scaled=True)} {check}")
    if backend.remotes and backend.mode == "http":
        nobody = f"{{ res.hdr({NOBODY_HEADER}) -m found }}"
        lines.append(f"http-response set-status 503 if {nobody}")
        lines.append(f"http-response del-header {NOBODY_HEADER}")
    for remote in backend.remotes:
        cookie = f" cookie r_{remote.host}" if backend.cookie and backend.mode == "http" else ""
        most = max([1] + [other.weight for other in backend.remotes])
        lines.append(
            f"server r_{remote.host} {bind(remote.address, remote.port)} "
            f"weight {FULL * remote.weight // most} track remote:{backend.name}/r_{remote.host} "
            f"send-proxy-v2 proxy-v2-options unique-id{cookie}"
        )
    return lines


def _common(backend: Backend, cookie: str) -> List[str]:
    tunnel = min(backend.timeout * 10, 86_400.0)
    lines = [
        f"mode {backend.mode}",
        f"balance {backend.balance}",
        *(["hash-type consistent"] if backend.balance == "source" else []),
        f"timeout server {ms(backend.timeout)}",
        f"timeout tunnel {ms(tunnel)}",
    ]
    if cookie and backend.cookie and backend.mode == "http":
        lines.append(f"cookie {cookie} insert indirect nocache httponly")
    return lines


def _server(backend: Backend, number: int, seat: Optional[Seat], *, scaled: bool) -> str:
    weight = share(backend, seat, remotes=scaled) if seat else 1
    return f"server s{number} {_address(backend, seat)} weight {weight}"


def share(backend: Backend, seat: Seat, *, remotes: bool) -> int:
    """Return the weight of a seat's server, in proportion to remotes or among local ones alone."""
    if seat.state != SERVING:
        return 0
    return scaled(backend, seat.weight) if remotes else seat.weight


def _limits(backend: Backend, number: int) -> str:
    cookie = f" cookie s{number}" if backend.cookie and backend.mode == "http" else ""
    return cookie + (f" maxconn {backend.maxconn}" if backend.maxconn else "")


def _check(backend: Backend) -> str:
    # A server that was just attached counts as down until it has proven itself: ask it often.
    fast = ms(max(0.02, backend.inter / 3))
    every = f"inter {ms(backend.inter)} fastinter {fast} downinter {fast}"
    return f"{every} rise {backend.rise} fall {backend.fall}"


def _address(backend: Backend, seat: Optional[Seat]) -> str:
    return bind(seat.address, backend.port) if seat else NOWHERE
