"""A TCP relay that delays everything by a fixed time each way: distance, where the kernel has no netem.

Run as a script inside a host's network namespace: ``relay.py LISTEN_PORT TARGET_PORT DELAY_MS [MARK]``.
It owns latency only: bandwidth is limited by nothing but a generous window, and nothing is lost.
Connecting costs a round trip, as it would over a real line. It imports nothing of this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

_CHUNK = 1 << 18
_WINDOW = 256
"""Chunks in flight each way: 64 MiB."""


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Carry bytes one way, each chunk ``delay`` seconds after it came, and the end of the stream too."""
    clock = asyncio.get_running_loop().time
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW)

    async def deliver() -> None:
        chunk = b"first"
        while chunk:
            due, chunk = await line.get()
            await asyncio.sleep(due - clock())
            writer.write(chunk)
            await writer.drain()
        writer.write_eof()

    delivery = asyncio.create_task(deliver())
    chunk = b"first"
    with contextlib.suppress(ConnectionError):
        while chunk and not delivery.done():
            chunk = await reader.read(_CHUNK)
            await line.put((clock() + delay, chunk))
    if chunk:
        await line.put((clock() + delay, b""))
    with contextlib.suppress(ConnectionError, OSError):
        await delivery


async def serve(listen: int, target: int, delay: float) -> None:
    """Relay until cancelled; says ``listening`` on standard output once connections are accepted."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pump(reader, far_writer, delay), _pump(far_reader, writer, delay))
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(connected, "0.0.0.0", listen)  # noqa: S104 - a namespace of its own
    async with server:
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
