"""Serves an aiohttp application, and holds the security headers of every response."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Server": "kindledger",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


async def listen(runner: web.AppRunner, host: str, port: int) -> int:
    """Start to serve on the address. Return the port, which is a free one if `port` is 0.

    To stop serving, call `runner.cleanup()`. Raises `OSError` when the address cannot be used;
    then the runner is cleaned up already.
    """
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return int(runner.addresses[0][1])


@asynccontextmanager
async def serving(runner: web.AppRunner, host: str, port: int) -> AsyncIterator[int]:
    """Serve while the context lasts; yield the port. Raises `OSError` as `listen` does."""
    bound_port = await listen(runner, host, port)
    try:
        yield bound_port
    finally:
        await runner.cleanup()
