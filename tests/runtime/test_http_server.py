"""Serving on an address, and an address that cannot be used."""

import aiohttp
import pytest
from aiohttp import web

from runtime.http_server import listen, serving


def runner() -> web.AppRunner:
    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", greet)
    return web.AppRunner(app)


async def test_an_application_is_served_on_a_free_port_while_the_context_lasts() -> None:
    async with aiohttp.ClientSession() as session:
        async with (
            serving(runner(), "127.0.0.1", 0) as port,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            assert await response.text() == "hello"
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://127.0.0.1:{port}/")


async def test_a_used_port_is_an_error_and_the_runner_is_cleaned_up() -> None:
    async with serving(runner(), "127.0.0.1", 0) as port:
        second = runner()
        with pytest.raises(OSError, match="address already in use"):
            await listen(second, "127.0.0.1", port)
        assert second.server is None
