"""The connection of a stream; it limits how much data waits to be sent, and for how long."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

from aiohttp import web

_SEND_BUFFER_BYTES: Final = 1 << 18


class SlowClientError(ConnectionError):
    """The client did not read anything for too long and was disconnected."""


class StreamConnection:
    """Sends data to one client.

    At most one piece of data waits in this process, and a little in the buffer of the operating
    system. Every method raises `ConnectionError` when the client has disconnected.
    """

    def __init__(
        self, request: web.Request, headers: Mapping[str, str], write_timeout_s: float
    ) -> None:
        self._request, self._write_timeout_s = request, write_timeout_s
        self.response = web.StreamResponse(headers=headers)
        self.response.force_close()

    async def open(self) -> None:
        """Send the headers."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        self._transport = transport
        self._transport.set_write_buffer_limits(high=0)
        client_socket: socket.socket = self._transport.get_extra_info("socket")
        client_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._writer = await self.response.prepare(self._request)

    async def send(self, data: bytes) -> None:
        """Wait until the operating system has all of the data.

        Raises `SlowClientError` when the client reads nothing for too long.
        """
        try:
            async with asyncio.timeout(self._write_timeout_s):
                await self.response.write(data)
                if self._writer is not None:
                    await self._writer.drain()
        except TimeoutError:
            self.abort()
            raise SlowClientError from None

    async def close(self) -> None:
        """End the stream; disconnect at once if data still waits to be sent."""
        if self._transport.get_write_buffer_size():
            self.abort()
        else:
            await self.response.write_eof()

    def abort(self) -> None:
        """Disconnect the client."""
        self._transport.abort()
