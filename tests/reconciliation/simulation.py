"""Servers, applications and daemons on which random events take place, one after another."""

import asyncio
import contextlib
from decimal import Decimal
from typing import Any, NamedTuple

import asyncpg

from devnet.servers import Postgres, PostgresReplica
from ledger.model import VALID
from ledger.mongodb.store import LedgerStore
from protos.transaction_pb2 import BAD_PROPOSAL_TXID, MVCC_READ_CONFLICT
from reconciliation.postgres_servers import PostgresServers
from reconciliation.reconciler import ReconciliationIntervals
from tests.conftest import login_dsn
from tests.eventually import eventually
from tests.reconciliation.block_builder import BlockBuilder, PlannedTransaction
from tests.reconciliation.expected_outcome import (
    LedgerEntry,
    WrittenRow,
    expected_outcome,
    ledger_entry_of,
)
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import GrowingLedger
from tests.reconciliation.running import POOL_OPTIONS, new_reconciler, reconcile_once

BLOCKS = 10
AMOUNT = 5
USER = "daemon"
INTERVALS = ReconciliationIntervals(
    sweep_s=0.1, grace_s=0.0, cross_check_s=0.2, audit_s=0.05, recheck_s=0.1
)
LAST_INTERVALS = ReconciliationIntervals(sweep_s=0.1, grace_s=0.0, audit_s=0.05, recheck_s=0.1)
"""Without cross-checks: the last daemon does not look at settled rows."""
CAMPAIGNS = ("c1", "c2", "c3")
CLEAR_TABLES = (
    "TRUNCATE campaigns, transactions, donations, settlements, ledger_cursor, ledger_discrepancies"
)
END_SESSIONS_ON_SERVER = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'kindledger-explorer'
"""

Rows = dict[tuple[str, str], tuple[str | None, int | None]]
"""The state and the block of each row, by table and key."""


def _forge_chain() -> tuple[list[Any], dict[str, LedgerEntry]]:
    """Return a chain, and what it says of each id."""
    builder = BlockBuilder(seed=5)
    entries: dict[str, LedgerEntry] = {}
    chain = [builder.genesis]
    for number in range(1, BLOCKS):
        payload = b'{"amount":%d}' % AMOUNT
        planned = [
            PlannedTransaction(payload=payload),
            PlannedTransaction(MVCC_READ_CONFLICT, payload=payload),
            PlannedTransaction(payload=payload),
            PlannedTransaction(function="PutNote"),
            PlannedTransaction(BAD_PROPOSAL_TXID, f"claimed {number}"),
            PlannedTransaction(BAD_PROPOSAL_TXID, f"pending-{number}"),
        ]
        block, ids = builder.next_block(planned)
        chain.append(block)
        for transaction, tx_id in zip(planned, ids, strict=True):
            amount = None if transaction.payload is None else Decimal(AMOUNT)
            entries[tx_id] = LedgerEntry(
                transaction.code == VALID, number, transaction.function == "Donate", amount
            )
    return chain, entries


CHAIN, LEDGER_ENTRIES = _forge_chain()


class Event(NamedTuple):
    """Something that happens. Each kind of event uses the numbers in its own way."""

    name: str
    a: int = 0
    b: int = 0
    c: int = 0


def hash_as_written(a: int, b: int) -> str | None:
    """Return a hash as a row may have it: mostly an id of the chain in its usual spelling."""
    ids = list(LEDGER_ENTRIES)
    tx_id = ids[a % len(ids)]
    if b < 70:
        return tx_id
    spellings = (
        tx_id.upper(),
        f"0x{tx_id}",
        f"0x{tx_id.upper()}",
        f" {tx_id}\t",
        f"{a:064x}",
        "made up",
    )
    return (*spellings, "pending-7", "", None)[b % 9]


class Simulation:
    """A primary and its replica, the applications that write rows, and the daemons that settle."""

    def __init__(self, primary: Postgres, replica: PostgresReplica, store: LedgerStore) -> None:
        self.primary, self.replica = primary, replica
        self.ledger = GrowingLedger(store)
        self.rows: dict[tuple[str, str], WrittenRow] = {}
        self.daemons: list[asyncio.Task[None]] = []
        self.connection: asyncpg.Connection[asyncpg.Record]

    async def begin(self) -> None:
        """Begin with three campaigns, no other row, and one daemon."""
        self.connection = await asyncpg.connect(self.primary.dsn)
        await self.connection.execute(CLEAR_TABLES)
        for campaign in CAMPAIGNS:
            await Gateway(self.connection).open_campaign(campaign)
            row = WrittenRow("campaigns", campaign, None, None, None, None)
            self.rows["campaigns", campaign] = row
        self.start_daemon()

    async def end(self) -> None:
        """Stop the daemons and close the connection."""
        await self.stop_daemons()
        await self.connection.close()

    def start_daemon(self, intervals: ReconciliationIntervals = INTERVALS) -> None:
        """Start one more daemon."""
        self.daemons.append(asyncio.create_task(self._run_daemon(intervals)))

    async def stop_daemons(self) -> None:
        """Stop every daemon at its present point, as SIGKILL would."""
        daemons, self.daemons = self.daemons, []
        assert not any(daemon.done() for daemon in daemons), "no daemon ends by itself"
        for daemon in daemons:
            daemon.cancel()
        await asyncio.gather(*daemons, return_exceptions=True)

    async def _run_daemon(self, intervals: ReconciliationIntervals) -> None:
        dsn, replica = (login_dsn(server.dsn, USER) for server in (self.primary, self.replica))
        async with PostgresServers(dsn, [replica], POOL_OPTIONS) as servers:
            await new_reconciler(servers, self.ledger, intervals=intervals).run()

    async def handle(self, event: Event) -> None:
        """Let the event happen, and let the daemons work for a moment."""
        await getattr(self, f"_on_{event.name}")(event.a, event.b, event.c)
        await asyncio.sleep(event.a % 5 / 200)

    async def _on_row(self, a: int, b: int, c: int) -> None:
        """An application writes a row, pending or settled."""
        table = ("transactions", "transactions", "donations", "donations", "campaigns")[c % 5]
        hash_ = hash_as_written(a, b)
        if table == "campaigns":
            await self._set_hash(self.rows["campaigns", CAMPAIGNS[a % 3]], hash_)
            return
        settled = c % 3 == 2
        state = ("CONFIRMED", "FAILED")[a % 2] if settled else "PENDING"
        gateway = Gateway(self.connection)
        amount = Decimal(AMOUNT + c // 25)
        row = WrittenRow(table, "", hash_, state, None, amount)
        with contextlib.suppress(asyncpg.UniqueViolationError):
            if table == "donations":
                campaign = CAMPAIGNS[a % 3]
                key = await gateway.donation(hash_, state, amount=amount, campaign_id=campaign)
            elif hash_ is not None:
                row.block = b % BLOCKS if settled and b % 4 else None
                key = await gateway.transaction(hash_, state, amount=amount, block_number=row.block)
            else:
                return
            row.key = str(key)
            self.rows[table, row.key] = row

    async def _on_hash(self, a: int, b: int, c: int) -> None:
        """An application changes the hash of a row."""
        if (row := self._choose(c)) is not None:
            await self._set_hash(row, hash_as_written(a, b))

    async def _set_hash(self, row: WrittenRow, hash_: str | None) -> None:
        column = "tx_hash" if row.table == "transactions" else "blockchain_tx_hash"
        if hash_ is not None or row.table != "transactions":
            with contextlib.suppress(asyncpg.UniqueViolationError):
                await self._update(row, f"{column} = $2", hash_)
                row.hash = hash_

    async def _on_refund(self, a: int, b: int, c: int) -> None:
        row = self._choose(c, "donations")
        if row is not None:
            change = "status = CASE status WHEN 'CONFIRMED' THEN $2 ELSE status END"
            await self._update(row, change, "REFUNDED")

    async def _on_amount(self, a: int, b: int, c: int) -> None:
        row = self._choose(c, "donations", "transactions")
        if row is not None:
            row.amount = Decimal(AMOUNT + a % 2)
            await self._update(row, "amount = $2", row.amount)

    async def _update(self, row: WrittenRow, change: str, value: object) -> None:
        """Change the row, and note the state and block to which it was settled by then."""
        columns = {
            "transactions": "status, block_number",
            "donations": "status, NULL",
            "campaigns": "NULL, NULL",
        }
        record = await self.connection.fetchrow(
            f"UPDATE {row.table} SET {change} WHERE id::text = $1 RETURNING {columns[row.table]}",
            row.key,
            value,
        )
        assert record is not None
        row.state, row.block = record

    async def _on_delete(self, a: int, b: int, c: int) -> None:
        row = self._choose(c, "donations", "transactions")
        if row is not None:
            await self.connection.execute(f"DELETE FROM {row.table} WHERE id::text = $1", row.key)
            await self.connection.execute("DELETE FROM settlements WHERE key::text = $1", row.key)
            del self.rows[row.table, row.key]

    def _choose(self, number: int, *tables: str) -> WrittenRow | None:
        """Return one of the rows of these tables, or of all tables."""
        rows = [row for row in self.rows.values() if not tables or row.table in tables]
        return rows[number % len(rows)] if rows else None

    async def _on_commit(self, a: int, b: int, c: int) -> None:
        """One to three blocks are committed."""
        height = self.ledger.progress.committed_height
        self.ledger.report_height(min(height + 1 + a % 3, BLOCKS))

    async def _on_wait(self, a: int, b: int, c: int) -> None:
        """Time passes; then no row may be ahead of the ledger."""
        await asyncio.sleep(a / 2000)
        height = self.ledger.progress.committed_height
        for (name, key), (state, _) in (await self._stored_rows()).items():
            row = self.rows[name, key]
            if row.state != state:
                entry = ledger_entry_of(row.hash, LEDGER_ENTRIES)
                assert entry is not None
                assert entry.block < height

    async def _on_restart_daemons(self, a: int, b: int, c: int) -> None:
        await self.stop_daemons()
        self.start_daemon()

    async def _on_stop_daemons(self, a: int, b: int, c: int) -> None:
        await self.stop_daemons()

    async def _on_second_daemon(self, a: int, b: int, c: int) -> None:
        if len(self.daemons) < 2:
            self.start_daemon()

    async def _on_end_sessions(self, a: int, b: int, c: int) -> None:
        await self.connection.execute(END_SESSIONS_ON_SERVER)

    async def _on_primary_crash(self, a: int, b: int, c: int) -> None:
        await asyncio.to_thread(self.primary.kill)
        await asyncio.sleep(a / 1000)
        await asyncio.to_thread(self.primary.start)
        self.connection = await asyncpg.connect(self.primary.dsn)

    async def _on_replica_crash(self, a: int, b: int, c: int) -> None:
        await asyncio.to_thread(self.replica.kill)
        await asyncio.sleep(a / 1000)
        await asyncio.to_thread(self.replica.start)

    async def heal(self) -> None:
        """Commit every block, and run one daemon that does not look at settled rows."""
        await self.stop_daemons()
        self.ledger.report_height(BLOCKS)
        self.start_daemon(LAST_INTERVALS)

    async def _stored_rows(self) -> Rows:
        records = await self.connection.fetch(_ROWS)
        return {(name, key): (state, block) for name, key, state, block in records}

    async def check(self) -> None:
        """Wait for the expected rows; then compare everything once, and check the discrepancies."""
        expected = expected_outcome(self.rows.values(), LEDGER_ENTRIES)

        async def rows_and_height() -> tuple[Rows, int | None]:
            height = await self.connection.fetchval("SELECT height FROM ledger_cursor")
            return await self._stored_rows(), height

        await eventually(
            rows_and_height,
            lambda observed: observed == (expected.rows, BLOCKS),
            describe=f"the expected rows {expected.rows}",
        )
        await self.stop_daemons()
        await reconcile_once(
            login_dsn(self.primary.dsn, USER), self.ledger, intervals=LAST_INTERVALS
        )
        assert await rows_and_height() == (expected.rows, BLOCKS)
        open_ = {tuple(record) for record in await self.connection.fetch(_OPEN_DISCREPANCIES)}
        assert open_ - expected.optional_discrepancies == expected.discrepancies
        assert await self.connection.fetch(_WRONG_RAISED_AMOUNTS) == []
        counts = await self.connection.fetch(
            "SELECT count(*) AS times FROM settlements GROUP BY key"
        )
        assert {record["times"] for record in counts} <= {1}


_ROWS = """
SELECT 'transactions', id::text, status, block_number FROM transactions
UNION ALL SELECT 'donations', id::text, status, NULL FROM donations
UNION ALL SELECT 'campaigns', id, NULL, NULL FROM campaigns
"""
_OPEN_DISCREPANCIES = """
SELECT kind, table_name, subject FROM ledger_discrepancies WHERE closed_at IS NULL
"""
_WRONG_RAISED_AMOUNTS = """
SELECT id, raised_amount FROM campaigns WHERE raised_amount <>
    (SELECT coalesce(sum(amount), 0) FROM donations
     WHERE campaign_id = campaigns.id AND status = 'CONFIRMED')
"""
