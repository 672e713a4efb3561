"""What the API shows of the business database: read only, never waited for long, and there again when PostgreSQL is."""

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from cli.assembly.business_reports import business_reports
from cli.errors import ConfigurationError
from cli.configuration.settings import Settings
from devnet.servers import Postgres, PostgresReplica
from reconciliation import discrepancies
from reconciliation.comparison import Finding
from reconciliation.migrations.migrator import Migrator
from reconciliation.migrations.scripts import load_migrations
from reconciliation.postgres_reports import READING
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reports import (
    MAX_ROWS,
    BusinessReports,
    BusinessRow,
    BusinessUnavailableError,
    DiscrepancyKind,
    DiscrepancyState,
)
from tests.conftest import login_dsn
from tests.reconciliation.support import CHANNEL, Gateway, until

pytestmark = [
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:unclosed <socket:ResourceWarning"
    ),  # of broken attempts to connect
]

ID = "ab" * 32
OTHER = "cd" * 32
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PATIENCE_S = 2.75
AT_ONCE_S = 0.5


@pytest.fixture
async def reporter_dsn(postgres_dsn: str, business_database: str) -> AsyncIterator[str]:
    """The address of `business_database` for a user who has the role for reports and nothing else."""
    user = f"u{uuid.uuid4().hex[:16]}"
    connection = await asyncpg.connect(postgres_dsn)
    await connection.execute(
        f"CREATE ROLE {user} LOGIN PASSWORD '{user}' IN ROLE kindledger_reporter"
    )
    yield login_dsn(business_database, user)
    await connection.execute(f"DROP ROLE {user}")
    await connection.close()


@asynccontextmanager
async def reading(dsn: str, *replicas: str, **reconcile: Any) -> AsyncIterator[BusinessReports]:
    """The books as the API gets them."""
    postgres = {"dsn": dsn, "replica_dsns": list(replicas)}
    settings = {"postgres": postgres, "channels": {CHANNEL: {}}, "reconcile": reconcile}
    async with business_reports(Settings.model_validate(settings)) as books:
        assert books is not None
        yield books


async def refused(asked: Awaitable[object], within_s: float = PATIENCE_S) -> str:
    """What anybody is told where there is no answer, which must be told in time."""
    began = time.monotonic()
    with pytest.raises(BusinessUnavailableError) as error:
        await asked
    assert time.monotonic() - began < within_s
    return str(error.value)


# --- rows -------------------------------------------------------------------------------------------------------------


async def test_rows_are_found_however_they_spell_an_id(
    gateway: Gateway, indexer_dsn: str, reporter_dsn: str
) -> None:
    spellings = (ID, ID.upper(), f"0x{ID}", f"0x{ID.upper()}")
    await gateway.open_campaign(hash_=ID)
    keys = [
        str(
            await gateway.transaction(
                hash_, block_number=7, amount=Decimal("1000000000.50"), created_at=AT
            )
        )
        for hash_ in spellings
    ]
    donation = str(await gateway.donation(f"0x{ID}", donated_at=AT))
    made = await gateway.connection.fetchval("SELECT created_at FROM campaigns")
    await gateway.transaction(OTHER, "FAILED")
    await gateway.transaction("pending-1")
    expected = [
        BusinessRow("transactions", key, hash_, "PENDING", 7, "1000000000.50", None, AT, None)
        for key, hash_ in sorted(zip(keys, spellings, strict=True))
    ]
    expected.append(
        BusinessRow("donations", donation, f"0x{ID}", "PENDING", None, "1.00", "c1", AT, None)
    )
    expected.append(BusinessRow("campaigns", "c1", ID, None, None, None, "c1", made, None))
    for dsn in (indexer_dsn, reporter_dsn):
        async with reading(dsn) as books:
            found = await books.rows([ID, OTHER, f"0x{OTHER}", "pending-1", "", "nul\0", "x" * 300])
            standing = await books.status()
        assert found.pop(ID).rows == expected
        assert [row.state for row in found.pop(OTHER).rows] == ["FAILED"]
        assert {tx_id: rows.rows for tx_id, rows in found.items() if rows.rows} == {}
        assert {waiting.table: waiting.rows for waiting in standing.waiting} == {
            "transactions": 4,
            "donations": 1,
        }


async def test_rows_of_one_id_are_no_more_than_can_be_shown(
    gateway: Gateway, reporter_dsn: str
) -> None:
    await gateway.open_campaign()
    for n in range(MAX_ROWS + 1):
        await gateway.donation((ID, f"0x{ID}")[n % 2])
    await gateway.donation(OTHER, donated_at=datetime.max.replace(tzinfo=UTC))
    await gateway.connection.execute(
        "UPDATE donations SET confirmed_at = 'infinity' WHERE blockchain_tx_hash = $1", OTHER
    )
    async with reading(reporter_dsn) as books:
        found = await books.rows([ID, OTHER])
    assert (len(found[ID].rows), found[ID].more) == (MAX_ROWS, True)
    (row,) = found[OTHER].rows
    assert (row.confirmed_at, found[OTHER].more) == (None, False)


async def test_another_schema(gateway: Gateway, reporter_dsn: str) -> None:
    """Columns of other types and names, and no more rights than it takes to read them."""
    await gateway.connection.execute(
        """
        CREATE SCHEMA "Shop";
        CREATE TABLE "Shop"."Gift""s" (no int PRIMARY KEY, tx char(70), state text, euros money, day date);
        GRANT USAGE ON SCHEMA "Shop" TO kindledger_reporter;
        GRANT SELECT (no, tx, state, euros) ON "Shop"."Gift""s" TO kindledger_reporter;
        """
    )
    await gateway.connection.execute(
        """INSERT INTO "Shop"."Gift""s" VALUES (1, $1, 'open', '12.5', $2)""", ID, AT
    )
    table = {"name": 'Gift"s', "key": "no", "hash": "tx", "status": "state", "pending": "open"}
    table |= {"amount": "euros", "created_at": "day"}
    async with reading(reporter_dsn, schema="Shop", tables=[table]) as books:
        assert "refuses" in await refused(books.rows([ID]))
        await gateway.connection.execute(
            """GRANT SELECT (day) ON "Shop"."Gift""s" TO kindledger_reporter"""
        )
        await asyncio.sleep(1.0)
        found = (await books.rows([ID]))[ID].rows
    day = datetime(2026, 1, 2, tzinfo=UTC)
    assert found == [BusinessRow('Gift"s', "1", ID, "open", None, "12.50", None, day, None)]


# --- discrepancies ----------------------------------------------------------------------------------------------------


class Auditor:
    """Opens and closes discrepancies, as the daemon does."""

    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", draws: random.Random
    ) -> None:
        self._connection, self._draws, self._opened = connection, draws, 0
        self.open: dict[str, Finding] = {}

    async def work(self) -> None:
        """Opens a few of any kind; a few of the others are over."""
        new = [self._finding() for _ in range(self._draws.randrange(5))]
        over = self._draws.sample(sorted(self.open), min(len(self.open), self._draws.randrange(3)))
        for subject in over:
            del self.open[subject]
        self.open |= {finding.subject: finding for finding in new}
        await discrepancies.keep(
            self._connection, CHANNEL, [("", subject) for subject in over], new
        )
        await discrepancies.keep(self._connection, "another", (), [self._finding()])

    def _finding(self) -> Finding:
        self._opened += 1
        kind = self._draws.choice([DiscrepancyKind.MISSING_ROW, DiscrepancyKind.REFUSED])
        return Finding(kind, "", f"{self._opened}", ID, {"block": 7}, {})

    async def ids(self, kind: DiscrepancyKind | None, state: DiscrepancyState) -> set[int]:
        """Of all that there are now."""
        condition = {"open": "closed_at IS NULL", "closed": "closed_at IS NOT NULL", "all": "true"}[
            state
        ]
        rows = await self._connection.fetch(
            "SELECT id FROM ledger_discrepancies "
            f"WHERE channel = $1 AND ($2::text IS NULL OR kind = $2) AND {condition}",
            CHANNEL,
            kind,
        )
        return {record["id"] for record in rows}


@pytest.mark.parametrize("state", DiscrepancyState)
@pytest.mark.parametrize("kind", [None, DiscrepancyKind.REFUSED])
@pytest.mark.parametrize("looked_through", [7, discrepancies.LOOKED_THROUGH])
async def test_paging_neither_skips_nor_repeats_while_discrepancies_come_and_go(
    gateway: Gateway,
    reporter_dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    state: DiscrepancyState,
    kind: DiscrepancyKind | None,
    looked_through: int,
) -> None:
    monkeypatch.setattr(discrepancies, "LOOKED_THROUGH", looked_through)
    auditor = Auditor(gateway.connection, random.Random(1))
    for _ in range(30):
        await auditor.work()
    always = await auditor.ids(kind, state)
    began = max(always)
    seen: list[int] = []
    after: int | None = None
    async with reading(reporter_dsn) as books:
        while True:
            page = await books.discrepancies(kind, state, after, 5)
            seen += [one.id for one in page.items]
            assert all(kind in (None, one.kind) for one in page.items)
            assert all(
                state == "all" or (state == "open") == (one.closed_at is None) for one in page.items
            )
            if page.next is None:
                break
            after = page.next
            await auditor.work()
            always &= await auditor.ids(kind, state)
    assert seen == sorted(set(seen), reverse=True)
    assert set(seen) >= always
    assert len(always) > 5
    assert max(seen) <= began


async def test_no_answer_reads_the_whole_of_a_table(
    gateway: Gateway, reporter_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is rare in it, and whether PostgreSQL knows how large it is or not."""
    monkeypatch.setattr(discrepancies, "LOOKED_THROUGH", 1_000)
    await gateway.connection.execute(
        """
        ALTER TABLE transactions DISABLE TRIGGER USER;
        ALTER TABLE transactions SET (autovacuum_enabled = off);
        ALTER TABLE ledger_discrepancies SET (autovacuum_enabled = off);
        INSERT INTO transactions (tx_hash, transaction_type)
        SELECT lpad(to_hex(n), 64, '0'), 'DONATE' FROM generate_series(1, 30000) AS n;
        INSERT INTO ledger_discrepancies (channel, kind, subject, tx_hash, ledger, found, closed_at)
        SELECT CASE WHEN n % 3 = 0 THEN 'another' ELSE 'kindledger' END, 'missing_row', n::text, '', '{}', '{}',
            CASE WHEN n % 100 < 99 THEN now() END
        FROM generate_series(1, 30000) AS n;
        """
    )
    for known in ("before", "after"):
        if known == "after":
            await gateway.connection.execute("ANALYZE")
        before = await reads(gateway)
        async with reading(reporter_dsn) as books:
            found = await books.rows([f"{n:064x}" for n in range(100, 600)])
            assert all(len(rows.rows) == 1 for rows in found.values())
            for state in DiscrepancyState:
                for kind in (None, DiscrepancyKind.REFUSED):
                    for after in (None, 15_000):
                        await books.discrepancies(kind, state, after, 50)

        async def told(before: dict[str, tuple[int, int]] = before) -> bool:
            now = await reads(gateway)
            return all(now[table][1] > before[table][1] for table in before)

        await until(told)
        after_all = await reads(gateway)
        assert {table: after_all[table][0] - before[table][0] for table in before} == dict.fromkeys(
            before, 0
        ), known


async def reads(gateway: Gateway) -> dict[str, tuple[int, int]]:
    """Of each table: how often it was scanned as a whole, and by an index."""
    await gateway.connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await gateway.connection.fetch(
        "SELECT relname, seq_scan, idx_scan FROM pg_stat_user_tables "
        "WHERE relname IN ('transactions', 'ledger_discrepancies')"
    )
    return {name: (scans, by_index) for name, scans, by_index in rows}


# --- what is configured -----------------------------------------------------------------------------------------------


async def test_the_connections_cannot_write(indexer_dsn: str) -> None:
    """Not even as the daemon's own user."""
    async with (
        PostgresServers(indexer_dsn, (), READING) as servers,
        servers.reading() as connection,
    ):
        for _ in range(2):
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(
                    "INSERT INTO ledger_cursor (channel, height, block_hash) VALUES ('x', 0, '')"
                )
            await connection.reset()


async def test_which_channel(closed_dsn: str) -> None:
    async def channel(**settings: Any) -> str | None:
        async with business_reports(Settings.model_validate(settings)) as books:
            return books.channel if books is not None else None

    postgres = {"dsn": closed_dsn}
    assert await channel(channels={CHANNEL: {}}) is None
    assert await channel(reconcile={"channel": "a"}) is None
    assert await channel(postgres=postgres, channels={CHANNEL: {}}) == CHANNEL
    assert await channel(postgres=postgres, reconcile={"channel": "a"}) == "a"
    with pytest.raises(ConfigurationError, match=r"reconcile\.channel"):
        await channel(postgres=postgres)


@pytest.fixture
def closed_dsn() -> str:
    """Nobody listens there."""
    return "postgresql://someone:hunter2@127.0.0.1:1/shop"


async def test_what_anybody_is_told_names_no_server_and_no_user(
    closed_dsn: str, reporter_dsn: str, postgres_dsn: str
) -> None:
    wrong_password = reporter_dsn.replace("@", "hunter2@")
    not_migrated = postgres_dsn
    for dsn in (closed_dsn, wrong_password, not_migrated):
        async with reading(dsn) as books:
            told = await refused(books.rows([ID]))
            assert await refused(books.status(), AT_ONCE_S) == told
        assert told in {
            "PostgreSQL cannot be reached.",
            "PostgreSQL refuses to show the business rows; the program's log says why.",
        }


# --- when PostgreSQL fails --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Postgres(tmp_path_factory.mktemp("postgres") / "primary") as server:
        asyncio.run(migrate(server))
        yield server


async def migrate(server: Postgres) -> None:
    connection = await asyncpg.connect(server.dsn)
    await Migrator(connection, load_migrations(), lambda _: None, program="tests").up()
    await connection.close()


async def answers(books: BusinessReports) -> bool:
    try:
        await books.rows([ID])
    except BusinessUnavailableError:
        return False
    return True


async def test_postgresql_is_away_at_the_start_goes_and_comes_back(server: Postgres) -> None:
    dsn = server.dsn
    server.stop()
    async with reading(dsn) as books:
        assert await refused(books.rows([ID])) == "PostgreSQL cannot be reached."
        await asyncio.to_thread(server.start)
        await until(lambda: answers(books), 2.0)
        await books.check()
        await asyncio.to_thread(server.kill)
        await refused(books.check())
        await refused(books.discrepancies(None, DiscrepancyState.OPEN, None, 50), AT_ONCE_S)
        await asyncio.to_thread(server.start)
        await until(lambda: answers(books), 2.0)


async def test_a_hung_postgresql_costs_a_request_seconds_and_the_next_ones_nothing(
    server: Postgres,
) -> None:
    async with reading(server.dsn) as books:
        await asyncio.gather(*(books.check() for _ in range(8)))
        server.pause()
        try:
            told = await asyncio.gather(*(refused(books.rows([ID])) for _ in range(12)))
            assert set(told) == {"PostgreSQL does not answer in time."}
            await refused(books.rows([ID]), AT_ONCE_S)
            await asyncio.sleep(1.0)
            tried = asyncio.create_task(refused(books.rows([ID])))
            await asyncio.sleep(0.1)
            await refused(books.rows([ID]), AT_ONCE_S)  # one is enough to try
            tried.cancel()  # a client that goes away
            await asyncio.wait((tried,))
        finally:
            server.resume()
        await until(lambda: answers(books), 2.0)
        server.pause()
        began = time.monotonic()
    server.resume()
    assert time.monotonic() - began < AT_ONCE_S, "the end does not wait for an answer"


async def test_statements_that_take_too_long_end_on_the_server_and_break_nothing(
    server: Postgres,
) -> None:
    owner = await asyncpg.connect(server.dsn)
    async with reading(server.dsn) as books, owner.transaction():
        await books.rows([ID])
        await owner.execute("LOCK TABLE ledger_discrepancies")
        assert await refused(books.status()) == "PostgreSQL does not answer in time."
        await books.rows([ID])
    await owner.close()


@pytest.mark.long
async def test_a_hung_replica_is_passed_over(server: Postgres, tmp_path: Path) -> None:
    with PostgresReplica(tmp_path / "replica", server) as replica:
        async with reading(server.dsn, replica.dsn) as books:
            await asyncio.sleep(3.0)  # until it is known how far the replica is behind
            await books.rows([ID])
            replica.pause()
            try:
                await refused(books.rows([ID]))
                await until(lambda: answers(books), 2.0)
            finally:
                replica.resume()
