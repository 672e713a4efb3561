"""A growing ledger and a gateway that writes rows."""

import gc
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from ledger.mongodb.store import LedgerStore
from tests.reconciliation.support import Gateway, GrowingLedger


@pytest.fixture
def ledger(store: LedgerStore) -> GrowingLedger:
    """An empty one."""
    return GrowingLedger(store)


@pytest.fixture
async def gateway(business_database: str) -> AsyncIterator[Gateway]:
    """On the migrated business database, with the rights of its owner."""
    connection = await asyncpg.connect(business_database)
    yield Gateway(connection)
    await connection.close()


@pytest.fixture
def collected() -> Iterator[None]:
    """For tests that break connections off: what the driver then leaves open is closed here, not in another test."""
    yield
    gc.collect()
