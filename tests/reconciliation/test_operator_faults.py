"""Faults for an operator: reconciliation names the fault, waits, and continues once it is fixed."""

from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import END_SESSIONS, reconcile_once, reconciling

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

FAULTS = {
    "a table is missing": (
        "ALTER TABLE donations RENAME TO gifts",
        "ALTER TABLE gifts RENAME TO donations",
        "there is no table public.donations",
    ),
    "a column is missing": (
        "ALTER TABLE transactions RENAME block_number TO height",
        "ALTER TABLE transactions RENAME height TO block_number",
        "public.transactions has no column block_number",
    ),
    "a table of the daemon is missing": (
        "ALTER TABLE ledger_discrepancies RENAME TO others",
        "ALTER TABLE others RENAME TO ledger_discrepancies",
        "there is no table ledger_discrepancies",
    ),
    "a right is revoked": (
        "REVOKE UPDATE (status) ON transactions FROM kindledger_indexer",
        "GRANT UPDATE (status) ON transactions TO kindledger_indexer",
        "the user may not UPDATE public.transactions.status",
    ),
    "a right to a table of the daemon is revoked": (
        "REVOKE UPDATE ON ledger_cursor FROM kindledger_indexer",
        "GRANT UPDATE ON ledger_cursor TO kindledger_indexer",
        "the user may not UPDATE ledger_cursor",
    ),
    "rows are hidden": (
        "ALTER TABLE transactions ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE transactions DISABLE ROW LEVEL SECURITY",
        "row-level security of public.transactions",
    ),
    "the password was changed": (
        "ALTER ROLE {user} PASSWORD 'another'",
        "ALTER ROLE {user} PASSWORD '{user}'",
        "Check user and password in postgres.dsn",
    ),
    "the user may not log in": (
        "ALTER ROLE {user} NOLOGIN",
        "ALTER ROLE {user} LOGIN",
        "Check user and password in postgres.dsn",
    ),
    "the schema is newer": (
        (
            "INSERT INTO kindledger_migrations "
            "VALUES (9999, 'later', '', 'applied', now(), now(), 'kindledger 99')"
        ),
        "DELETE FROM kindledger_migrations WHERE version = 9999",
        "newer than this program",
    ),
    "a migration is unfinished": (
        "UPDATE kindledger_migrations SET state = 'running' WHERE version = 3",
        "UPDATE kindledger_migrations SET state = 'applied' WHERE version = 3",
        "is not finished",
    ),
    "the cursor belongs to another chain": (
        "UPDATE ledger_cursor SET block_hash = 'abc'",
        "DELETE FROM ledger_cursor",
        "this database was reconciled with another chain",
    ),
}
TEMPORARY_FAULTS = {
    "the session is read-only": (
        "ALTER ROLE {user} SET default_transaction_read_only = on",
        "ALTER ROLE {user} RESET default_transaction_read_only",
        "read-only transaction",
    ),
    "too many connections": (
        "ALTER ROLE {user} CONNECTION LIMIT 0",
        "ALTER ROLE {user} CONNECTION LIMIT -1",
        "too many connections",
    ),
}


@pytest.mark.parametrize(
    ("fault", "fix", "message", "state"),
    [(*each, ChannelState.FAILED) for each in FAULTS.values()]
    + [(*each, ChannelState.WAITING) for each in TEMPORARY_FAULTS.values()],
    ids=[*FAULTS, *TEMPORARY_FAULTS],
)
async def test_a_fault_is_named_until_it_is_fixed(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    fault: str,
    fix: str,
    message: str,
    state: ChannelState,
) -> None:
    """The sessions end too: some faults are noticed only at the start of a session."""
    user = indexer_dsn.partition("://")[2].partition(":")[0]
    builder = BlockBuilder()
    blocks = [builder.next_block([PlannedTransaction(), PlannedTransaction()]) for _ in range(2)]
    for _, ids in blocks:
        for id_ in ids:
            await gateway.transaction(id_)
    await ledger.commit([builder.genesis, blocks[0][0]])

    async with reconciling(indexer_dsn, ledger) as reconciler:
        progress = reconciler.progress
        await gateway.wait_for_pending_rows(2)
        await gateway.connection.execute(fault.format(user=user))
        await gateway.connection.execute(END_SESSIONS)
        await eventually(
            lambda: (progress.state, progress.error),
            lambda seen: seen[0] is state and seen[1] is not None and message in seen[1].message,
        )
        await ledger.commit([blocks[1][0]])
        await gateway.connection.execute(fix.format(user=user))
        await gateway.wait_until_settled()


OTHER_TYPE = """
DROP INDEX kindledger_transactions_pending, kindledger_transactions_status_created;
ALTER TABLE transactions DROP CONSTRAINT transactions_status_check, ALTER status DROP DEFAULT;
CREATE TYPE state AS ENUM ('PENDING', 'CONFIRMED', 'FAILED');
ALTER TABLE transactions ALTER status TYPE state USING status::state
"""


@pytest.mark.parametrize(
    "change", [OTHER_TYPE, "DELETE FROM ledger_cursor"], ids=["another type", "cursor deleted"]
)
async def test_reconciliation_continues_after_a_change_during_its_work(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, change: str
) -> None:
    """Prepared statements, or the cursor that the daemon has read, become invalid."""
    builder = BlockBuilder()
    blocks = [builder.next_block([PlannedTransaction(), PlannedTransaction()]) for _ in range(2)]
    for _, ids in blocks:
        await gateway.transaction(ids[0])
    await gateway.connection.execute(
        "ALTER TABLE transactions DISABLE TRIGGER ledger_notify_insert"
    )
    await ledger.commit([builder.genesis, blocks[0][0]])

    async with reconciling(indexer_dsn, ledger):
        await gateway.wait_for_pending_rows(1)
        await gateway.connection.execute(change)
        await ledger.commit([blocks[1][0]])
        await wait_until_complete(gateway)
        await gateway.connection.execute(_INSERT, blocks[0][1][1])
        await wait_until_complete(gateway)


async def wait_until_complete(gateway: Gateway) -> None:
    """Wait until no row is pending and the cursor is at the height of the ledger."""

    async def pending_and_height() -> tuple[int, int | None]:
        height = await gateway.connection.fetchval("SELECT height FROM ledger_cursor")
        return await gateway.pending_rows(), height

    await eventually(pending_and_height, lambda observed: observed == (0, 3))


_INSERT = (
    "INSERT INTO transactions (tx_hash, transaction_type, status) VALUES ($1, 'DONATE', 'PENDING')"
)


async def test_reconciliation_waits_until_a_server_is_of_the_wanted_kind(
    indexer_dsn: str, ledger: GrowingLedger
) -> None:
    """During a failover it may be that no address belongs to a primary."""
    await ledger.commit([BlockBuilder().genesis])
    async with reconciling(f"{indexer_dsn}?target_session_attrs=standby", ledger) as reconciler:
        await eventually(
            lambda: reconciler.progress.state, lambda state: state is ChannelState.WAITING
        )


async def test_rows_are_not_settled_by_another_chain_than_before(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    mongo: AsyncMongoClient[dict[str, Any]],
    database_name: str,
) -> None:
    """The error names the chain, and no row is settled."""
    builder, other = BlockBuilder(seed=1), BlockBuilder(seed=2)
    await ledger.commit([builder.genesis])
    await reconcile_once(indexer_dsn, ledger)
    block, ids = other.next_block([PlannedTransaction()])
    await gateway.transaction(ids[0])
    store = LedgerStore(mongo, f"{database_name}-b")
    await store.prepare()
    ledger = GrowingLedger(store)
    await ledger.commit([other.genesis, block])
    async with reconciling(indexer_dsn, ledger) as reconciler:
        progress = reconciler.progress
        await eventually(lambda: progress.state, lambda state: state is ChannelState.FAILED)
        assert progress.error is not None
        assert "reconciled with another chain" in progress.error.message
        assert await gateway.pending_rows() == 1
        await gateway.connection.execute("DELETE FROM ledger_cursor")
        await gateway.wait_until_settled()
    await mongo.drop_database(store.database.name)
