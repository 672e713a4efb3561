"""Compares a business row with the ledger, without access to any server."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct

from reconciliation.hash_spellings import candidate_ids, is_fabric_id
from reconciliation.mapping import BusinessTable
from reconciliation.reports import DiscrepancyKind


class LedgerTransaction(Struct, frozen=True):
    """The outcome of a transaction on the ledger: that of the envelope that owns its id."""

    tx_id: str
    status: str
    valid: bool
    block: int
    block_time_ms: int | None
    """Milliseconds since 1970."""
    amount: Decimal | None = None
    """The amount in the transaction's event."""
    needs_row: bool = False
    """Whether a business row must name the transaction."""

    def details(self) -> dict[str, Any]:
        """Return the values that a discrepancy shows of the ledger."""
        values: dict[str, Any] = {"status": self.status, "valid": self.valid, "block": self.block}
        return values if self.amount is None else values | {"amount": str(self.amount)}


class ComparedRow(Struct, frozen=True):
    """A business row as it is read to be settled or compared."""

    table: BusinessTable
    key: str
    hash: str | None
    """None if the row has no hash yet, or a placeholder."""
    state: str | None = None
    block: int | None = None
    amount: Decimal | None = None
    campaign: str | None = None
    grace_over: bool = True
    """Whether the row is older than the grace period."""

    @property
    def is_pending(self) -> bool:
        """Whether the row waits for the ledger."""
        return self.table.status is not None and self.state == self.table.pending

    @property
    def is_failed(self) -> bool:
        """Whether the row says that its transaction failed."""
        return self.table.status is not None and self.state == self.table.failed

    def details(self) -> dict[str, Any]:
        """Return the values that a discrepancy shows of the row."""
        values = {
            "status": self.state,
            "block": self.block,
            "amount": None if self.amount is None else str(self.amount),
        }
        return {name: value for name, value in values.items() if value is not None}


class DiscrepancyFinding(Struct, frozen=True):
    """A discrepancy that a comparison found.

    `subject` is the row's key; without a row it is the transaction's id, and `table` is empty.
    """

    kind: DiscrepancyKind
    table: str
    subject: str
    hash: str
    ledger: dict[str, Any]
    found: dict[str, Any]


def transaction_of(
    row: ComparedRow, transactions: Mapping[str, LedgerTransaction]
) -> LedgerTransaction | None:
    """Return the transaction that the row's hash stands for; the literal id comes first."""
    if row.hash is None:
        return None
    if row.hash in transactions:
        return transactions[row.hash]
    known_ids = (tx_id for tx_id in candidate_ids(row.hash) if tx_id in transactions)
    return next((transactions[tx_id] for tx_id in known_ids), None)


def compare(
    row: ComparedRow, transaction: LedgerTransaction | None, *, caught_up: bool
) -> Sequence[DiscrepancyFinding] | None:
    """Return the discrepancies of the row; None if it is too early to decide.

    `caught_up` says whether all blocks of the network were searched for the transaction.
    """
    if row.hash is None:
        return ()
    if transaction is None:
        return _compare_without_transaction(row, row.hash, caught_up=caught_up)
    kind = _contradiction(row, transaction)
    return () if kind is None else (_finding(kind, row, transaction.details(), row.details()),)


def _compare_without_transaction(
    row: ComparedRow, row_hash: str, *, caught_up: bool
) -> Sequence[DiscrepancyFinding] | None:
    if row.is_failed:
        return ()
    if not any(map(is_fabric_id, candidate_ids(row_hash))):
        kind = DiscrepancyKind.IMPOSSIBLE_HASH  # no VALID transaction will ever have this id
    elif row.grace_over:
        kind = DiscrepancyKind.NOT_ON_LEDGER
    else:
        return None
    if not caught_up:
        return None
    return (_finding(kind, row, {}, row.details() | {"hash": row_hash}),)


def _contradiction(row: ComparedRow, transaction: LedgerTransaction) -> DiscrepancyKind | None:
    if row.is_pending:
        return None
    other_outcome = row.is_failed == transaction.valid
    other_block = row.block is not None and row.block != transaction.block
    if other_outcome or other_block:
        return DiscrepancyKind.CONTRADICTS_LEDGER
    both_amounts = row.amount is not None and transaction.amount is not None
    if transaction.valid and both_amounts and row.amount != transaction.amount:
        return DiscrepancyKind.AMOUNT_DIFFERS
    return None


def refused_finding(
    row: ComparedRow, transaction: LedgerTransaction, reason: str
) -> DiscrepancyFinding:
    """Return the finding for a row whose settlement PostgreSQL refused."""
    kind = DiscrepancyKind.REFUSED
    return _finding(kind, row, transaction.details(), row.details() | {"error": reason})


def _finding(
    kind: DiscrepancyKind, row: ComparedRow, ledger: dict[str, Any], found: dict[str, Any]
) -> DiscrepancyFinding:
    return DiscrepancyFinding(kind, row.table.name, row.key, row.hash or "", ledger, found)


def missing_row_findings(transactions: Iterable[LedgerTransaction]) -> list[DiscrepancyFinding]:
    """Return the findings for transactions that no row names."""
    return [
        DiscrepancyFinding(
            DiscrepancyKind.MISSING_ROW,
            "",
            transaction.tx_id,
            transaction.tx_id,
            transaction.details(),
            {},
        )
        for transaction in transactions
    ]
