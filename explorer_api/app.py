"""Puts the service together, and serves it."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from pymongo import AsyncMongoClient

from explorer_api.channels import Channels
from explorer_api.database import Database
from explorer_api.dispatch import Services, bind
from explorer_api.middleware import answer_well
from explorer_api.routes import ROUTES
from ledger.ownership import MAX_TX_ID_BYTES

MAX_REQUEST_LINE_BYTES = 3 * MAX_TX_ID_BYTES + 1024
"""A transaction id, every byte of it percent-encoded, must fit."""

_SHUTDOWN_SECONDS = 5.0
_DATABASE_SHARE = 0.9


def create_app(
    client: AsyncMongoClient[Any],
    channels: Mapping[str, str] | None,
    *,
    version: str,
    seconds_per_request: float = 5.0,
) -> web.Application:
    """The service over the databases that `channels` names, channel by channel; None shows every indexed one.

    `version` is the program's. A request that takes longer than `seconds_per_request` is answered with 503. The
    client stays the caller's to close; its event loop must be the one that serves.
    """
    services = Services(
        channels=Channels(client, channels),
        database=Database(seconds_per_request * _DATABASE_SHARE),
        version=version,
        seconds_per_request=seconds_per_request,
    )
    app = web.Application(middlewares=[answer_well])
    app.add_routes([bind(route, services) for route in ROUTES])
    return app


async def serve(app: web.Application, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Listens on the address and serves until `cleanup()` of the runner; gives the port, which for 0 is a free one.

    Raises `OSError` where the address cannot be had. A client that goes away ends its request.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        max_line_size=MAX_REQUEST_LINE_BYTES,
        shutdown_timeout=_SHUTDOWN_SECONDS,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, runner.addresses[0][1]
