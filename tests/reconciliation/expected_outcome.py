"""The expected rows and discrepancies, decided one row at a time with the whole ledger."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

PLACEHOLDER = re.compile(r"|pending-.*|PENDING-.*", re.DOTALL)
FABRIC_ID = re.compile(r"[0-9a-f]{64}")


class LedgerEntry(Struct, frozen=True):
    """What the ledger says of an id."""

    valid: bool
    block: int
    needs_row: bool
    amount: Decimal | None

    @property
    def state(self) -> str:
        """The state that a row with this id must reach."""
        return "CONFIRMED" if self.valid else "FAILED"


class WrittenRow(Struct):
    """A row as an application wrote it last, with the state and block that it had then."""

    table: str
    key: str
    hash: str | None
    state: str | None
    block: int | None
    amount: Decimal | None


class ExpectedOutcome(Struct):
    """The states and blocks of rows in the end, and the open discrepancies."""

    rows: dict[tuple[str, str], tuple[str | None, int | None]]
    discrepancies: set[tuple[str, str, str]]
    """Kind, table and subject of each."""
    optional_discrepancies: set[tuple[str, str, str]]
    """Discrepancies that may be open or not: only a row with blanks in its hash has the id."""


def ledger_entry_of(hash_: str | None, ledger: Mapping[str, LedgerEntry]) -> LedgerEntry | None:
    """Return what the ledger says of a row's hash: of the literal id, or else of the normalised."""
    if hash_ is None or PLACEHOLDER.fullmatch(hash_):
        return None
    return ledger.get(hash_) or ledger.get(_normalised(hash_))


def expected_outcome(
    rows: Iterable[WrittenRow], ledger: Mapping[str, LedgerEntry]
) -> ExpectedOutcome:
    """Return what must be there after every server works again and all rows are settled."""
    outcome = ExpectedOutcome({}, set(), set())
    named_ids: set[str] = set()
    ids_with_blanks: set[str] = set()
    for row in rows:
        entry = ledger_entry_of(row.hash, ledger)
        if row.hash is not None and not PLACEHOLDER.fullmatch(row.hash):
            kind = _discrepancy_kind(row, entry)
            if kind is not None:
                outcome.discrepancies.add((kind, row.table, row.key))
            has_blanks = row.hash != row.hash.strip()
            (ids_with_blanks if has_blanks else named_ids).add(_normalised(row.hash))
        state, block = row.state, row.block
        if state == "PENDING" and entry is not None:
            state, block = entry.state, entry.block if row.table == "transactions" else None
        outcome.rows[row.table, row.key] = (state, block)
    for tx_id, entry in ledger.items():
        if entry.valid and entry.needs_row and tx_id not in named_ids:
            optional = tx_id in ids_with_blanks
            discrepancies = outcome.optional_discrepancies if optional else outcome.discrepancies
            discrepancies.add(("missing_row", "", tx_id))
    return outcome


def _normalised(hash_: str) -> str:
    """Return the id of Fabric that the hash stands for; an empty text if there is none."""
    tx_id = hash_.strip().lower().removeprefix("0x")
    return tx_id if FABRIC_ID.fullmatch(tx_id) else ""


def _discrepancy_kind(row: WrittenRow, entry: LedgerEntry | None) -> str | None:
    if entry is None:
        if row.state == "FAILED":
            return None
        return "not_on_ledger" if _normalised(row.hash or "") else "impossible_hash"
    if row.state != "PENDING":
        if (row.state == "FAILED") == entry.valid or row.block not in {None, entry.block}:
            return "contradicts_ledger"
        if row.state == "FAILED":
            return None
    differs = None not in {entry.amount, row.amount} and entry.amount != row.amount
    return "amount_differs" if entry.valid and differs else None
