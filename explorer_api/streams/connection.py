"""The connection of one stream: bounded in what waits to be sent, and in how long."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

from aiohttp import web

WRITE_S: Final = 30.0
_SEND_BUFFER_BYTES: Final = 1 << 18


class SlowClientError(ConnectionError):
    """The client took nothing for too long and was cut off."""


class StreamConnection:
    """Sends to one client. Of what it is sent, one message waits in this process, and a little in the system's buffer.

    Whatever is sent to a client that is gone raises `ConnectionError`.
    """

    def __init__(self, request: web.Request, headers: Mapping[str, str]) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=headers)
        self.response.force_close()

    async def open(self) -> None:
        """Sends the headers."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        connected: socket.socket = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._writer = await self.response.prepare(self._request)

    async def send(self, data: bytes) -> None:
        """Waits until the system has all of it. Raises `SlowClientError`."""
        try:
            async with asyncio.timeout(WRITE_S):
                await self.response.write(data)
                if self._writer is not None:
                    await self._writer.drain()
        except TimeoutError:
            self.abort()
            raise SlowClientError from None

    async def close(self) -> None:
        """Ends the stream, at once where something still waits to be sent."""
        if self._transport.get_write_buffer_size():
            self.abort()
        else:
            await self.response.write_eof()

    def abort(self) -> None:
        """Cuts the client off."""
        self._transport.abort()
