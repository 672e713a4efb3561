"""Helpers for tests of the business application: its transactions, its process and its database."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import asyncpg
import pytest

from devnet.application import BusinessApplication
from devnet.application.scheduled_rows import MAX_DELAY_BLOCKS
from devnet.forge.forger import ForgedBlock, Recipe, forge
from devnet.forge.gateway import Submission
from protos.transaction_pb2 import DUPLICATE_TXID
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]

NOW = datetime(2026, 11, 20, tzinfo=UTC)

HEIGHT = 60

RECIPE = Recipe(
    seed=9,
    transactions_per_block=range(30, 41),
    invalid_share=0.05,
    hostile_share=0.005,
    signed=False,
)

CHAIN = tuple(islice(forge(RECIPE), HEIGHT + MAX_DELAY_BLOCKS + 1))

TYPES = {
    "CreateCampaign": "CREATE_CAMPAIGN",
    "Donate": "DONATE",
    "TokenDonate": "DONATE",
    "Disburse": "DISBURSE",
    "UpdateStatus": "UPDATE_STATUS",
}

TABLES = ("organizations", "users", "campaigns", "transactions", "donations")


def business_transactions(blocks: Iterable[ForgedBlock]) -> dict[str, tuple[int, Submission]]:
    """Return each business transaction with the number of its block, by its id.

    For an id that a client chose several times, only the first transaction counts.
    """
    transactions: dict[str, tuple[int, Submission]] = {}
    for block in blocks:
        for submission in block.submissions:
            if (
                submission.function in TYPES
                and submission.tx_id
                and submission.code != DUPLICATE_TXID
            ):
                transactions.setdefault(submission.tx_id, (block.number, submission))
    return transactions


@asynccontextmanager
async def running_application(
    dsn: str, blocks: Iterable[ForgedBlock], *, retry_s: float = 1.0
) -> AsyncIterator[BusinessApplication]:
    """Run an application to which these blocks were submitted."""
    application = BusinessApplication(dsn, retry_s=retry_s)
    for block in blocks:
        application.submit(block, NOW)
    writing = asyncio.create_task(application.run())
    yield application
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing


async def wait_until_written(application: BusinessApplication) -> None:
    """Return once all rows that are due are written."""
    await eventually(
        lambda: application.queued_rows, lambda rows: rows == 0, describe="all rows are written"
    )


class Database:
    """The tables of the business database."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.execute = connection.execute
        self._connection = connection

    async def table(self, name: str, column: str) -> dict[str, asyncpg.Record]:
        """Return the rows by the value of a column, without rows where it is NULL."""
        rows = await self._connection.fetch(f"SELECT * FROM {name} WHERE {column} IS NOT NULL")
        return {row[column]: row for row in rows}

    async def donations(self) -> dict[str, asyncpg.Record]:
        """Return the donations by transaction id, without differences of spelling."""
        rows = await self.table("donations", "blockchain_tx_hash")
        return {hash_.lower().removeprefix("0x"): row for hash_, row in rows.items()}

    async def all(self) -> list[list[asyncpg.Record]]:
        """Return all rows of all tables."""
        return [
            await self._connection.fetch(f"SELECT * FROM {name} ORDER BY id") for name in TABLES
        ]
