"""Rows that come, or get their hash, after their block: settled at once, since PostgreSQL tells of them."""

import time
from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from reconciliation.reconciler import ReconciliationIntervals
from tests.reconciliation.pen import Draft, Pen
from tests.reconciliation.support import Gateway, GrowingLedger, reconciling, until
from tests.reconciliation.test_hindrances import END_SESSIONS

SELDOM = ReconciliationIntervals(sweep_s=3600.0, grace_s=3600.0)
"""So that nothing but a notification can settle a row."""
AT_ONCE_S = 3.0
"""A second, on a machine that has nothing else to do."""
BLOCK, IDS = (pen := Pen()).block([Draft()] * 250)
CHAIN = [pen.genesis, BLOCK]


async def insert(gateway: Gateway) -> None:
    await gateway.transaction(IDS[0])
    await gateway.donation(IDS[0])


async def set_later(gateway: Gateway) -> None:
    await gateway.transaction("pending-1")
    await gateway.donation(None)
    await gateway.connection.execute("UPDATE transactions SET tx_hash = $1", IDS[0])
    await gateway.connection.execute("UPDATE donations SET blockchain_tx_hash = $1", IDS[0])


async def spell(gateway: Gateway) -> None:
    await gateway.transaction(f" 0x{IDS[0].upper()} ")


async def roll_back_first(gateway: Gateway) -> None:
    transaction = gateway.connection.transaction()
    await transaction.start()
    await gateway.donation(IDS[0])
    await transaction.rollback()
    await gateway.donation(IDS[0])


async def insert_many(gateway: Gateway) -> None:
    """More than are told one by one."""
    await gateway.connection.execute(
        "INSERT INTO transactions (tx_hash, transaction_type) SELECT hash, 'DONATE' FROM unnest($1::text[]) AS t(hash)",
        IDS,
    )


@pytest.mark.parametrize("write", [insert, set_later, spell, roll_back_first, insert_many])
async def test_a_late_row_is_settled_at_once(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    write: Callable[[Gateway], Awaitable[None]],
) -> None:
    await gateway.open_campaign()
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, pace=SELDOM) as part:
        await listening(gateway)
        await write(gateway)
        written = time.monotonic()

        async def settled() -> bool:
            return await gateway.waiting() == 0

        await until(settled, AT_ONCE_S)
        assert time.monotonic() - written < AT_ONCE_S
        assert part.progress.settled > 0


async def test_a_row_that_came_while_nobody_listened(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """The sessions of the daemon end, and it may not come back before the row is there."""
    user = indexer_dsn.partition("://")[2].partition(":")[0]
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, pace=SELDOM):
        await listening(gateway)
        await gateway.connection.execute(f"ALTER ROLE {user} CONNECTION LIMIT 0")
        await gateway.connection.execute(END_SESSIONS)
        await gateway.transaction(IDS[0])
        await gateway.connection.execute(f"ALTER ROLE {user} CONNECTION LIMIT -1")

        async def settled() -> bool:
            return await gateway.waiting() == 0

        await until(settled)


async def test_whatever_is_notified_is_only_a_hint(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, business_database: str
) -> None:
    """Anybody may notify: nonsense, and more than anybody can remember, harms nothing."""
    await ledger.commit(CHAIN)
    other = await asyncpg.connect(business_database)
    async with reconciling(indexer_dsn, ledger, pace=SELDOM) as part:
        await listening(gateway)
        await other.execute(
            "SELECT pg_notify('kindledger_hashes', n || E'\\'\"\\\\%_🪔') FROM generate_series(1, 20000) n"
        )
        await gateway.transaction(IDS[0])

        async def settled() -> bool:
            return await gateway.waiting() == 0

        await until(settled)
        assert part.progress.error is None
    await other.close()


async def listening(gateway: Gateway) -> None:
    """Waits until the daemon listens and its first sweep is over."""

    async def listens() -> bool:
        return bool(await gateway.connection.fetchval(_LISTENS))

    await until(listens)
    await gateway.transaction(IDS[-1])

    async def settled() -> bool:
        return await gateway.waiting() == 0

    await until(settled)
    await gateway.connection.execute("DELETE FROM transactions")


_LISTENS = """
SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%')
AND EXISTS (SELECT FROM ledger_cursor WHERE height = 2)
"""
