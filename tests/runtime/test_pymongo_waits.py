"""Cancelled calls of MongoDB leave no lock behind."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from devnet.servers import Mongod
from ledger.mongodb.reader import LedgerReader
from tests.eventually import LIMIT_S

CALLS_S = 90.0
"""Longer than PyMongo selects a server: a call that lost its cancellation ends after 30 seconds."""

SELECTION_S = 0.5
"""The interval in which PyMongo checks its servers: calls are cancelled just when it ends."""


async def test_a_client_whose_calls_were_cancelled_during_an_outage_recovers(
    tmp_path: Path,
) -> None:
    with Mongod(tmp_path) as mongod:
        async with AsyncMongoClient[Any](
            mongod.uri, heartbeatFrequencyMS=int(SELECTION_S * 1000)
        ) as client:
            reader = LedgerReader(client, "ledger")
            assert await reader.head() is None
            mongod.kill()

            async def read_head(limit_s: float) -> None:
                with pytest.raises((TimeoutError, PyMongoError)):
                    async with asyncio.timeout(limit_s):
                        await reader.head()

            for _ in range(4):
                tasks = [
                    asyncio.create_task(read_head(SELECTION_S + n * 0.0001)) for n in range(300)
                ]
                _, pending = await asyncio.wait(tasks, timeout=CALLS_S)
                assert not pending, "these calls wait forever"
            mongod.start()
            async with asyncio.timeout(LIMIT_S):
                assert await reader.head() is None
