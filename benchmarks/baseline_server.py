"""`python -m benchmarks.baseline_server PORT`: minimal aiohttp handlers to compare the API with.

The environment configures MongoDB and the channel, as for `kindledger api`.
"""

import json
from collections.abc import AsyncIterator
from typing import Any

import click
from aiohttp import web
from pymongo.asynchronous.collection import AsyncCollection

from cli.assembly.mongo import mongo_client
from cli.configuration.loading import load_settings
from ledger.mongodb.collections import TRANSACTIONS
from runtime.process import tune_process

_TRANSACTIONS = web.AppKey("transactions", AsyncCollection[dict[str, Any]])


@click.command()
@click.argument("port", type=int)
def main(port: int) -> None:
    """Serve `/hello` and `/transactions/{txId}`."""
    app = web.Application()
    app.cleanup_ctx.append(_mongo_client)
    app.add_routes([web.get("/hello", _hello), web.get("/transactions/{txId}", _find_one)])
    tune_process()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


async def _mongo_client(app: web.Application) -> AsyncIterator[None]:
    settings = load_settings(None)
    async with mongo_client(settings) as client:
        (channel,) = settings.channels
        app[_TRANSACTIONS] = client[settings.database_of(channel)][TRANSACTIONS]
        yield


async def _hello(_: web.Request) -> web.Response:
    return web.Response(body=b'{"hello":"world"}', content_type="application/json")


async def _find_one(request: web.Request) -> web.Response:
    document = await request.app[_TRANSACTIONS].find_one({"txId": request.match_info["txId"]})
    if document is None:
        raise web.HTTPNotFound
    return web.Response(text=json.dumps(document, default=str), content_type="application/json")


if __name__ == "__main__":
    main()
