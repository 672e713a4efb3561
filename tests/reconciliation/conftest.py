"""The ledger and the gateway of the tests of reconciliation."""

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from devnet.servers import Redis as RedisServer
from ledger.mongodb.store import LedgerStore
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger


@pytest.fixture
def ledger(store: LedgerStore) -> GrowingLedger:
    """Return an empty ledger."""
    return GrowingLedger(store)


@pytest.fixture
async def gateway(business_database: str) -> AsyncIterator[Gateway]:
    """Yield a gateway to the migrated business database, with the rights of its owner."""
    connection = await asyncpg.connect(business_database)
    yield Gateway(connection)
    await connection.close()


@pytest.fixture
def close_broken_connections() -> Iterator[None]:
    """Close the connections that the driver leaves open after a failure, within the same test."""
    yield
    gc.collect()


@pytest.fixture
async def application(business_database: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection of the application, which owns the business schema."""
    connection = await asyncpg.connect(business_database)
    yield connection
    await connection.close()


@pytest.fixture
async def daemon_pool(indexer_dsn: str) -> AsyncIterator["asyncpg.Pool[asyncpg.Record]"]:
    """Yield the daemon's connections, with the daemon's rights."""
    async with asyncpg.create_pool(indexer_dsn, min_size=0, max_size=2) as pool:
        yield pool


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """Yield a client of the shared Redis."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    """Yield a Redis of the test's own, which may be broken."""
    with RedisServer(tmp_path / "redis") as server:
        yield server
