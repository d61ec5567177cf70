"""A TCP connection to a server that can be counted, held and cut, as a network does to downloads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

_CHUNK_BYTES = 64 * 1024


class Wire:
    """Passes bytes between clients and one server. What comes back from the server is counted."""

    def __init__(self, server_port: int) -> None:
        self.port = 0
        self.requests: list[str] = []
        """The first line of each request that began a chunk from a client."""
        self.replied_bytes = 0
        self.held = asyncio.Event()
        """Set when the reply that `hold_after` names has come so far; nothing more passes until `release`."""
        self._server_port = server_port
        self._cuts: list[int] = []
        self._hold_at: int | None = None
        self._released = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self.port}"

    def cut_after(self, *byte_counts: int) -> None:
        """Ends a connection when so many bytes have come back in all, once for each count, counted from now."""
        total = self.replied_bytes
        for count in byte_counts:
            total += count
            self._cuts.append(total)

    def hold_after(self, byte_count: int) -> None:
        """Lets no more than so many bytes come back, counted from now."""
        self.held.clear()
        self._released.clear()
        self._hold_at = self.replied_bytes + byte_count

    def release(self) -> None:
        """Lets everything pass again."""
        self._hold_at = None
        self._released.set()

    def cut_all(self) -> None:
        """Ends every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a client until either side goes."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def end(self) -> None:
        """Ends every connection and waits until none is left."""
        self.release()
        self.cut_all()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers |= {writer, server_writer}
        with contextlib.suppress(ConnectionError):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward_requests(reader, server_writer))
                group.create_task(self._return_replies(server_reader, writer, server_writer))
        for each in (writer, server_writer):
            each.transport.abort()
        self._writers -= {writer, server_writer}

    async def _forward_requests(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(_CHUNK_BYTES):
                self.requests.append(chunk.split(b"\r\n", 1)[0].decode("latin-1"))
                server.write(chunk)
                await server.drain()
        server.transport.abort()

    async def _return_replies(
        self, server: asyncio.StreamReader, client: asyncio.StreamWriter, upstream: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await server.read(_CHUNK_BYTES):
                if self._hold_at is not None and self.replied_bytes + len(chunk) > self._hold_at:
                    self.held.set()
                    await self._released.wait()
                self.replied_bytes += len(chunk)
                client.write(chunk)
                await client.drain()
                if self._cuts and self.replied_bytes >= self._cuts[0]:
                    self._cuts.pop(0)
                    break
        client.transport.abort()
        upstream.transport.abort()


@asynccontextmanager
async def wire_to(server_port: int) -> AsyncIterator[Wire]:
    """Opens a wire to a server on this machine, on a free port."""
    wire = Wire(server_port)
    listener = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    wire.port = listener.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        listener.close()
        await wire.end()
