"""The reports of the business database: their types, and the protocol that reads them.

The daemon writes the values that the reports show. The API imports only this module of
reconciliation.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

MAX_ROWS: Final = 20
"""The number of rows that are shown of one transaction."""


class BusinessUnavailableError(Exception):
    """The business database does not answer, or refuses. The message names no server or user."""


class DiscrepancyKind(StrEnum):
    """The kinds of disagreement between a row and the ledger."""

    CONTRADICTS_LEDGER = "contradicts_ledger"  # a settled row has another outcome or block
    NOT_ON_LEDGER = "not_on_ledger"  # no block has the transaction after the grace period
    IMPOSSIBLE_HASH = "impossible_hash"  # no valid transaction can have this id
    MISSING_ROW = "missing_row"  # no row names the transaction
    AMOUNT_DIFFERS = "amount_differs"  # the row and the transaction's event state other amounts
    REFUSED = "refused"  # a constraint or trigger of PostgreSQL refuses the settlement


class DiscrepancyState(StrEnum):
    """The states by which discrepancies are listed."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


class BusinessRow(Struct, frozen=True, rename="camel"):
    """A row that names a transaction. A value is null if the table has no column for it."""

    table: str
    key: str
    hash: str
    """The hash as the row spells it."""
    state: str | None
    block: int | None
    amount: str | None
    """A decimal number."""
    campaign: str | None
    created_at: datetime | None
    confirmed_at: datetime | None


class BusinessRows(Struct, frozen=True, rename="camel"):
    """The rows of one transaction, at most 20, and whether there are more."""

    rows: list[BusinessRow]
    more: bool


class Discrepancy(Struct, frozen=True, rename="camel"):
    """A disagreement between the ledger and the business database.

    `ledger` has the values of the ledger, `found` those of the row. `subject` is the row's key; if
    there is no row, `table` is empty and `subject` is the transaction's id. A newer daemon may
    write other values of `kind`.
    """

    id: int
    channel: str
    kind: str
    table: str
    subject: str
    tx_hash: str
    ledger: dict[str, Any]
    found: dict[str, Any]
    opened_at: datetime
    updated_at: datetime
    closed_at: datetime | None


class DiscrepancyPage(Struct, frozen=True, rename="camel"):
    """Discrepancies, the newest first. The following page begins after the id `next`.

    `next` is null on the last page.
    """

    items: list[Discrepancy]
    next: int | None


class DiscrepancyCount(Struct, frozen=True, rename="camel"):
    """The number of open discrepancies of a kind, and the time at which the oldest was opened."""

    kind: str
    count: int
    oldest: datetime


class WaitingRows(Struct, frozen=True, rename="camel"):
    """The unsettled rows of a table.

    `rows` counts the rows with a hash, which wait for the ledger. `overdue` counts those of them
    whose grace period has ended, and `oldest` is the time at which the first of them was created.
    `without_hash` counts the rows without a hash, which wait for the gateway.
    """

    table: str
    rows: int
    overdue: int
    oldest: datetime | None
    without_hash: int


class SettlementStatus(Struct, frozen=True, rename="camel"):
    """How far the rows of a channel are settled, the unsettled rows, and the open discrepancies.

    The rows of all blocks below `height` are settled. Every transaction below `audited_height` was
    searched for in the rows. `unusable_ids` counts the transaction ids that no row can contain.
    `moved_at` is null before the first block.
    """

    height: int
    audited_height: int
    unusable_ids: int
    moved_at: datetime | None
    waiting: list[WaitingRows]
    discrepancies: list[DiscrepancyCount]


RowsVerdict = Literal["equal", "different", "unknown"]
"""Whether the rows agree with the ledger, as far as transactions were searched for in them."""


def rows_verdict(
    discrepancies: int, *, start: int, audited: int | None, target: int | None
) -> RowsVerdict:
    """Return the verdict on the rows of the blocks from `start` to `audited` - 1.

    It is unknown until the transactions of the blocks below `target` were searched for in the rows,
    and of at least one block: a row that is missing is found only by this search.
    """
    if discrepancies:
        return "different"
    if audited is None or target is None or audited <= start or audited < target:
        return "unknown"
    return "equal"


class BusinessReports(Protocol):
    """Reads the business rows of one channel.

    Every method raises `BusinessUnavailableError` if PostgreSQL does not answer within a few
    seconds. After such a failure the next calls raise it at once for a short time.
    """

    @property
    def channel(self) -> str:
        """The channel that is reconciled with these rows."""

    async def check(self) -> None:
        """Raise `BusinessUnavailableError` unless rows can be read now."""

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        """Return the rows of each transaction id, in any of its usual spellings."""

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        """Return discrepancies, the newest first, after the id `after` of the page before.

        A page may have fewer items than `limit`, or none, although another page follows: the
        number of discrepancies that are searched for one page is limited.
        """

    async def status(self) -> SettlementStatus:
        """Return how far rows are settled, the unsettled rows, and the open discrepancies."""
