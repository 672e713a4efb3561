"""What an operator must cure: reconciliation names it and waits, and goes on by itself once it is cured."""

from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from tests.reconciliation.pen import Draft, Pen
from tests.reconciliation.support import Gateway, GrowingLedger, once, reconciling, until

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of broken attempts to connect
]

END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'kindledger-explorer'
"""
HINDRANCES = {
    "a table is gone": (
        "ALTER TABLE donations RENAME TO gifts",
        "ALTER TABLE gifts RENAME TO donations",
        "there is no table public.donations",
    ),
    "a column is gone": (
        "ALTER TABLE transactions RENAME block_number TO height",
        "ALTER TABLE transactions RENAME height TO block_number",
        "public.transactions has no column block_number",
    ),
    "a table of the daemon is gone": (
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
    "the password is another": (
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
        "INSERT INTO kindledger_migrations VALUES (9999, 'later', '', 'applied', now(), now(), 'kindledger 99')",
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
PASSING = {
    "nothing may be written": (
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
    ("hindrance", "cure", "message", "state"),
    [(*each, ChannelState.FAILED) for each in HINDRANCES.values()]
    + [(*each, ChannelState.WAITING) for each in PASSING.values()],
    ids=[*HINDRANCES, *PASSING],
)
async def test_it_is_named_and_goes_on_once_it_is_cured(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    hindrance: str,
    cure: str,
    message: str,
    state: ChannelState,
) -> None:
    """The sessions end too, as with a restart of PostgreSQL: some of this is looked at only then."""
    user = indexer_dsn.partition("://")[2].partition(":")[0]
    pen = Pen()
    blocks = [pen.block([Draft(), Draft()]) for _ in range(2)]
    for _, ids in blocks:
        for id_ in ids:
            await gateway.transaction(id_)
    await ledger.commit([pen.genesis, blocks[0][0]])

    async def half() -> bool:
        return await gateway.waiting() == 2

    async def all_() -> bool:
        return await gateway.waiting() == 0

    async with reconciling(indexer_dsn, ledger) as part:
        await until(half)
        await gateway.connection.execute(hindrance.format(user=user))
        await gateway.connection.execute(END_SESSIONS)

        async def named() -> bool:
            error = part.progress.error
            return part.progress.state is state and error is not None and message in error.message

        await until(named)
        await ledger.commit([blocks[1][0]])
        await gateway.connection.execute(cure.format(user=user))
        await until(all_)


RELABELLED = """
DROP INDEX kindledger_transactions_pending, kindledger_transactions_status_created;
ALTER TABLE transactions DROP CONSTRAINT transactions_status_check, ALTER status DROP DEFAULT;
CREATE TYPE state AS ENUM ('PENDING', 'CONFIRMED', 'FAILED');
ALTER TABLE transactions ALTER status TYPE state USING status::state
"""


@pytest.mark.parametrize(
    "change", [RELABELLED, "DELETE FROM ledger_cursor"], ids=["another type", "cursor deleted"]
)
async def test_it_copes_with_a_change_while_it_works(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, change: str
) -> None:
    """Statements that were prepared, and the cursor that it had, are of no use any more."""
    pen = Pen()
    blocks = [pen.block([Draft(), Draft()]) for _ in range(2)]
    for _, ids in blocks:
        await gateway.transaction(ids[0])
    await gateway.connection.execute(
        "ALTER TABLE transactions DISABLE TRIGGER ledger_notify_insert"
    )
    await ledger.commit([pen.genesis, blocks[0][0]])

    async def half() -> bool:
        return await gateway.waiting() == 1

    async def all_() -> bool:
        return await gateway.waiting() == 0 and bool(await gateway.connection.fetchval(_AT_THE_TOP))

    async with reconciling(indexer_dsn, ledger):
        await until(half)
        await gateway.connection.execute(change)
        await ledger.commit([blocks[1][0]])
        await until(all_)
        await gateway.connection.execute(_INSERT, blocks[0][1][1])
        await until(all_)


_INSERT = (
    "INSERT INTO transactions (tx_hash, transaction_type, status) VALUES ($1, 'DONATE', 'PENDING')"
)
_AT_THE_TOP = "SELECT EXISTS (SELECT FROM ledger_cursor WHERE height = 3)"


async def test_no_server_of_the_wanted_kind(indexer_dsn: str, ledger: GrowingLedger) -> None:
    """In the midst of a failover none of the addresses may be the primary."""
    await ledger.commit([Pen().genesis])
    async with reconciling(f"{indexer_dsn}?target_session_attrs=standby", ledger) as part:

        async def waiting() -> bool:
            return part.progress.state is ChannelState.WAITING

        await until(waiting)


async def test_another_chain_than_the_rows_were_settled_by(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    mongo: AsyncMongoClient[dict[str, Any]],
    database_name: str,
) -> None:
    """It says so, and settles nothing."""
    pen, other = Pen(seed=1), Pen(seed=2)
    await ledger.commit([pen.genesis])
    await once(indexer_dsn, ledger)
    block, ids = other.block([Draft()])
    await gateway.transaction(ids[0])
    store = LedgerStore(mongo, f"{database_name}-b")
    await store.prepare()
    ledger = GrowingLedger(store)
    await ledger.commit([other.genesis, block])
    async with reconciling(indexer_dsn, ledger) as part:

        async def failed() -> bool:
            return part.progress.state is ChannelState.FAILED

        await until(failed)
        assert part.progress.error is not None
        assert "reconciled with another chain" in part.progress.error.message
        assert await gateway.waiting() == 1
        await gateway.connection.execute("DELETE FROM ledger_cursor")

        async def settled() -> bool:
            return await gateway.waiting() == 0

        await until(settled)
    await mongo.drop_database(store.database.name)
