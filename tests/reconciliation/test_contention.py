"""Others hold rows, change them, or have constraints that refuse a settlement: only those rows wait."""

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
from reconciliation import facts
from tests.reconciliation.pen import Draft, Pen
from tests.reconciliation.support import (
    PACE,
    Gateway,
    GrowingLedger,
    Sent,
    chain,
    reconciling,
    sent,
    until,
)

PATIENT = replace(PACE, grace_s=30.0)
"""For rows whose blocks come while the test runs, however slowly that is."""

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of broken attempts to connect
]

BLOCKS = chain(60)
SENT = sent(BLOCKS, "Donate")


@asynccontextmanager
async def held(dsn: str, *statements: str) -> AsyncIterator[None]:
    """What another session has done and not committed while the context lasts."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            yield
    finally:
        await connection.close()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short chain is a backlog of many."""
    monkeypatch.setattr(facts, "_BATCH_BLOCKS", 3)


@pytest.mark.parametrize("late", [False, True])
async def test_what_others_hold_is_settled_when_they_let_go(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway, late: bool
) -> None:
    """A row, and a campaign with a hundred donations: all others are settled meanwhile, and soon."""
    pen = Pen()
    block, ids = pen.block([Draft()] * 300)
    await gateway.open_campaign("held")
    await gateway.open_campaign("c1")
    await gateway.count_settlements()
    await ledger.commit([pen.genesis])

    async def write() -> None:
        for n, id_ in enumerate(ids):
            await gateway.donation(id_, campaign_id="held" if n < 100 else "c1")
            await gateway.transaction(id_)

    async with contextlib.AsyncExitStack() as stack:
        if late:
            await ledger.commit([block])
        else:
            await write()
        locks = ["UPDATE campaigns SET name = 'being edited' WHERE id = 'held'"]
        if not late:
            locks += [f"SELECT FROM donations WHERE blockchain_tx_hash = '{ids[200]}' FOR UPDATE"]
            locks += [f"SELECT FROM transactions WHERE tx_hash = '{ids[150]}' FOR UPDATE"]
        await stack.enter_async_context(reconciling(indexer_dsn, ledger))
        async with held(business_database, *locks):
            if late:
                await write()
            else:
                await ledger.commit([block])

            async def others() -> bool:
                return await gateway.waiting() == 100 + 2 * (not late)

            await until(others, within_s=8.0)

        async def all_() -> bool:
            return await gateway.waiting() == 0

        await until(all_, within_s=8.0)
    assert await gateway.connection.fetchval("SELECT count(*) FROM settlements") == 600
    raised = await gateway.connection.fetch("SELECT raised_amount FROM campaigns ORDER BY id")
    assert [record["raised_amount"] for record in raised] == [200, 100]
    assert await gateway.discrepancies() == {}


async def test_an_application_that_locks_in_another_order(
    indexer_dsn: str, business_database: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """It changes a campaign, then its donations: deadlocks with the settlement, which gives way and tries again."""
    await gateway.open_campaign()
    await gateway.note(SENT)
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

    async def settled() -> bool:
        return await gateway.waiting() == 0

    application = asyncio.create_task(apply())
    async with reconciling(indexer_dsn, ledger) as part:
        for n in range(0, len(BLOCKS), 2):
            await ledger.commit(BLOCKS[n : n + 2])
            await asyncio.sleep(0.05)
        await until(settled)
        assert part.progress.error is None, part.progress.error
    assert not application.done(), "the application had to give way"
    application.cancel()
    await asyncio.gather(application, return_exceptions=True)
    await gateway.assert_settled_once(SENT)

    async def collided() -> bool:
        return bool(await gateway.connection.fetchval(_DEADLOCKS))

    await until(collided)


_DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"

REFUSALS = {
    "check": (
        "ALTER TABLE donations ADD CONSTRAINT c CHECK (status <> 'CONFIRMED' OR donor_name IS NULL)",
        "ALTER TABLE donations DROP CONSTRAINT c",
        "violates check constraint",
    ),
    "trigger": (
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.donor_name IS NOT NULL THEN RAISE EXCEPTION 'not %', NEW.donor_name; END IF; RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE UPDATE OF status ON donations FOR EACH ROW EXECUTE FUNCTION no()""",
        "DROP TRIGGER no ON donations",
        "not refused",
    ),
    "trigger with a SQLSTATE of its own": (
        """CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.donor_name IS NOT NULL THEN
        RAISE EXCEPTION 'not today' USING ERRCODE = 'KL001'; END IF; RETURN NEW; END $$;
        CREATE TRIGGER no BEFORE UPDATE OF status ON donations FOR EACH ROW EXECUTE FUNCTION no()""",
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


@pytest.mark.parametrize(("spoil", "cure", "message"), REFUSALS.values(), ids=REFUSALS)
async def test_a_row_that_the_schema_refuses(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, spoil: str, cure: str, message: str
) -> None:
    """It becomes a discrepancy that tells why, and settles when it is cured; the others never wait for it."""
    pen = Pen()
    block, ids = pen.block([Draft(MVCC_READ_CONFLICT if n % 7 == 3 else 0) for n in range(40)])
    await gateway.open_campaign()
    for id_ in ids:
        await gateway.transaction(id_)
    refused = {str(await gateway.donation(id_, donor_name="refused")) for id_ in ids[4:7]}
    for id_ in ids[7:]:
        await gateway.donation(id_)
    await gateway.connection.execute(spoil)
    await ledger.commit([pen.genesis, block])

    async def others() -> bool:
        return (await gateway.discrepancies()).get("refused", set()) >= refused

    async def all_() -> bool:
        return await gateway.waiting() == 0 and not await gateway.discrepancies()

    async with reconciling(indexer_dsn, ledger):
        await until(others)
        assert await gateway.waiting() == len(refused)
        told = await gateway.connection.fetch(
            "SELECT found ->> 'error' AS error FROM ledger_discrepancies"
        )
        assert all(message in record["error"] for record in told)
        await gateway.connection.execute(cure)
        await until(all_)


async def test_two_daemons_over_one_backlog(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway, small_batches: None
) -> None:
    """Each block is settled by one of them, and neither has anything to complain of."""
    pen, noted = Pen(), list[Sent]()
    blocks = [pen.genesis]
    for number in range(1, 60):
        drafts = [Draft(), Draft(MVCC_READ_CONFLICT), Draft(BAD_PROPOSAL_TXID, f"\0{number}")]
        block, (valid, invalid, _) = pen.block(drafts)
        blocks.append(block)
        noted += [
            Sent(valid, "Donate", (), True, number),
            Sent(invalid, "Donate", (), False, number),
        ]
    await gateway.open_campaign()
    await gateway.note(noted)
    await gateway.count_settlements()
    await ledger.commit(blocks[:40])

    async def settled() -> bool:
        height = await gateway.connection.fetchval("SELECT height FROM ledger_cursor")
        return await gateway.waiting() == 0 and height == len(blocks)

    with capture_logs() as logs:
        async with (
            reconciling(indexer_dsn, ledger, pace=PATIENT) as one,
            reconciling(indexer_dsn, ledger, pace=PATIENT) as other,
        ):
            for block in blocks[40:]:
                await ledger.commit([block])
                await asyncio.sleep(0.01)
            await until(settled)
    assert one.progress.settled + other.progress.settled == 2 * len(noted)
    assert (
        await gateway.connection.fetchval("SELECT unusable_ids FROM ledger_cursor")
        == len(blocks) - 1
    )
    assert one.progress.error is other.progress.error is None
    assert logs == []
    await gateway.assert_settled_once(noted)
