"""Requests of exactly chosen bytes, which no client library would send."""

import asyncio
from collections.abc import Sequence

from yarl import URL

from tests.eventually import LIMIT_S
from tests.explorer_api.support import Api


def address_of(api: Api) -> tuple[str, int]:
    return "127.0.0.1", URL(api.base).port or 0


async def exchange(api: Api, request: str, headers: Sequence[bytes]) -> tuple[int, bytes, bytes]:
    """Return status, head and body of the response to a request line and headers."""
    lines = [f"{request} HTTP/1.1".encode(), b"Host: x", *headers, b"", b""]
    return await exchange_bytes(api, b"\r\n".join(lines))


async def exchange_bytes(api: Api, data: bytes) -> tuple[int, bytes, bytes]:
    """Return status, head and body of the response to these bytes."""
    reader, writer = await asyncio.open_connection(*address_of(api))
    try:
        writer.write(data)
        async with asyncio.timeout(LIMIT_S):
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            (length,) = [line for line in lines if line.startswith(b"content-length:")]
            body = await reader.readexactly(int(length.partition(b":")[2]))
    finally:
        writer.close()
    return int(head.split()[1]), head, body
