"""Rows that get their hash after their block: PostgreSQL announces their hashes."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from ledger.mongodb.collections import TRANSACTIONS
from reconciliation.errors import ReconciliationError
from reconciliation.reconciler import ReconciliationIntervals
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import END_SESSIONS, reconcile_once, reconciling

NO_SWEEP = ReconciliationIntervals(sweep_s=3600.0, grace_s=3600.0)
"""No sweep takes place during a test, so only a notification can settle a row."""
AT_ONCE_S = 10.0
"""A second on an idle machine."""
BLOCK, IDS = (builder := BlockBuilder()).next_block([PlannedTransaction()] * 250)
CHAIN = [builder.genesis, BLOCK]


async def insert(gateway: Gateway) -> None:
    await gateway.transaction(IDS[0])
    await gateway.donation(IDS[0])


async def set_hash_later(gateway: Gateway) -> None:
    await gateway.transaction("pending-1")
    await gateway.donation(None)
    await gateway.connection.execute("UPDATE transactions SET tx_hash = $1", IDS[0])
    await gateway.connection.execute("UPDATE donations SET blockchain_tx_hash = $1", IDS[0])


async def insert_other_spelling(gateway: Gateway) -> None:
    await gateway.transaction(f" 0x{IDS[0].upper()} ")


async def insert_after_rollback(gateway: Gateway) -> None:
    transaction = gateway.connection.transaction()
    await transaction.start()
    await gateway.donation(IDS[0])
    await transaction.rollback()
    await gateway.donation(IDS[0])


async def insert_many(gateway: Gateway) -> None:
    """Insert more rows than are announced one by one."""
    await gateway.connection.execute(
        "INSERT INTO transactions (tx_hash, transaction_type) "
        "SELECT hash, 'DONATE' FROM unnest($1::text[]) AS t(hash)",
        IDS,
    )


@pytest.mark.parametrize(
    "write", [insert, set_hash_later, insert_other_spelling, insert_after_rollback, insert_many]
)
async def test_a_late_row_is_settled_at_once(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    write: Callable[[Gateway], Awaitable[None]],
) -> None:
    await gateway.open_campaign()
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, intervals=NO_SWEEP) as reconciler:
        await wait_until_listening(gateway)
        await write(gateway)
        await gateway.wait_until_settled(AT_ONCE_S)
        assert reconciler.progress.settled_rows > 0


async def test_a_row_that_was_written_while_the_daemon_was_not_connected_is_settled(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """The daemon's sessions end, and it can connect again only after the row is written."""
    user = indexer_dsn.partition("://")[2].partition(":")[0]
    await ledger.commit(CHAIN)
    async with reconciling(indexer_dsn, ledger, intervals=NO_SWEEP):
        await wait_until_listening(gateway)
        await gateway.connection.execute(f"ALTER ROLE {user} CONNECTION LIMIT 0")
        await gateway.connection.execute(END_SESSIONS)
        await gateway.transaction(IDS[0])
        await gateway.connection.execute(f"ALTER ROLE {user} CONNECTION LIMIT -1")
        await gateway.wait_until_settled()


async def test_false_notifications_do_no_harm(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, business_database: str
) -> None:
    """Any user may announce hashes: nonsense, and more than the daemon can hold."""
    await ledger.commit(CHAIN)
    other = await asyncpg.connect(business_database)
    async with reconciling(indexer_dsn, ledger, intervals=NO_SWEEP) as reconciler:
        await wait_until_listening(gateway)
        await other.execute(
            "SELECT pg_notify('kindledger_hashes', n || E'\\'\"\\\\%_🪔') "
            "FROM generate_series(1, 20000) n"
        )
        await gateway.transaction(IDS[0])
        await gateway.wait_until_settled()
        assert reconciler.progress.error is None
    await other.close()


async def wait_until_listening(gateway: Gateway) -> None:
    """Wait until the daemon listens and its first sweep has ended."""
    await eventually(lambda: gateway.connection.fetchval(_LISTENS), describe="the daemon listens")
    await gateway.transaction(IDS[-1])
    await gateway.wait_until_settled()
    await gateway.connection.execute("DELETE FROM transactions")


_LISTENS = """
SELECT EXISTS (
    SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'LISTEN%'
) AND EXISTS (SELECT FROM ledger_cursor WHERE height = 2)
"""


async def test_rows_wait_for_the_index_of_transaction_ids(
    indexer_dsn: str, gateway: Gateway, ledger: GrowingLedger
) -> None:
    """While the daemon has not built it, no row is looked up, and the status says why."""
    transactions = ledger.store.database[TRANSACTIONS]
    await ledger.commit(CHAIN)
    await transactions.drop_index("txId_1")
    await gateway.open_campaign()
    await insert(gateway)
    with pytest.raises(ReconciliationError, match="the index of transaction ids does not exist"):
        await reconcile_once(indexer_dsn, ledger)
    intervals = ReconciliationIntervals(sweep_s=0.2, index_s=0.05)
    async with reconciling(indexer_dsn, ledger, intervals=intervals) as reconciler:
        await eventually(
            lambda: reconciler.progress.state, lambda state: state == "building_indexes"
        )
        assert reconciler.progress.failures == 0
        assert await gateway.pending_rows() == 2
        await ledger.store.prepare()
        await gateway.wait_until_settled()
        await eventually(lambda: reconciler.progress.state, lambda state: state == "following")
