"""The relay delays and changes nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import time

from orchestrator.lab import relay

DELAY = 0.05


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def _through_relay(payload: bytes) -> tuple[bytes, float, float]:
    """What an echo server behind the relay sends back; seconds for the first byte, and for all."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    target, port = _free_port(), _free_port()
    server = await asyncio.start_server(echo, "127.0.0.1", target)
    relaying = asyncio.create_task(relay.serve(port, target, DELAY))
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0)
    started = time.monotonic()
    writer.write(payload)
    writer.write_eof()
    answer = await reader.read(1)
    first = time.monotonic() - started
    answer += await reader.read()
    total = time.monotonic() - started
    writer.close()
    relaying.cancel()
    server.close()
    await asyncio.gather(relaying, return_exceptions=True)
    return answer, first, total


def test_latency_both_ways_and_every_byte():
    """Connecting and asking cost two round trips; several megabytes take hardly longer, and arrive whole."""
    payload = hashlib.shake_128(b"relay").digest(4 << 20)
    answer, first, total = asyncio.run(_through_relay(payload))
    assert answer == payload
    assert first >= 4 * DELAY
    assert total - first < 20 * DELAY


def test_a_target_that_is_gone_breaks_the_connection():
    """As a host does whose port is closed."""

    async def connect() -> bytes:
        port = _free_port()
        relaying = asyncio.create_task(relay.serve(port, _free_port(), 0))
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            relaying.cancel()
            await asyncio.gather(relaying, return_exceptions=True)

    assert asyncio.run(connect()) == b""
