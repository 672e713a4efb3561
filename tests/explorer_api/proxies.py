"""A connection that is slow, or broken so that neither end notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Proxy:
    """Passes on what comes, `delay_s` later; while `silent`, nothing."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.delay_s = 0.0
        self.silent = False
        self.connections = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        further = None
        with suppress(OSError, asyncio.CancelledError):
            target, further = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pass(reader, further), self._pass(target, writer))
        for end in (writer, further):
            if end is not None:
                end.close()

    async def _pass(self, source: asyncio.StreamReader, destination: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if self.silent:
                continue
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            destination.write(data)
        destination.close()


@asynccontextmanager
async def proxied(port: int) -> AsyncIterator[Proxy]:
    """A proxy for what listens at the port."""
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
