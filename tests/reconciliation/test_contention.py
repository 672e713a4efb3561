"""Only locked rows, and rows whose settlement the schema refuses, stay pending."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import (
    GrowingLedger,
    SubmittedTransaction,
    forged_chain,
    submitted,
)
from tests.reconciliation.running import INTERVALS, reconciling

LONG_GRACE = replace(INTERVALS, grace_s=120.0)
"""For rows whose blocks are committed while the test runs."""

pytestmark = [
    pytest.mark.usefixtures("close_broken_connections"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of interrupted attempts to connect
]

BLOCKS = forged_chain(60)
SUBMITTED = submitted(BLOCKS, "Donate")


@asynccontextmanager
async def uncommitted(dsn: str, *statements: str) -> AsyncIterator[None]:
    """Execute the statements in another session, and commit when the context ends."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("late", [False, True])
async def test_locked_rows_are_settled_after_the_lock_ends(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway, late: bool
) -> None:
    """Single rows and a campaign with a hundred donations are locked; other rows do not wait."""
    builder = BlockBuilder()
    block, ids = builder.next_block([PlannedTransaction()] * 300)
    await gateway.open_campaign("locked")
    await gateway.open_campaign("c1")
    await gateway.count_settlements()
    await ledger.commit([builder.genesis])

    async def write() -> None:
        for n, id_ in enumerate(ids):
            await gateway.donation(id_, campaign_id="locked" if n < 100 else "c1")
            await gateway.transaction(id_)

    async with contextlib.AsyncExitStack() as stack:
        if late:
            await ledger.commit([block])
        else:
            await write()
        locks = ["UPDATE campaigns SET name = 'being edited' WHERE id = 'locked'"]
        if not late:
            locks += [f"SELECT FROM donations WHERE blockchain_tx_hash = '{ids[200]}' FOR UPDATE"]
            locks += [f"SELECT FROM transactions WHERE tx_hash = '{ids[150]}' FOR UPDATE"]
        await stack.enter_async_context(reconciling(indexer_dsn, ledger))
        async with uncommitted(business_database, *locks):
            if late:
                await write()
            else:
                await ledger.commit([block])
            await gateway.wait_for_pending_rows(100 + 2 * (not late))
        await gateway.wait_until_settled()
    assert await gateway.connection.fetchval("SELECT count(*) FROM settlements") == 600
    raised = await gateway.connection.fetch("SELECT raised_amount FROM campaigns ORDER BY id")
    assert [record["raised_amount"] for record in raised] == [200, 100]
    assert await gateway.discrepancies() == {}


async def test_a_deadlock_with_an_application_is_retried(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """The application locks a campaign, then its donations; the settlement is the one to retry."""
    await gateway.open_campaign()
    await gateway.write_rows(SUBMITTED)
    await gateway.count_settlements()
    await gateway.connection.execute(
        f"ALTER ROLE {urlsplit(indexer_dsn).username} SET deadlock_timeout = '40ms'"
    )

    async def apply() -> None:
        connection = await asyncpg.connect(business_database)
        try:
            while True:
                async with connection.transaction():
                    await connection.execute(
                        "UPDATE campaigns SET name = name || '.' WHERE id = 'c1'"
                    )
                    await asyncio.sleep(0.03)
                    await connection.execute(
                        "UPDATE donations SET donor_name = 'x' WHERE campaign_id = 'c1'"
                    )
                await asyncio.sleep(0.01)
        finally:
            connection.terminate()

    application = asyncio.create_task(apply())
    async with reconciling(indexer_dsn, ledger) as reconciler:
        for n in range(0, len(BLOCKS), 2):
            await ledger.commit(BLOCKS[n : n + 2])
            await asyncio.sleep(0.05)
        await gateway.wait_until_settled()
        assert reconciler.progress.error is None, reconciler.progress.error
    assert not application.done(), "the application was chosen as the victim"
    application.cancel()
    await asyncio.gather(application, return_exceptions=True)
    await gateway.assert_settled_once(SUBMITTED)
    await eventually(
        lambda: gateway.connection.fetchval(_DEADLOCKS), describe="a deadlock is counted"
    )


_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

REFUSALS = {
    "check": (
        """ALTER TABLE donations
        ADD CONSTRAINT c CHECK (status <> 'CONFIRMED' OR donor_name IS NULL)""",
        "ALTER TABLE donations DROP CONSTRAINT c",
        "violates check constraint",
    ),
    "trigger": (
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.donor_name IS NOT NULL THEN RAISE EXCEPTION 'not %', NEW.donor_name; END IF;
        RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE UPDATE OF status ON donations
        FOR EACH ROW EXECUTE FUNCTION no()""",
        "DROP TRIGGER no ON donations",
        "not refused",
    ),
    "trigger with a SQLSTATE of its own": (
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.donor_name IS NOT NULL THEN RAISE EXCEPTION 'not today' USING ERRCODE = 'KL001';
        END IF; RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE UPDATE OF status ON donations
        FOR EACH ROW EXECUTE FUNCTION no()""",
        "DROP TRIGGER no ON donations",
        "not today",
    ),
    "deferred trigger": (
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.donor_name IS NOT NULL THEN RAISE EXCEPTION 'too late'; END IF; RETURN NEW; END $$;
        CREATE CONSTRAINT TRIGGER no AFTER UPDATE ON donations DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION no()""",
        "DROP TRIGGER no ON donations",
        "too late",
    ),
    "overflow of raised_amount": (
        """UPDATE donations SET amount = 9999999999999.99 WHERE donor_name IS NOT NULL;
        INSERT INTO donations (campaign_id, amount, status) VALUES ('c1', 1, 'CONFIRMED')""",
        "UPDATE donations SET amount = 1 WHERE donor_name IS NOT NULL",
        "numeric field overflow",
    ),
}


@pytest.mark.parametrize(("cause", "remedy", "message"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_row_is_a_discrepancy_and_delays_no_other_row(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, cause: str, remedy: str, message: str
) -> None:
    """A discrepancy shows the reason; the row is settled without the cause, others at once."""
    builder = BlockBuilder()
    block, ids = builder.next_block(
        [PlannedTransaction(MVCC_READ_CONFLICT if n % 7 == 3 else 0) for n in range(40)]
    )
    await gateway.open_campaign()
    for id_ in ids:
        await gateway.transaction(id_)
    refused = {str(await gateway.donation(id_, donor_name="refused")) for id_ in ids[4:7]}
    for id_ in ids[7:]:
        await gateway.donation(id_)
    await gateway.connection.execute(cause)
    await ledger.commit([builder.genesis, block])

    async with reconciling(indexer_dsn, ledger):
        await eventually(
            gateway.discrepancies, lambda kinds: kinds.get("refused", set()) >= refused
        )
        assert await gateway.pending_rows() == len(refused)
        errors = await gateway.connection.fetch(
            "SELECT found ->> 'error' AS error FROM ledger_discrepancies"
        )
        assert all(message in record["error"] for record in errors)
        await gateway.connection.execute(remedy)
        await gateway.wait_until_settled()
        await eventually(gateway.discrepancies, lambda kinds: not kinds)


async def test_two_daemons_settle_each_row_of_a_backlog_once(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Each block is settled by one of them, and neither reports an error."""
    builder, written = BlockBuilder(), list[SubmittedTransaction]()
    blocks = [builder.genesis]
    for number in range(1, 60):
        planned = [
            PlannedTransaction(),
            PlannedTransaction(MVCC_READ_CONFLICT),
            PlannedTransaction(BAD_PROPOSAL_TXID, f"\0{number}"),
        ]
        block, (valid, invalid, _) = builder.next_block(planned)
        blocks.append(block)
        written += [
            SubmittedTransaction(valid, "Donate", (), True, number),
            SubmittedTransaction(invalid, "Donate", (), False, number),
        ]
    await gateway.open_campaign()
    await gateway.write_rows(written)
    await gateway.count_settlements()
    await ledger.commit(blocks[:40])

    with capture_logs() as logs:
        async with (
            reconciling(indexer_dsn, ledger, intervals=LONG_GRACE, batch_blocks=3) as one,
            reconciling(indexer_dsn, ledger, intervals=LONG_GRACE, batch_blocks=3) as other,
        ):
            for block in blocks[40:]:
                await ledger.commit([block])
                await asyncio.sleep(0.01)
            await gateway.wait_until_settled()
            await eventually(
                lambda: gateway.connection.fetchval("SELECT height FROM ledger_cursor"),
                lambda height: height == len(blocks),
            )
    assert one.progress.settled_rows + other.progress.settled_rows == 2 * len(written)
    assert (
        await gateway.connection.fetchval("SELECT unusable_ids FROM ledger_cursor")
        == len(blocks) - 1
    )
    assert one.progress.error is other.progress.error is None
    assert logs == []
    await gateway.assert_settled_once(written)
