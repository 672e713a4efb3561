"""Whatever clients write on the ledger and applications into rows: the other rows are settled, and nothing else is."""

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, TypeAlias

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.forge.hostile_values import TX_IDS
from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger, forged_chain, submitted
from tests.reconciliation.running import reconcile_once, reconciling

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

UNUSABLE = ("a\0b", "x" * 256, "\0", "ends with a blank ")
STRANGE = (
    "y" * 255,
    "it's",
    'a"b',
    "back\\slash\\",
    "100%_",
    "🪔" * 255,
    "$1",
    "{}",
    "{1,2}",
    "NULL",
    "' OR 1=1 --",
)


async def states(gateway: Gateway) -> dict[str, str]:
    """The state of each row of the audit table by its hash."""
    rows = await gateway.connection.fetch("SELECT tx_hash, status FROM transactions")
    return {row["tx_hash"]: row["status"] for row in rows}


async def test_ids_that_no_column_holds_are_counted_and_spoil_nothing(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Nor do those that are awkward in SQL: rows that name these get the state of the envelope that claimed them."""
    builder = BlockBuilder()
    claimed = dict.fromkeys((*UNUSABLE, *STRANGE, *TX_IDS.values()))
    block, ids = builder.next_block(
        [
            PlannedTransaction(),
            PlannedTransaction(MVCC_READ_CONFLICT),
            *(PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in claimed),
        ]
    )
    unusable = {id_ for id_ in claimed if "\0" in id_ or len(id_) > 255 or id_.endswith(" ")}
    wanted = {id_: "FAILED" for id_ in ids if id_ and id_ not in unusable} | {ids[0]: "CONFIRMED"}
    assert len(wanted) > 15
    early, late = list(wanted)[::2], list(wanted)[1::2]
    for id_ in early:
        await gateway.transaction(id_)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    for id_ in late:
        await gateway.transaction(id_)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == wanted
    assert (
        await gateway.connection.fetchval("SELECT unusable_ids FROM ledger_cursor")
        == len(unusable)
        > 4
    )
    assert await gateway.discrepancies() == {}


async def test_the_whole_hostile_catalogue(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Every second envelope is hostile; every row is settled as a naive reader of the chain decides."""
    blocks = forged_chain(40, seed=11, hostile_share=0.5)
    wanted = {one.tx_id: one.state for one in submitted(blocks)}
    for tx_id in wanted:
        await gateway.transaction(tx_id)
    await ledger.commit(blocks)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == wanted
    assert set(wanted.values()) == {"CONFIRMED", "FAILED"}


async def test_a_placeholder_never_settles_even_if_a_client_claimed_it(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    builder = BlockBuilder()
    claimed = ("pending-7", "PENDING-8", "pending-", "pending-%")
    spelled = ("  pending-7", "0xpending-7", "\tPENDING-8")
    block, _ = builder.next_block([PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in claimed])
    await gateway.open_campaign()
    odd = {str(await gateway.transaction(hash_)) for hash_ in spelled}
    for hash_ in claimed:
        await gateway.transaction(hash_)
        await gateway.donation(hash_)
    await gateway.donation("")
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.pending_rows() == len(spelled) + 2 * len(claimed) + 1
    assert await gateway.discrepancies() == {"impossible_hash": odd}


async def test_a_hash_in_another_spelling_is_found_by_the_sweep_and_not_rewritten(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    builder = BlockBuilder()
    block, ids = builder.next_block(
        [PlannedTransaction(code) for code in (0, MVCC_READ_CONFLICT) * 5]
    )
    patterns = ("{}", "0x{}", "0X{}", "  {}\n", "\t0x{} ")
    spelled = {
        patterns[n % 5].format(id_.upper() if n < 5 else id_): "FAILED" if n % 2 else "CONFIRMED"
        for n, id_ in enumerate(ids)
    }
    await ledger.commit([builder.genesis, block])
    for hash_ in spelled:
        await gateway.transaction(hash_)
    await reconcile_once(indexer_dsn, ledger)
    assert await states(gateway) == spelled


AMOUNTS: dict[str, tuple[bytes, bool]] = {
    "integer": (b"12", False),
    "float": (b"12.0", False),
    "string": (b'"12.00"', False),
    "exponent": (b"1.2e1", False),
    "string with exponent": (b'"120e-1"', False),
    "another": (b"13", True),
    "nearly": (b"12.001", True),
    "negative": (b"-12", True),
    "zero": (b"0", True),
    "larger than 64 bits": (b"123456789012345678901234567890", True),
    "absurd exponent": (b'"1e999999999"', True),
    "absurd negative exponent": (b'"1e-999999999"', True),
    "exponent beyond decimals": (b'"1e99999999999999999999"', False),
    "infinite": (b"1e400", False),
    "no number": (b'"twelve"', False),
    "not a number": (b'"NaN"', False),
    "signalling": (b'"sNaN"', False),
    "too long": (b"1" * 101, False),
    "truth": (b"true", False),
    "null": (b"null", False),
    "list": (b"[13]", False),
    "object": (b'{"amount":13}', False),
    "posing as a big integer": (b'{"bigInteger":"13"}', True),
    "posing twice": (b'{"bigInteger":{"bigInteger":13}}', False),
}
"""Amounts in an event, and whether they differ from 12; what is no number says nothing."""


async def test_amounts_in_events(indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway) -> None:
    """Rows are settled whatever stands there, and those that show another number are named."""
    builder = BlockBuilder()
    planned = [PlannedTransaction(payload=b'{"amount":%s}' % text) for text, _ in AMOUNTS.values()]
    block, ids = builder.next_block(
        [
            *planned,
            PlannedTransaction(payload=b'[{"amount":13}]'),
            PlannedTransaction(payload=b"amount"),
            PlannedTransaction(),
        ]
    )
    await gateway.open_campaign()
    wrong = set()
    for id_, differs in zip(
        ids, [*(differs for _, differs in AMOUNTS.values()), False, False, False], strict=True
    ):
        key = await gateway.donation(id_, amount=Decimal(12))
        await gateway.transaction(id_, amount=None)
        if differs:
            wrong.add(str(key))
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.pending_rows() == 0
    assert await gateway.discrepancies() == {"amount_differs": wrong}
    await gateway.connection.execute(
        "ALTER TABLE transactions DROP CONSTRAINT IF EXISTS transactions_amount_check"
    )
    odd = await gateway.connection.fetchval(
        "UPDATE transactions SET amount = 'NaN' WHERE tx_hash = $1 RETURNING id::text", ids[0]
    )
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"amount_differs": wrong | {odd}}


async def test_two_donations_with_one_hash(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Each counts: which of them is the right one is not for the daemon to decide."""
    builder = BlockBuilder()
    block, (valid, invalid) = builder.next_block(
        [PlannedTransaction(), PlannedTransaction(MVCC_READ_CONFLICT)]
    )
    await gateway.open_campaign()
    for hash_ in (valid, invalid):
        for amount in (2, 3):
            await gateway.donation(hash_, amount=Decimal(amount))
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    rows = await gateway.connection.fetch(
        "SELECT status, sum(amount) FROM donations GROUP BY status"
    )
    assert {tuple(row) for row in rows} == {("CONFIRMED", 5), ("FAILED", 5)}
    assert await gateway.connection.fetchval("SELECT raised_amount FROM campaigns") == 5


async def test_a_row_without_a_date_counts_as_old(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """As an adopted table may have them."""
    await gateway.connection.execute("ALTER TABLE transactions ALTER created_at DROP NOT NULL")
    key = await gateway.transaction("ab" * 32, created_at=None)
    await ledger.commit([BlockBuilder().genesis])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"not_on_ledger": {str(key)}}


async def test_a_row_that_goes_leaves_its_transaction_without_one(
    indexer_dsn: str, ledger: GrowingLedger, gateway: Gateway
) -> None:
    """Also when it was there when the transaction was looked for first; and another row makes up for it."""
    builder = BlockBuilder()
    block, (deleted, renamed) = builder.next_block([PlannedTransaction(), PlannedTransaction()])
    for id_ in (deleted, renamed):
        await gateway.transaction(id_)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {}
    await gateway.connection.execute("DELETE FROM transactions WHERE tx_hash = $1", deleted)
    await gateway.connection.execute("UPDATE transactions SET tx_hash = 'pending-1'")
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"missing_row": {deleted, renamed}}
    await gateway.transaction(deleted)
    await reconcile_once(indexer_dsn, ledger)
    assert await gateway.discrepancies() == {"missing_row": {renamed}}


ODD_SCHEMA = """
CREATE SCHEMA "Kế ""A"" toán";
SET search_path = "Kế ""A"" toán", public;
CREATE TYPE "Trạng Thái" AS ENUM ('đang chờ', 'xong', 'hỏng''');
CREATE DOMAIN "Mã" AS TEXT CHECK (VALUE ~ '^[0-9a-f]{64}$');
CREATE DOMAIN "Khối" AS INTEGER CHECK (VALUE > 0);
CREATE TABLE "SELECT" (
    "Số" INTEGER PRIMARY KEY, "Mã" "Mã", "Trạng Thái" "Trạng Thái" NOT NULL, "Khối" "Khối", "Lúc" TIMESTAMP,
    "Tiền" MONEY
);
CREATE TABLE "chi;--" ("1"" số" SMALLINT PRIMARY KEY, "mã" CHAR(64), "user" CHAR(1) NOT NULL, "lúc" DATE);
CREATE TABLE compared (id TEXT PRIMARY KEY, hash VARCHAR);
CREATE TRIGGER late AFTER UPDATE OF "Mã" ON "SELECT" FOR EACH ROW EXECUTE FUNCTION public.ledger_notify('Mã')
"""
ODD = BusinessMapping(
    schema='Kế "A" toán',
    tables=(
        BusinessTable(
            name="SELECT",
            key="Số",
            hash="Mã",
            status="Trạng Thái",
            pending="đang chờ",
            confirmed="xong",
            failed="hỏng'",
            block="Khối",
            confirmed_at="Lúc",
            amount="Tiền",
        ),
        BusinessTable(
            name="chi;--",
            key='1" số',
            hash="mã",
            status="user",
            pending="?",
            confirmed="+",
            failed="-",
            confirmed_at="lúc",
        ),
        BusinessTable(name="compared", hash="hash"),
    ),
    placeholders=(),
)


@pytest.fixture
async def odd(empty_database: str) -> AsyncIterator[Connection]:
    """A business schema of another shape, with the daemon's own tables."""
    connection = await asyncpg.connect(empty_database)
    await Migrator(connection, load_migrations(), lambda _: None, program="tests").to(1)
    await connection.execute(ODD_SCHEMA)
    yield connection
    await connection.close()


async def test_a_schema_of_another_shape(
    empty_database: str, odd: Connection, ledger: GrowingLedger
) -> None:
    """Other names and types, a hash that a domain guards, and clients that claim ids which no row may have."""
    builder = BlockBuilder()
    valid, invalid, late = "a1" * 32, "b2" * 32, "c3" * 32
    # To a column of type char the first one is the id of a transaction that is still to come.
    first, _ = builder.next_block(
        [PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in (f"{valid}  ", *STRANGE)]
    )
    second, _ = builder.next_block(
        [
            PlannedTransaction(tx_id=valid),
            PlannedTransaction(MVCC_READ_CONFLICT, invalid),
            PlannedTransaction(tx_id=late),
        ]
    )
    insert = """INSERT INTO "SELECT" ("Số", "Mã", "Trạng Thái") VALUES ($1, $2, 'đang chờ')"""
    await odd.executemany(insert, [(-7, valid), (8, invalid), (9, None)])
    insert = """INSERT INTO "chi;--" ("1"" số", "mã", "user") VALUES ($1, $2, '?')"""
    await odd.executemany(insert, [(1, valid), (2, invalid)])
    await odd.execute(
        "INSERT INTO compared VALUES ('a', $1), ('b', $2), ('c', 'TBD')", valid, invalid
    )
    await ledger.commit([builder.genesis, first])
    await reconcile_once(empty_database, ledger, business=ODD)
    await ledger.commit([second])

    async def settled() -> bool:
        waiting = await odd.fetchval(
            """SELECT count(*) FROM "SELECT" WHERE "Trạng Thái" = 'đang chờ'"""
        )
        return bool(waiting == 0)

    async with reconciling(empty_database, ledger, business=ODD):
        await odd.execute("""UPDATE "SELECT" SET "Mã" = $1 WHERE "Số" = 9""", late)
        await eventually(settled)
    await reconcile_once(empty_database, ledger, business=ODD)
    rows = await odd.fetch(
        """SELECT "Số", "Trạng Thái"::text, "Khối"::int, "Lúc" IS NOT NULL FROM "SELECT" """
    )
    assert {tuple(row) for row in rows} == {
        (-7, "xong", 2, True),
        (8, "hỏng'", 2, False),
        (9, "xong", 2, True),
    }
    rows = await odd.fetch("""SELECT "1"" số", "user", "lúc" IS NOT NULL FROM "chi;--" """)
    assert {tuple(row) for row in rows} == {(1, "+", True), (2, "-", False)}
    assert await Gateway(odd).discrepancies() == {
        "contradicts_ledger": {"b"},
        "impossible_hash": {"c"},
    }


async def test_a_blank_at_the_end_that_only_one_of_the_columns_sees(
    empty_database: str, odd: Connection, ledger: GrowingLedger
) -> None:
    """What the row of one table is settled by finds that of the other too."""
    builder = BlockBuilder()
    block, ids = builder.next_block([PlannedTransaction()])
    await odd.execute("CREATE TABLE seen (id INT PRIMARY KEY, hash VARCHAR, state TEXT)")
    await odd.execute("CREATE TABLE unseen (id INT PRIMARY KEY, hash CHAR(64), state TEXT)")
    tables = tuple(
        BusinessTable(name=name, hash="hash", status="state") for name in ("seen", "unseen")
    )
    both = BusinessMapping(schema=ODD.schema, tables=tables)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(empty_database, ledger, business=both)
    await odd.execute("INSERT INTO seen VALUES (1, $1, 'PENDING')", f"{ids[0]} ")
    await odd.execute("INSERT INTO unseen VALUES (2, $1, 'PENDING')", ids[0])
    await reconcile_once(empty_database, ledger, business=both)
    rows = await odd.fetch("SELECT id, state FROM seen UNION ALL SELECT id, state FROM unseen")
    assert {tuple(row) for row in rows} == {(1, "CONFIRMED"), (2, "CONFIRMED")}


BUILDER = BlockBuilder(seed=3)
CHAIN = [BUILDER.genesis]
BLOCK, IDS = BUILDER.next_block(
    [
        PlannedTransaction(payload=b'{"amount":7}'),
        PlannedTransaction(MVCC_READ_CONFLICT),
        PlannedTransaction(),
        PlannedTransaction(BAD_PROPOSAL_TXID, "claimed"),
    ]
)
CHAIN.append(BLOCK)
HASHES = [
    *IDS,
    *(f" 0x{id_.upper()}" for id_ in IDS),
    "00" * 32,
    "impossible",
    "pending-1",
    "x" * 255,
]
SETTLED = st.tuples(
    st.sampled_from(["CONFIRMED", "FAILED", "REFUNDED"]),
    st.sampled_from(HASHES),
    st.sampled_from([Decimal(7), Decimal(8)]),
    st.sampled_from([None, 0, 1, 2, 2**40]),
)
_IMAGES = """
SELECT 'transactions' AS name, t.xmin::text, t::text FROM transactions t
UNION ALL SELECT 'donations', d.xmin::text, d::text FROM donations d
UNION ALL SELECT 'campaigns', c.xmin::text, c::text FROM campaigns c
"""


async def images(gateway: Gateway) -> set[tuple[Any, ...]]:
    """Every row, and the transaction that wrote it last."""
    return {tuple(row) for row in await gateway.connection.fetch(_IMAGES)}


async def unchanged(
    dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    """Settles blocks and compares everything, over rows that are settled already."""
    if not ledger.progress.committed_height:
        await ledger.commit(CHAIN)
    await gateway.connection.execute(
        "TRUNCATE campaigns, transactions, donations, ledger_cursor, ledger_discrepancies"
    )
    for n, hash_ in enumerate(HASHES):
        await gateway.open_campaign(f"c{n}", hash_=hash_)
    used: set[str] = set()
    for state, hash_, amount, block in rows:
        await gateway.donation(hash_, state, amount=amount)
        if hash_ not in used and state != "REFUNDED":
            used.add(hash_)
            await gateway.transaction(hash_, state, amount=amount, block_number=block)
    before = await images(gateway)
    await reconcile_once(dsn, ledger)
    assert await gateway.connection.fetchval("SELECT height FROM ledger_cursor") == len(CHAIN)
    assert await gateway.discrepancies()
    assert await images(gateway) == before


@settings(max_examples=20, derandomize=True, database=None)
@given(rows=st.lists(SETTLED, max_size=12))
async def test_settled_rows_are_never_changed(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    """Whatever they say, and whatever the ledger says of them."""
    await unchanged(indexer_dsn, ledger, gateway, rows)


@pytest.mark.long
@pytest.mark.timeout(900)
@settings(max_examples=1000, derandomize=True, database=None)
@given(rows=st.lists(SETTLED, max_size=30))
async def test_settled_rows_are_never_changed_at_length(
    indexer_dsn: str,
    ledger: GrowingLedger,
    gateway: Gateway,
    rows: list[tuple[str, str, Decimal, int | None]],
) -> None:
    """The same, for minutes."""
    await unchanged(indexer_dsn, ledger, gateway, rows)
