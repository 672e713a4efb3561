"""`python -m benchmarks.baseline_server PORT`: minimal aiohttp handlers to compare the API with.

The handlers of pages read the fields of a list's rows, in the order and with the limit of a first
page of the API.

The environment configures MongoDB and the channel, as for `kindledger api`.
"""

import json
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any, Final

import click
from aiohttp import web
from pymongo import DESCENDING
from pymongo.asynchronous.database import AsyncDatabase

from cli.assembly.mongo import mongo_client
from cli.configuration.loading import load_settings
from explorer_api.http.parameters import DEFAULT_LIMIT
from ledger.mongodb.collections import EVENTS, TRANSACTIONS
from ledger.position import BlockNumber, last_position
from runtime.process import tune_process

_DATABASE = web.AppKey("database", AsyncDatabase[dict[str, Any]])
_TRANSACTION_FIELDS: Final = (
    *("txId", "claimedTxId", "status", "validationCode", "chaincodeId", "blockNumber", "txIndex"),
    *("type", "ts", "creator.mspId", "function"),
)


@click.command()
@click.argument("port", type=int)
def main(port: int) -> None:
    """Serve `/hello`, `/transactions/{txId}`, `/transactions` and `/events`."""
    app = web.Application()
    app.cleanup_ctx.append(_mongo_client)
    app.add_routes(
        [
            web.get("/hello", _hello),
            web.get("/transactions/{txId}", _find_one),
            web.get("/transactions", partial(_find_page, TRANSACTIONS, _TRANSACTION_FIELDS)),
            web.get("/events", partial(_find_page, EVENTS, None)),
        ]
    )
    tune_process()
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None)


async def _mongo_client(app: web.Application) -> AsyncIterator[None]:
    settings = load_settings(None)
    async with mongo_client(settings) as client:
        (channel,) = settings.channels
        app[_DATABASE] = client[settings.database_of(channel)]
        yield


async def _hello(_: web.Request) -> web.Response:
    return web.Response(body=b'{"hello":"world"}', content_type="application/json")


async def _find_one(request: web.Request) -> web.Response:
    transactions = request.app[_DATABASE][TRANSACTIONS]
    document = await transactions.find_one({"txId": request.match_info["txId"]})
    if document is None:
        raise web.HTTPNotFound
    return _json(document)


async def _find_page(
    collection: str, fields: Sequence[str] | None, request: web.Request
) -> web.Response:
    """Return the newest documents up to a block, as a first page of the API has them."""
    last = last_position(BlockNumber(int(request.query["block.le"])))
    cursor = request.app[_DATABASE][collection].find({"_id": {"$lte": last}}, fields)
    return _json(await cursor.sort("_id", DESCENDING).limit(DEFAULT_LIMIT).to_list())


def _json(body: Any) -> web.Response:
    return web.Response(text=json.dumps(body, default=str), content_type="application/json")


if __name__ == "__main__":
    main()
