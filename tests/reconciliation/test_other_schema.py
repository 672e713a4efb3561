"""A business schema with other names, types and constraints than KindLedger's."""

from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest

from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import reconcile_once, reconciling
from tests.reconciliation.unusual_ids import STRANGE_IDS

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

OTHER_SCHEMA = """
CREATE SCHEMA "Kế ""A"" toán";
SET search_path = "Kế ""A"" toán", public;
CREATE TYPE "Trạng Thái" AS ENUM ('đang chờ', 'xong', 'hỏng''');
CREATE DOMAIN "Mã" AS TEXT CHECK (VALUE ~ '^[0-9a-f]{64}$');
CREATE DOMAIN "Khối" AS INTEGER CHECK (VALUE > 0);
CREATE TABLE "SELECT" (
    "Số" INTEGER PRIMARY KEY, "Mã" "Mã", "Trạng Thái" "Trạng Thái" NOT NULL, "Khối" "Khối",
    "Lúc" TIMESTAMP, "Tiền" MONEY
);
CREATE TABLE "chi;--" (
    "1"" số" SMALLINT PRIMARY KEY, "mã" CHAR(64), "user" CHAR(1) NOT NULL, "lúc" DATE
);
CREATE TABLE compared (id TEXT PRIMARY KEY, hash VARCHAR);
CREATE TRIGGER late AFTER UPDATE OF "Mã" ON "SELECT"
    FOR EACH ROW EXECUTE FUNCTION public.ledger_notify('Mã')
"""
OTHER = BusinessMapping(
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
async def owner(empty_database: str) -> AsyncIterator[Connection]:
    """Yield a connection of the owner of another schema, which has the daemon's own tables."""
    connection = await asyncpg.connect(empty_database)
    await Migrator(connection, load_migrations(), lambda _: None, program="tests").to(1)
    await connection.execute(OTHER_SCHEMA)
    yield connection
    await connection.close()


async def test_rows_of_a_schema_of_another_shape_are_settled(
    empty_database: str, owner: Connection, ledger: GrowingLedger
) -> None:
    """A domain checks the hashes, and clients claim ids that the domain refuses."""
    builder = BlockBuilder()
    valid, invalid, late = "a1" * 32, "b2" * 32, "c3" * 32
    # In a column of type char the first id equals that of a transaction of the next block.
    first, _ = builder.next_block(
        [PlannedTransaction(BAD_PROPOSAL_TXID, id_) for id_ in (f"{valid}  ", *STRANGE_IDS)]
    )
    second, _ = builder.next_block(
        [
            PlannedTransaction(tx_id=valid),
            PlannedTransaction(MVCC_READ_CONFLICT, invalid),
            PlannedTransaction(tx_id=late),
        ]
    )
    insert = """INSERT INTO "SELECT" ("Số", "Mã", "Trạng Thái") VALUES ($1, $2, 'đang chờ')"""
    await owner.executemany(insert, [(-7, valid), (8, invalid), (9, None)])
    insert = """INSERT INTO "chi;--" ("1"" số", "mã", "user") VALUES ($1, $2, '?')"""
    await owner.executemany(insert, [(1, valid), (2, invalid)])
    await owner.execute(
        "INSERT INTO compared VALUES ('a', $1), ('b', $2), ('c', 'TBD')", valid, invalid
    )
    await ledger.commit([builder.genesis, first])
    await reconcile_once(empty_database, ledger, business=OTHER)
    await ledger.commit([second])
    async with reconciling(empty_database, ledger, business=OTHER):
        await owner.execute("""UPDATE "SELECT" SET "Mã" = $1 WHERE "Số" = 9""", late)
        await eventually(
            lambda: owner.fetchval(
                """SELECT count(*) FROM "SELECT" WHERE "Trạng Thái" = 'đang chờ'"""
            ),
            lambda pending: pending == 0,
        )
    await reconcile_once(empty_database, ledger, business=OTHER)
    rows = await owner.fetch(
        """SELECT "Số", "Trạng Thái"::text, "Khối"::int, "Lúc" IS NOT NULL FROM "SELECT" """
    )
    assert {tuple(row) for row in rows} == {
        (-7, "xong", 2, True),
        (8, "hỏng'", 2, False),
        (9, "xong", 2, True),
    }
    rows = await owner.fetch("""SELECT "1"" số", "user", "lúc" IS NOT NULL FROM "chi;--" """)
    assert {tuple(row) for row in rows} == {(1, "+", True), (2, "-", False)}
    assert await Gateway(owner).discrepancies() == {
        "contradicts_ledger": {"b"},
        "impossible_hash": {"c"},
    }


async def test_a_hash_with_a_blank_at_the_end_is_settled(
    empty_database: str, owner: Connection, ledger: GrowingLedger
) -> None:
    """The same transaction settles the rows of both tables."""
    builder = BlockBuilder()
    block, ids = builder.next_block([PlannedTransaction()])
    await owner.execute("CREATE TABLE with_blank (id INT PRIMARY KEY, hash VARCHAR, state TEXT)")
    await owner.execute(
        "CREATE TABLE without_blank (id INT PRIMARY KEY, hash CHAR(64), state TEXT)"
    )
    tables = tuple(
        BusinessTable(name=name, hash="hash", status="state")
        for name in ("with_blank", "without_blank")
    )
    both = BusinessMapping(schema=OTHER.schema, tables=tables)
    await ledger.commit([builder.genesis, block])
    await reconcile_once(empty_database, ledger, business=both)
    await owner.execute("INSERT INTO with_blank VALUES (1, $1, 'PENDING')", f"{ids[0]} ")
    await owner.execute("INSERT INTO without_blank VALUES (2, $1, 'PENDING')", ids[0])
    await reconcile_once(empty_database, ledger, business=both)
    rows = await owner.fetch(
        "SELECT id, state FROM with_blank UNION ALL SELECT id, state FROM without_blank"
    )
    assert {tuple(row) for row in rows} == {(1, "CONFIRMED"), (2, "CONFIRMED")}
