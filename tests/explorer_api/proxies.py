"""Proxies that make connections slow, silent, or closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Forwards data with a delay; while `silent`, drops it so that neither side notices."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.delay_s = 0.0
        self.silent = False
        self.connections = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        target_writer = None
        with suppress(OSError, asyncio.CancelledError):
            target, target_writer = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(
                self._forward(reader, target_writer), self._forward(target, writer)
            )
        for end in (writer, target_writer):
            if end is not None:
                end.close()

    async def _forward(
        self, source: asyncio.StreamReader, destination: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(1 << 16):
            if self.silent:
                continue
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            destination.write(data)
        destination.close()


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy to the server at the port."""
    proxy = Proxy(port)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Door:
    """Lets connections through to a server while it is open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self.open = True

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, inner_writer]
        await asyncio.gather(
            _forward(reader, inner_writer), _forward(inner_reader, writer), return_exceptions=True
        )

    def shut(self) -> None:
        """Cut all connections, and refuse new ones."""
        self.open = False
        for writer in self._writers:
            writer.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.transport.abort()


@asynccontextmanager
async def door_to(uri: str) -> AsyncIterator[tuple[Door, str]]:
    """Run a door to the MongoDB at the URI; yield the door and its URI."""
    door = Door(int(uri.partition("://")[2].partition("/")[0].rpartition(":")[2]))
    server = await asyncio.start_server(door.enter, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options = "directConnection=true&serverSelectionTimeoutMS=200"
    try:
        yield door, f"mongodb://127.0.0.1:{port}/?{options}"
    finally:
        door.shut()
        server.close()
