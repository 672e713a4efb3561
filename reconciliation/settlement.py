"""Settles the business rows of one channel, and records the discrepancies that it finds."""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, field

from ledger.position import BlockNumber, Height
from reconciliation.channel_cursor import ChannelCursor, LockedCursor
from reconciliation.comparison import (
    ComparedRow,
    DiscrepancyFinding,
    LedgerTransaction,
    compare,
    missing_row_findings,
    refused_finding,
    transaction_of,
)
from reconciliation.discrepancies import DiscrepancySubject, record_findings
from reconciliation.ledger_transactions import BlockBatch
from reconciliation.mapping import BusinessMapping
from reconciliation.row_reader import RowReader
from reconciliation.row_settler import RowSettler, SettledRows


class SettlementResult(Struct):
    """What one transaction changed."""

    settled: int = 0
    """The number of rows that were settled."""
    campaigns: set[str] = field(default_factory=set)
    """The campaigns of the settled rows."""
    opened: list[DiscrepancyFinding] = field(default_factory=list)
    closed: int = 0
    """The number of discrepancies that were closed."""


class Settlement:
    """Settles and compares rows. Every method is safe to repeat after a failure."""

    def __init__(
        self,
        cursor: ChannelCursor,
        business: BusinessMapping,
        rows: RowReader,
        settler: RowSettler,
    ) -> None:
        self._cursor, self._business, self._rows, self._settler = cursor, business, rows, settler

    async def settle_blocks(self, batch: BlockBatch) -> SettlementResult | None:
        """Settle the rows that the blocks name, and move the cursor to the end of the blocks.

        Returns None if another daemon has moved the cursor.
        """

        async def work(locked: LockedCursor) -> SettlementResult | None:
            if BlockNumber(locked.cursor.height) != batch.first:
                return None
            settled = await self._settler.settle(
                locked.connection, batch.transactions, wait_for_locks=locked.wait_for_locks
            )
            unsettled = await self._unsettled_rows(locked, batch.transactions, settled)
            result = await _record(locked, settled, unsettled, batch.transactions, caught_up=True)
            await locked.move(batch.end, batch.block_hash, batch.unusable_ids)
            return result

        return await self._cursor.locked(work)

    async def settle_rows(
        self,
        rows: Sequence[ComparedRow],
        transactions: Mapping[str, LedgerTransaction],
        resolved: Iterable[DiscrepancySubject] = (),
        *,
        caught_up: bool,
    ) -> SettlementResult:
        """Settle the pending rows whose transaction is in `transactions`, and compare all rows.

        Discrepancies of the `resolved` subjects are closed. `caught_up` says whether all blocks of
        the network were searched for the transactions.
        """
        by_hash = {
            row.hash: transaction
            for row in rows
            if row.is_pending and row.hash and (transaction := transaction_of(row, transactions))
        }

        async def work(locked: LockedCursor) -> SettlementResult:
            settled = await self._settler.settle(
                locked.connection, by_hash, wait_for_locks=locked.wait_for_locks
            )
            settled_keys = {(row.table.name, row.key) for row in settled.rows}
            unsettled = [row for row in rows if (row.table.name, row.key) not in settled_keys]
            return await _record(
                locked, settled, unsettled, transactions, resolved, caught_up=caught_up
            )

        return await self._cursor.locked(work)

    async def audit_transactions(
        self, height: Height, transactions: Sequence[LedgerTransaction]
    ) -> SettlementResult:
        """Record the transactions that no row names, and set the audited height.

        The transactions are of blocks below `height`.
        """

        async def work(locked: LockedCursor) -> SettlementResult:
            tx_ids = [transaction.tx_id for transaction in transactions]
            ids_with_rows = await self._rows.ids_with_rows_in(locked.connection, tx_ids)
            findings = missing_row_findings(
                transaction
                for transaction in transactions
                if transaction.tx_id not in ids_with_rows
            )
            opened, closed = await record_findings(locked.connection, locked.channel, (), findings)
            await locked.set_audited_height(max(height, locked.cursor.audited_height))
            return SettlementResult(opened=opened, closed=closed)

        return await self._cursor.locked(work)

    async def _unsettled_rows(
        self,
        locked: LockedCursor,
        transactions: Mapping[str, LedgerTransaction],
        settled: SettledRows,
    ) -> list[ComparedRow]:
        """Return the rows that name the transactions and were not settled just now."""
        rows: list[ComparedRow] = []
        for table in self._business.tables:
            settled_hashes = {row.hash for row in settled.rows if row.table is table}
            hashes = [row_hash for row_hash in transactions if row_hash not in settled_hashes]
            rows += await self._rows.table_rows_with_hashes(locked.connection, table, hashes)
        return rows


async def _record(
    locked: LockedCursor,
    settled: SettledRows,
    unsettled: Iterable[ComparedRow],
    transactions: Mapping[str, LedgerTransaction],
    resolved: Iterable[DiscrepancySubject] = (),
    *,
    caught_up: bool,
) -> SettlementResult:
    """Compare the settled and the unsettled rows, and record their discrepancies."""
    compared, findings = list(resolved), list[DiscrepancyFinding]()
    for row in (*settled.rows, *unsettled):
        row_findings = _compare(row, settled, transactions, caught_up=caught_up)
        if row_findings is not None:
            compared.append((row.table.name, row.key))
            findings += row_findings
    opened, closed = await record_findings(locked.connection, locked.channel, compared, findings)
    campaigns = {row.campaign for row in settled.rows if row.campaign is not None}
    return SettlementResult(len(settled.rows), campaigns, opened, closed)


def _compare(
    row: ComparedRow,
    settled: SettledRows,
    transactions: Mapping[str, LedgerTransaction],
    *,
    caught_up: bool,
) -> Sequence[DiscrepancyFinding] | None:
    refusal = settled.refused.get((row.table.name, row.hash or ""))
    if refusal is not None and row.is_pending:
        return (refused_finding(row, refusal.transaction, refusal.reason),)
    return compare(row, transaction_of(row, transactions), caught_up=caught_up)
