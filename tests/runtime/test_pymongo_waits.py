"""Calls of MongoDB that are cancelled leave nothing behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from devnet.servers import Mongod
from ledger.mongodb.reader import LedgerReader

SELECTION_S = 0.5
"""PyMongo looks so often whether a server is there."""


async def test_a_client_whose_calls_were_cancelled_while_mongodb_was_away_is_well_again(
    tmp_path: Path,
) -> None:
    with Mongod(tmp_path) as mongod:
        async with AsyncMongoClient[Any](mongod.uri, heartbeatFrequencyMS=500) as client:
            reader = LedgerReader(client, "ledger")
            assert await reader.head() is None
            mongod.kill()

            async def ask(limit_s: float) -> None:
                with pytest.raises((TimeoutError, PyMongoError)):
                    async with asyncio.timeout(limit_s):
                        await reader.head()

            for _ in range(4):
                tasks = [asyncio.create_task(ask(SELECTION_S + n * 0.0001)) for n in range(300)]
                _, pending = await asyncio.wait(tasks, timeout=10)
                assert not pending, "they wait for ever"
            mongod.start()
            async with asyncio.timeout(10):
                assert await reader.head() is None
