"""Documents in `blocks` whose `_id` is no block number change no response."""

from typing import Any

from pymongo import AsyncMongoClient

from ledger.model import Timestamp
from tests.explorer_api.support import CHANNEL, C, append, block, running_api, transaction
from tests.indexer.foreign_blocks import store_foreign_blocks

SECONDS = 1_750_000_000
DAY = "2025-06-15"
BY_TIME = f"ts.ge={DAY}T00:00:00Z&ts.lt={DAY}T23:59:59Z"
PATHS = [
    *("", "/blocks", "/blocks?order=asc&limit=3", "/blocks/latest", "/stats", "/chaincodes"),
    *(f"/blocks?{BY_TIME}", f"/blocks?{BY_TIME}&order=asc&limit=2"),
    f"/stats/series?interval=hour&metric=transactions&from={DAY}T00:00:00Z&to={DAY}T23:59:59Z",
    f"/stats/series?interval=minute&metric=transactions&from={DAY}T15:00:00Z&to={DAY}T15:59:59Z",
]


async def responses(client: AsyncMongoClient[Any], database: str) -> dict[str, Any]:
    """Return each page, and the pages that follow it, of an API that has just started."""
    found: dict[str, Any] = {}
    async with running_api(client, {CHANNEL: database}) as api:
        by_number = (await api.get(f"{C}/blocks/1")).json
        found["by hash"] = (await api.get(f"{C}/blocks/{by_number['hash']}")).json
        for path in PATHS:
            page = found[path] = (await api.get(C + path)).json
            cursor = page.get("page", {}).get("next")
            if cursor is not None:
                separator = "&" if "?" in path else "?"
                found[f"{path} next"] = (await api.get(f"{C}{path}{separator}cursor={cursor}")).json
    return found


async def test_foreign_documents_change_no_response(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    moment = Timestamp(SECONDS, 0)
    await append(
        client,
        database_name,
        [block(n, [transaction(0, f"tx {n}", timestamp=moment)]) for n in range(6)],
    )
    expected = await responses(client, database_name)
    assert expected["/blocks"]["height"] == 6
    await store_foreign_blocks(client[database_name])
    found = await responses(client, database_name)
    for path, response in expected.items():
        assert found[path] == response, path
    assert found.keys() == expected.keys()
