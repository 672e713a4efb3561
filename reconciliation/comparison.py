"""What a row says against what the ledger says: pure, so that every way to look at a row judges it alike."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from msgspec import Struct

from reconciliation.mapping import Table
from reconciliation.reports import DiscrepancyKind as Kind

MAX_HASH_CHARACTERS: Final = 255
"""Longer ids are never asked for: no column of a business schema holds them."""

_TX_ID = re.compile(r"[0-9a-f]{64}")


class Fact(Struct, frozen=True):
    """What the ledger says of a transaction id: the envelope that owns it."""

    tx_id: str
    status: str
    valid: bool
    block: int
    at_ms: int | None
    """The block's time in milliseconds since 1970."""
    amount: Decimal | None = None
    business: bool = False
    """Whether a row must name it."""

    def described(self) -> dict[str, Any]:
        """As a discrepancy shows it."""
        shown: dict[str, Any] = {"status": self.status, "valid": self.valid, "block": self.block}
        return shown if self.amount is None else shown | {"amount": str(self.amount)}


class Row(Struct, frozen=True):
    """A row that names a transaction, or is to name one."""

    table: Table
    key: str
    hash: str | None
    state: str | None = None
    block: int | None = None
    amount: Decimal | None = None
    campaign: str | None = None
    old: bool = True
    """Whether its grace period is over."""

    @property
    def pending(self) -> bool:
        """Whether it waits for the ledger."""
        return self.table.status is not None and self.state == self.table.pending

    @property
    def denies(self) -> bool:
        """Whether it says that its transaction had no effect."""
        return self.table.status is not None and self.state == self.table.failed

    def described(self) -> dict[str, Any]:
        """As a discrepancy shows it."""
        shown = {"status": self.state, "block": self.block, "amount": self.amount}
        return {
            name: str(value) if name == "amount" else value
            for name, value in shown.items()
            if value is not None
        }


class Finding(Struct, frozen=True):
    """One discrepancy. `subject` is the row's key, or the transaction id where there is no row."""

    kind: Kind
    table: str
    subject: str
    hash: str
    ledger: dict[str, Any]
    found: dict[str, Any]


def spellings(given: str) -> tuple[str, ...]:
    """The ids that a row's hash may stand for: as it is, if that can be asked for, then another way to write an id."""
    plain = given.strip().lower().removeprefix("0x")
    ways = dict.fromkeys((given, plain) if _TX_ID.fullmatch(plain) else (given,))
    return tuple(way for way in ways if is_usable(way))


def written_as(tx_id: str) -> tuple[str, ...]:
    """How rows may spell an id."""
    return (tx_id, tx_id.upper(), f"0x{tx_id}", f"0x{tx_id.upper()}")


def ways_of(tx_id: str) -> tuple[str, ...]:
    """The spellings by which rows that stand for this id are looked for. Blanks and mixed cases are not among them."""
    return tuple(way for way in dict.fromkeys(written_as(tx_id)) if tx_id in spellings(way))


def is_usable(tx_id: str) -> bool:
    """Whether an id of the ledger may go into a query.

    PostgreSQL takes no NUL: one would fail a whole batch. With blanks at the end an id is another one, but not to a
    column of type char.
    """
    return (
        bool(tx_id)
        and "\0" not in tx_id
        and not tx_id.endswith(" ")
        and len(tx_id) <= MAX_HASH_CHARACTERS
    )


def fact_of(row: Row, facts: Mapping[str, Fact]) -> Fact | None:
    """What the ledger says of the row's transaction, by the first spelling that it knows."""
    given = row.hash or ""
    return facts.get(given) or next((facts[way] for way in spellings(given) if way in facts), None)


def findings(row: Row, fact: Fact | None, *, caught_up: bool) -> Sequence[Finding] | None:
    """What is wrong with the row; None if it is too early to tell.

    `caught_up`: whether `fact` would be known if the network had it.
    """
    if row.hash is None:
        return ()
    if fact is None:
        return _without_fact(row, row.hash, caught_up=caught_up)
    kind = _contradiction(row, fact)
    return (
        ()
        if kind is None
        else (Finding(kind, row.table.name, row.key, row.hash, fact.described(), row.described()),)
    )


def _without_fact(row: Row, given: str, *, caught_up: bool) -> Sequence[Finding] | None:
    if row.denies:
        return ()
    kind = Kind.NOT_ON_LEDGER
    if not any(_TX_ID.fullmatch(way) for way in spellings(given)):
        kind = Kind.IMPOSSIBLE_HASH  # of a VALID transaction, so there is nothing to wait for
    elif not row.old:
        return None
    return (
        (Finding(kind, row.table.name, row.key, given, {}, row.described() | {"hash": given}),)
        if caught_up
        else None
    )


def _contradiction(row: Row, fact: Fact) -> Kind | None:
    if row.pending:
        return None
    if row.denies == fact.valid or (row.block is not None and row.block != fact.block):
        return Kind.CONTRADICTS_LEDGER
    if (
        fact.valid
        and fact.amount is not None
        and row.amount is not None
        and fact.amount != row.amount
    ):
        return Kind.AMOUNT_DIFFERS
    return None


def missing_rows(facts: Iterable[Fact]) -> list[Finding]:
    """Findings for transactions that no row names."""
    return [
        Finding(Kind.MISSING_ROW, "", fact.tx_id, fact.tx_id, fact.described(), {})
        for fact in facts
    ]


def refusal(row: Row, given: str, fact: Fact, reason: str) -> Finding:
    """The finding for a row that PostgreSQL would not settle."""
    shown = row.described() | {"error": reason}
    return Finding(Kind.REFUSED, row.table.name, row.key, given, fact.described(), shown)
