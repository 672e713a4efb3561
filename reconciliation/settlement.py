"""The business rows of one channel, and beside them the daemon's cursor and the discrepancies that it keeps.

Whatever settles rows or keeps discrepancies does so in one transaction that holds the channel's cursor row. So two
daemons never settle at the same time, and the cursor never leads or trails the rows that it stands for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

import asyncpg
from msgspec import Struct, field

from reconciliation import discrepancies
from reconciliation.comparison import (
    Fact,
    Finding,
    Row,
    fact_of,
    findings,
    missing_rows,
    refusal,
    written_as,
)
from reconciliation.discrepancies import Subject
from reconciliation.errors import FAILURES, ReconciliationError, is_busy, is_refusal
from reconciliation.facts import Batch
from reconciliation.mapping import BusinessMapping, Table
from reconciliation.postgres_servers import Connection
from reconciliation.reports import SettlementStatus
from reconciliation.settlement_status import read_settlement_status
from reconciliation.statements import Statements, array_text
from runtime.backoff import Backoff

T = TypeVar("T")

_TRIES: Final = 5
_SHORT_LOCK_TIMEOUT = "SET LOCAL lock_timeout = '100ms'"
_CHECK_AT_ONCE = "SET CONSTRAINTS ALL IMMEDIATE"
_CURSOR = "SELECT height, block_hash, audited_height FROM ledger_cursor WHERE channel = $1"
_BEGIN = """
INSERT INTO ledger_cursor (channel, height, block_hash, audited_height) VALUES ($1, $2, '', $2) ON CONFLICT DO NOTHING
"""
_MOVE = """
UPDATE ledger_cursor SET height = $2, block_hash = $3, unusable_ids = unusable_ids + $4, updated_at = now()
WHERE channel = $1
"""
_AUDITED = "UPDATE ledger_cursor SET audited_height = $2, updated_at = now() WHERE channel = $1"


class SettlementCursor(Struct, frozen=True):
    """How far the rows were settled: every block below `height`, the last one of which has this hash."""

    height: int
    block_hash: str
    audited_height: int


class SettlementResult(Struct):
    """What a transaction did."""

    settled: int = 0
    campaigns: set[str] = field(default_factory=set)
    """What the settled rows belong to."""
    opened: list[Finding] = field(default_factory=list)
    closed: int = 0


class _SettledRows(Struct):
    """Rows that were settled; what PostgreSQL refused, by table and hash, and why."""

    rows: list[Row] = field(default_factory=list)
    refused: dict[tuple[str, str], tuple[Fact, str]] = field(default_factory=dict)


_Work = Callable[[Connection, SettlementCursor, bool], Awaitable[T]]
"""What is done in a transaction. The flag: whether to wait for rows that others hold, or to leave them."""


class Settlement:
    """Settles and compares. Every method may be repeated after any failure."""

    def __init__(
        self,
        pool: "asyncpg.Pool[asyncpg.Record]",
        channel: str,
        business: BusinessMapping,
        statements: Mapping[str, Statements],
        grace_s: float,
    ) -> None:
        self._pool, self._channel, self._business, self._statements = (
            pool,
            channel,
            business,
            statements,
        )
        self._placeholders = list(business.placeholders)
        self._common = (self._placeholders, grace_s)
        self._grace_s = grace_s

    async def begin(self, start: int) -> None:
        """Makes the cursor, at block `start`, if there is none."""
        await self._pool.execute(_BEGIN, self._channel, start)

    async def cursor(self) -> SettlementCursor:
        """Where the channel stands."""
        async with self._pool.acquire() as connection:
            return await self._cursor(connection)

    async def follow(self, batch: Batch) -> SettlementResult | None:
        """Settles what blocks say and moves the cursor over them; None if another daemon moved it meanwhile."""

        async def work(
            connection: Connection, cursor: SettlementCursor, patient: bool
        ) -> SettlementResult | None:  # noqa: FBT001
            if cursor.height != batch.first:
                return None
            settlement = await self._settle(connection, batch.facts, patient=patient)
            others = await self._others(connection, batch.facts, settlement)
            outcome = await self._keep(
                connection, settlement, others, batch.facts, (), caught_up=True
            )
            await connection.execute(
                _MOVE, self._channel, batch.end, batch.block_hash, batch.unusable
            )
            return outcome

        return await self._transaction(work)

    async def examine(
        self,
        rows: Sequence[Row],
        facts: Mapping[str, Fact],
        gone: Iterable[Subject] = (),
        *,
        caught_up: bool,
    ) -> SettlementResult:
        """Settles those of the rows that wait and whose transaction is known; compares them all.

        `gone` are subjects that nothing is wrong with any more. `caught_up`: whether a transaction that `facts` does
        not have would be known if the network had it.
        """
        waiting = {
            row.hash: fact
            for row in rows
            if row.pending and row.hash and (fact := fact_of(row, facts))
        }

        async def work(
            connection: Connection, _: SettlementCursor, patient: bool
        ) -> SettlementResult:  # noqa: FBT001
            settlement = await self._settle(connection, waiting, patient=patient)
            done = {(row.table.name, row.key) for row in settlement.rows}
            others = [row for row in rows if (row.table.name, row.key) not in done]
            return await self._keep(
                connection, settlement, others, facts, gone, caught_up=caught_up
            )

        return await self._transaction(work)

    async def audit(self, end: int, facts: Sequence[Fact]) -> SettlementResult:
        """Looks for rows that name these transactions, of blocks below `end`, whose grace period is over."""

        async def work(
            connection: Connection, cursor: SettlementCursor, _: bool
        ) -> SettlementResult:  # noqa: FBT001
            named = await self._named(connection, [fact.tx_id for fact in facts])
            lost = missing_rows(fact for fact in facts if fact.tx_id not in named)
            opened, closed = await discrepancies.keep(connection, self._channel, (), lost)
            await connection.execute(_AUDITED, self._channel, max(end, cursor.audited_height))
            return SettlementResult(opened=opened, closed=closed)

        return await self._transaction(work)

    async def named(self, tx_ids: Sequence[str]) -> set[str]:
        """Those of the ids that some row names."""
        async with self._pool.acquire() as connection:
            return await self._named(connection, tx_ids)

    async def rows_of(self, table: Table, keys: Sequence[str]) -> list[Row]:
        """The rows with these keys, as they are now."""
        return self._rows(
            table, await self._pool.fetch(self._statements[table.name].by_key, *self._common, keys)
        )

    async def rows_with(self, hashes: Sequence[str]) -> list[Row]:
        """The rows of all tables that have these hashes, as they are now."""
        async with self._pool.acquire() as connection:
            return [
                row
                for table in self._business.tables
                for row in await self._with(connection, table, hashes)
            ]

    async def waiting(self, table: Table, after: str | None, limit: int) -> list[Row]:
        """A page of rows that wait for the ledger, in the order of their keys, from the one after `after` on."""
        sql = self._statements[table.name].pending_page
        return self._rows(
            table, await self._pool.fetch(sql, *self._common, after, limit, table.pending)
        )

    async def page(
        self, connection: Connection, table: Table, after: str | None, limit: int
    ) -> list[Row]:
        """The same of all rows, read from the server of that connection."""
        return self._rows(
            table,
            await connection.fetch(self._statements[table.name].page, *self._common, after, limit),
        )

    async def open_page(self, after: int, limit: int) -> list[discrepancies.Open]:
        """A page of open discrepancies."""
        async with self._pool.acquire() as connection:
            return await discrepancies.open_page(connection, self._channel, after, limit)

    async def status(self) -> SettlementStatus:
        """What waits and what is open."""
        async with self._pool.acquire() as connection:
            return await read_settlement_status(
                connection, self._channel, self._business, self._grace_s
            )

    async def open_discrepancies(self) -> int:
        """How many there are."""
        async with self._pool.acquire() as connection:
            return sum(
                count.count for count in await discrepancies.counts(connection, self._channel)
            )

    async def _transaction(self, work: _Work[T]) -> T:
        """Does the work; when other transactions are in the way again, without the rows that they hold."""
        backoff = Backoff(initial=0.1, maximum=1.0)
        tries = 0
        while True:
            tries += 1
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    cursor = await self._cursor(connection, " FOR UPDATE")
                    await connection.execute(
                        _CHECK_AT_ONCE if tries == 1 else f"{_CHECK_AT_ONCE}; {_SHORT_LOCK_TIMEOUT}"
                    )
                    return await work(connection, cursor, tries == 1)
            except FAILURES as error:
                if not is_busy(error) or tries == _TRIES:
                    raise
            await asyncio.sleep(backoff.next_delay())

    async def _cursor(self, connection: Connection, lock: str = "") -> SettlementCursor:
        found = await connection.fetchrow(_CURSOR + lock, self._channel)
        if found is None:
            raise ReconciliationError(
                f"the row of channel {self._channel} in ledger_cursor is gone: rows are settled from the start block on"
            )
        return SettlementCursor(*found)

    async def _settle(
        self, connection: Connection, named: Mapping[str, Fact], *, patient: bool
    ) -> _SettledRows:
        """Settles the waiting rows with these hashes."""
        settlement = _SettledRows()
        for table in self._business.tables:
            if table.status is not None and named:
                for part in (
                    [list(named.items())]
                    if patient
                    else await self._apart(connection, table, named)
                ):
                    await self._settle_all(connection, table, part, settlement, patient=patient)
        return settlement

    async def _apart(
        self, connection: Connection, table: Table, named: Mapping[str, Fact]
    ) -> Iterable[Sequence[tuple[str, Fact]]]:
        """What rows wait for, by the campaigns that they belong to: who holds one holds up its rows and no others."""
        campaigns: dict[str, set[str]] = {}
        for row in await self._with(connection, table, list(named)):
            if row.pending and row.hash is not None:
                campaigns.setdefault(row.hash, set()).add(row.campaign or "")
        parts: dict[frozenset[str], list[tuple[str, Fact]]] = {}
        for given, of in campaigns.items():
            parts.setdefault(frozenset(of), []).append((given, named[given]))
        return parts.values()

    async def _settle_all(
        self,
        connection: Connection,
        table: Table,
        named: Sequence[tuple[str, Fact]],
        settlement: _SettledRows,
        *,
        patient: bool,
    ) -> None:
        """Settles rows of one table at once.

        Where one of them spoils it, in halves, so that only that one is left; or all that belong together, where others
        hold what they belong to.
        """
        statements = self._statements[table.name]
        states = (table.pending, table.confirmed, table.failed)
        try:
            async with connection.transaction():
                sql = statements.settle if patient else statements.settle_free
                records = await connection.fetch(sql, self._placeholders, *_columns(named), *states)
        except asyncpg.PostgresError as error:
            held = is_busy(error) and not patient
            if not (held or is_refusal(error)):
                raise
            if len(named) > 1 and not (held and table.campaign):
                middle = len(named) // 2
                for half in (named[:middle], named[middle:]):
                    await self._settle_all(connection, table, half, settlement, patient=patient)
            elif not held:
                settlement.refused[table.name, named[0][0]] = (named[0][1], str(error))
        else:
            facts = dict(named)
            for key, given, amount, campaign in records:
                fact = facts[given]
                state = table.confirmed if fact.valid else table.failed
                settlement.rows.append(Row(table, key, given, state, fact.block, amount, campaign))

    async def _others(
        self, connection: Connection, facts: Mapping[str, Fact], settlement: _SettledRows
    ) -> list[Row]:
        """Rows that name these transactions and were not settled just now."""
        rows: list[Row] = []
        for table in self._business.tables:
            settled = {row.hash for row in settlement.rows if row.table is table}
            rows += await self._with(
                connection, table, [name for name in facts if name not in settled]
            )
        return rows

    async def _keep(
        self,
        connection: Connection,
        settlement: _SettledRows,
        others: Iterable[Row],
        facts: Mapping[str, Fact],
        gone: Iterable[Subject],
        *,
        caught_up: bool,
    ) -> SettlementResult:
        """Keeps what is wrong with the rows."""
        judged, wrong = list(gone), list[Finding]()
        for row in (*settlement.rows, *others):
            refused = settlement.refused.get((row.table.name, row.hash or ""))
            if refused is not None and row.pending:
                found: Sequence[Finding] | None = (refusal(row, row.hash or "", *refused),)
            else:
                found = findings(row, fact_of(row, facts), caught_up=caught_up)
            if found is not None:
                judged.append((row.table.name, row.key))
                wrong += found
        opened, closed = await discrepancies.keep(connection, self._channel, judged, wrong)
        campaigns = {row.campaign for row in settlement.rows if row.campaign is not None}
        return SettlementResult(len(settlement.rows), campaigns, opened, closed)

    async def _with(self, connection: Connection, table: Table, hashes: Sequence[str]) -> list[Row]:
        records = (
            await connection.fetch(self._statements[table.name].by_hash, *self._common, hashes)
            if hashes
            else []
        )
        return self._rows(table, records)

    async def _named(self, connection: Connection, tx_ids: Sequence[str]) -> set[str]:
        ways = {way: tx_id for tx_id in tx_ids for way in written_as(tx_id)}
        rows = [
            row
            for table in self._business.tables
            for row in await self._with(connection, table, list(ways))
        ]
        return {ways[row.hash] for row in rows if row.hash is not None}

    @staticmethod
    def _rows(table: Table, records: Iterable[asyncpg.Record]) -> list[Row]:
        return [Row(table, *record) for record in records]


def _columns(named: Sequence[tuple[str, Fact]]) -> tuple[list[str], str, str, str]:
    """Hashes, outcomes, blocks and times."""
    facts = [fact for _, fact in named]
    return (
        [given for given, _ in named],
        array_text(fact.valid for fact in facts),
        array_text(fact.block for fact in facts),
        array_text(fact.at_ms for fact in facts),
    )
