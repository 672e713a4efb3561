"""Serves an aiohttp application, with the security headers that every response has."""

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
    """Start the runner on the address; return the port, which for 0 is a free one.

    Whoever calls ends it with `cleanup()`. Raises `OSError` where the address cannot be used, and has
    cleaned up then.
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
    bound = await listen(runner, host, port)
    try:
        yield bound
    finally:
        await runner.cleanup()
