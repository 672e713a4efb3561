"""Writes the outcomes of transactions into the pending rows that name them."""

from collections.abc import Iterable, Mapping, Sequence

import asyncpg
from msgspec import Struct, field

from reconciliation.comparison import ComparedRow, LedgerTransaction
from reconciliation.connection import Connection
from reconciliation.errors import is_lock_conflict, is_row_refused
from reconciliation.mapping import BusinessMapping, BusinessTable
from reconciliation.row_reader import RowReader
from reconciliation.statements import TableStatements, array_text

HashedTransactions = Sequence[tuple[str, LedgerTransaction]]
"""The hashes of rows, each with the transaction that it stands for."""


class RefusedSettlement(Struct, frozen=True):
    """A settlement that PostgreSQL refused, and PostgreSQL's reason."""

    transaction: LedgerTransaction
    reason: str


class SettledRows(Struct):
    """The rows that were settled, and the settlements that PostgreSQL refused."""

    rows: list[ComparedRow] = field(default_factory=list)
    refused: dict[tuple[str, str], RefusedSettlement] = field(default_factory=dict)
    """By the table's name and the row's hash."""


class RowSettler:
    """Settles rows inside a transaction of the caller."""

    def __init__(
        self,
        business: BusinessMapping,
        statements: Mapping[str, TableStatements],
        rows: RowReader,
    ) -> None:
        self._business, self._statements, self._rows = business, statements, rows
        self._placeholders = list(business.placeholders)

    async def settle(
        self,
        connection: Connection,
        transactions: Mapping[str, LedgerTransaction],
        *,
        wait_for_locks: bool,
    ) -> SettledRows:
        """Settle the pending rows whose hashes are the keys of `transactions`.

        Without `wait_for_locks`, rows that other transactions have locked are omitted, and so are
        the rows of a locked campaign.
        """
        settled = SettledRows()
        if not transactions:
            return settled
        for table in self._business.tables:
            if table.status is None:
                continue
            batches: Iterable[HashedTransactions] = (
                [list(transactions.items())]
                if wait_for_locks
                else await self._by_campaigns(connection, table, transactions)
            )
            for batch in batches:
                await self._settle_batch(
                    connection, table, batch, settled, wait_for_locks=wait_for_locks
                )
        return settled

    async def _by_campaigns(
        self,
        connection: Connection,
        table: BusinessTable,
        transactions: Mapping[str, LedgerTransaction],
    ) -> Iterable[HashedTransactions]:
        """Return the pending transactions, in a batch for each set of campaigns.

        So a locked campaign delays only its own rows.
        """
        campaigns: dict[str, set[str]] = {}
        for row in await self._rows.table_rows_with_hashes(connection, table, list(transactions)):
            if row.is_pending and row.hash is not None:
                campaigns.setdefault(row.hash, set()).add(row.campaign or "")
        batches: dict[frozenset[str], list[tuple[str, LedgerTransaction]]] = {}
        for row_hash, names in campaigns.items():
            batch = batches.setdefault(frozenset(names), [])
            batch.append((row_hash, transactions[row_hash]))
        return batches.values()

    async def _settle_batch(
        self,
        connection: Connection,
        table: BusinessTable,
        batch: HashedTransactions,
        settled: SettledRows,
        *,
        wait_for_locks: bool,
    ) -> None:
        """Settle rows of one table by one statement, and add the result to `settled`.

        If a row makes the statement fail, each half of the batch is settled by itself, until only
        this row is left. If the campaign of the rows is locked, the whole batch is omitted.
        """
        try:
            async with connection.transaction():
                records = await self._update(
                    connection, table, batch, wait_for_locks=wait_for_locks
                )
        except asyncpg.PostgresError as error:
            locked = is_lock_conflict(error) and not wait_for_locks
            if not (locked or is_row_refused(error)):
                raise
            if locked and table.campaign is not None:
                return
            if len(batch) > 1:
                middle = len(batch) // 2
                for half in (batch[:middle], batch[middle:]):
                    await self._settle_batch(
                        connection, table, half, settled, wait_for_locks=wait_for_locks
                    )
            elif not locked:
                row_hash, transaction = batch[0]
                refusal = RefusedSettlement(transaction, str(error))
                settled.refused[table.name, row_hash] = refusal
        else:
            settled.rows += _settled_rows(table, dict(batch), records)

    async def _update(
        self,
        connection: Connection,
        table: BusinessTable,
        batch: HashedTransactions,
        *,
        wait_for_locks: bool,
    ) -> list[asyncpg.Record]:
        statements = self._statements[table.name]
        return await connection.fetch(
            statements.settle if wait_for_locks else statements.settle_unlocked,
            self._placeholders,
            [row_hash for row_hash, _ in batch],
            array_text(transaction.valid for _, transaction in batch),
            array_text(transaction.block for _, transaction in batch),
            array_text(transaction.block_time_ms for _, transaction in batch),
            table.pending,
            table.confirmed,
            table.failed,
        )


def _settled_rows(
    table: BusinessTable,
    transactions: Mapping[str, LedgerTransaction],
    records: Iterable[asyncpg.Record],
) -> list[ComparedRow]:
    """Return the rows that the statement changed, with their new state and block."""
    rows = []
    for key, row_hash, amount, campaign in records:
        transaction = transactions[row_hash]
        state = table.confirmed if transaction.valid else table.failed
        rows.append(ComparedRow(table, key, row_hash, state, transaction.block, amount, campaign))
    return rows
