"""What rows and ledger must come to, decided naively: one row at a time, with the whole ledger at hand."""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal

from msgspec import Struct

PLACEHOLDER = re.compile(r"|pending-.*|PENDING-.*", re.DOTALL)
POSSIBLE = re.compile(r"[0-9a-f]{64}")


class Truth(Struct, frozen=True):
    """What the ledger says of an id."""

    valid: bool
    block: int
    business: bool
    amount: Decimal | None

    @property
    def state(self) -> str:
        """What a row that names it must become."""
        return "CONFIRMED" if self.valid else "FAILED"


class Entry(Struct):
    """A row as an application wrote it last, with the state and block that it had then."""

    table: str
    key: str
    hash: str | None
    state: str | None
    block: int | None
    amount: Decimal | None


class Expected(Struct):
    """The end: states and blocks of rows, and discrepancies by kind, table and subject."""

    rows: dict[tuple[str, str], tuple[str | None, int | None]]
    discrepancies: set[tuple[str, str, str]]
    doubtful: set[tuple[str, str, str]]
    """Discrepancies that may be open or not: a transaction that no row names but one with blanks around its id."""


def truth_of(hash_: str | None, ledger: Mapping[str, Truth]) -> Truth | None:
    """What the ledger says of what a row names: as it is written, or else as it must be meant."""
    if hash_ is None or PLACEHOLDER.fullmatch(hash_):
        return None
    return ledger.get(hash_) or ledger.get(_plain(hash_))


def expected(entries: Iterable[Entry], ledger: Mapping[str, Truth]) -> Expected:
    """What must be there when everything was healed and left to settle."""
    end = Expected({}, set(), set())
    named: set[str] = set()
    nearly: set[str] = set()
    for entry in entries:
        truth = truth_of(entry.hash, ledger)
        if entry.hash is not None and not PLACEHOLDER.fullmatch(entry.hash):
            kind = _wrong(entry, truth)
            if kind is not None:
                end.discrepancies.add((kind, entry.table, entry.key))
            (nearly if entry.hash != entry.hash.strip() else named).add(_plain(entry.hash))
        state, block = entry.state, entry.block
        if state == "PENDING" and truth is not None:
            state, block = truth.state, truth.block if entry.table == "transactions" else None
        end.rows[entry.table, entry.key] = (state, block)
    for tx_id, truth in ledger.items():
        if truth.valid and truth.business and tx_id not in named:
            (end.doubtful if tx_id in nearly else end.discrepancies).add(("missing_row", "", tx_id))
    return end


def _plain(hash_: str) -> str:
    """The id of Fabric that is meant; empty where it can be none."""
    plain = hash_.strip().lower().removeprefix("0x")
    return plain if POSSIBLE.fullmatch(plain) else ""


def _wrong(entry: Entry, truth: Truth | None) -> str | None:
    if truth is None:
        if entry.state == "FAILED":
            return None
        return "not_on_ledger" if _plain(entry.hash or "") else "impossible_hash"
    if entry.state != "PENDING":
        if (entry.state == "FAILED") == truth.valid or entry.block not in {None, truth.block}:
            return "contradicts_ledger"
        if entry.state == "FAILED":
            return None
    differs = None not in {truth.amount, entry.amount} and truth.amount != entry.amount
    return "amount_differs" if truth.valid and differs else None
