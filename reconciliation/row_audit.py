"""Compares the business rows of some blocks and times with the ledger, for reports; reads only."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import Struct

from ledger.position import BlockNumber, Height
from reconciliation.comparison import (
    ComparedRow,
    DiscrepancyFinding,
    LedgerTransaction,
    compare,
    missing_row_findings,
    transaction_of,
)
from reconciliation.hash_spellings import candidate_ids, spellings_of, usual_spellings
from reconciliation.ledger_transactions import BlockBatch, LedgerTransactions
from reconciliation.mapping import BusinessTable
from reconciliation.row_reader import RowPeriod, RowReader

NOT_SETTLED: Final = "not_settled"
"""The kind of a row that waits for the ledger, although its block is settled."""

_PAGE_ROWS: Final = 1_000


class RowFinding(Struct, frozen=True):
    """A row that does not say what the ledger says, or a transaction that no row names.

    `kind` is `NOT_SETTLED` or a `DiscrepancyKind`; the other fields are those of a
    `DiscrepancyFinding`. `block` is that of the transaction, None if no block has it.
    """

    kind: str
    block: int | None
    table: str
    subject: str
    hash: str
    ledger: dict[str, Any]
    found: dict[str, Any]


class RowCounts(Struct):
    """What was compared, and what could not be decided yet.

    `rows`: the rows of the transactions and of the period. `transactions`: those that need a row.
    `waiting`: the rows that are to be settled. `undecided`: the rows whose transaction may be in a
    block that is not stored. `young`: the transactions without a row whose grace period is not
    over. `unread_blocks`: the blocks that are missing.
    """

    rows: int = 0
    transactions: int = 0
    waiting: int = 0
    undecided: int = 0
    young: int = 0
    unread_blocks: int = 0


@dataclass(frozen=True)
class SettledLedger:
    """How far the ledger is stored and rows are settled, and whether all blocks are stored.

    A transaction of a block from `grace_began_ms` on, in milliseconds since 1970, may still get a
    row.
    """

    height: Height
    settled_height: Height
    caught_up: bool
    grace_began_ms: int


class RowAudit:
    """Compares rows with the ledger; calls `record` with each finding. It writes nothing."""

    def __init__(
        self,
        rows: RowReader,
        transactions: LedgerTransactions,
        tables: Iterable[BusinessTable],
        ledger: SettledLedger,
        record: Callable[[RowFinding], None],
    ) -> None:
        self._rows, self._transactions, self._tables = rows, transactions, tuple(tables)
        self._ledger, self._record = ledger, record
        self.counts = RowCounts()

    async def compare_blocks(
        self, first: BlockNumber, height: Height, advance: Callable[[int], None]
    ) -> None:
        """Compare the rows that name a transaction of the blocks `first` to `height - 1`.

        Record also the transactions that need a row and have none. Calls `advance` with the height
        that was compared.
        """
        while first < height:
            batch = await self._transactions.batch(first, height)
            if batch is None:
                stored = await self._transactions.next_block(first, height) or height
                self.counts.unread_blocks += stored - first
                first = BlockNumber(stored)
                continue
            await self._compare_batch(batch)
            first = BlockNumber(batch.end)
            advance(first)

    async def _compare_batch(self, batch: BlockBatch) -> None:
        spellings = {each for tx_id in batch.transactions for each in usual_spellings(tx_id)}
        named: set[str] = set()
        for row in await self._rows.with_hashes(list(spellings)):
            transaction = transaction_of(row, batch.transactions)
            if transaction is not None:
                named.add(transaction.tx_id)
                self._compare(row, transaction)
        needed = [each for each in batch.transactions.values() if each.needs_row]
        self.counts.transactions += len(needed)
        missing = [each for each in needed if each.tx_id not in named]
        due = [each for each in missing if (each.block_time_ms or 0) < self._ledger.grace_began_ms]
        self.counts.young += len(missing) - len(due)
        for finding, transaction in zip(missing_row_findings(due), due, strict=True):
            self._record(_row_finding(finding, transaction))

    async def compare_period(self, period: RowPeriod) -> None:
        """Compare the rows of a period that `compare_blocks` did not read for its blocks."""
        for table in self._tables:
            after: str | None = None
            while True:
                page = await self._rows.period_page(table, period, after, _PAGE_ROWS)
                await self._compare_page(page, period)
                if len(page) < _PAGE_ROWS:
                    break
                after = page[-1].key

    async def _compare_page(self, page: Sequence[ComparedRow], period: RowPeriod) -> None:
        ids = {tx_id for row in page if row.hash is not None for tx_id in candidate_ids(row.hash)}
        transactions = await self._transactions.lookup(ids, self._ledger.height)
        for row in page:
            transaction = transaction_of(row, transactions)
            if not _is_of_blocks(row, transaction, period):
                self._compare(row, transaction)

    def _compare(self, row: ComparedRow, transaction: LedgerTransaction | None) -> None:
        self.counts.rows += 1
        if transaction is not None and row.is_pending:
            if not row.grace_over or transaction.block >= self._ledger.settled_height:
                self.counts.waiting += 1
            else:
                self._record(_not_settled(row, transaction))
            return
        findings = compare(row, transaction, caught_up=self._ledger.caught_up)
        if findings is None:
            self.counts.undecided += 1
        for finding in findings or ():
            self._record(_row_finding(finding, transaction))


def _row_finding(finding: DiscrepancyFinding, transaction: LedgerTransaction | None) -> RowFinding:
    block = transaction.block if transaction is not None else None
    fields = (finding.table, finding.subject, finding.hash, finding.ledger, finding.found)
    return RowFinding(finding.kind.value, block, *fields)


def _not_settled(row: ComparedRow, transaction: LedgerTransaction) -> RowFinding:
    ledger, found = transaction.details(), row.details()
    return RowFinding(
        NOT_SETTLED, transaction.block, row.table.name, row.key, row.hash or "", ledger, found
    )


def _is_of_blocks(
    row: ComparedRow, transaction: LedgerTransaction | None, period: RowPeriod
) -> bool:
    """Return whether the row was compared as the row of a transaction of the period's blocks."""
    return (
        transaction is not None
        and period.first <= transaction.block <= period.last
        and row.hash in spellings_of(transaction.tx_id)
    )
