"""Helpers of the tests of heads: store blocks one by one, and read the shown height."""

import time
from typing import Any

from pymongo import AsyncMongoClient

from explorer_api.options import Options
from tests.eventually import eventually
from tests.explorer_api.support import Api, C, append, block, transaction

RARELY_READ = Options(head_age_s=60.0)
"""A head that is shown within half a minute was read after a notification."""


async def store_block(
    client: AsyncMongoClient[Any], database: str, number: int, salt: str = ""
) -> None:
    transactions = [transaction(0, f"{salt}{number}")]
    await append(client, database, [block(number, transactions, salt.encode())])


async def shown_height(api: Api) -> int:
    response = await api.request("GET", f"{C}/blocks")
    return int(response.headers["Ledger-Height"])


async def seconds_until_shown(api: Api, height: int, within_s: float = 20.0) -> float:
    """Wait until the API shows that height; return how long it took."""
    began = time.monotonic()
    await eventually(
        lambda: shown_height(api),
        lambda shown: shown == height,
        within_s=within_s,
        poll_s=0.002,
        describe=f"height {height}",
    )
    return time.monotonic() - began
