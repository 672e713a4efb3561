"""What the business database says of the ledger: its shapes, and what may be asked of it.

Both processes stand on it: the daemon keeps these books, the API shows them.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol

from msgspec import Struct

MAX_ROWS: Final = 20
"""So many rows of one transaction are shown."""


class BusinessUnavailableError(Exception):
    """The business database does not answer, or refuses to. The message names no server, user or password."""


class DiscrepancyKind(StrEnum):
    """What can be wrong between rows and ledger."""

    CONTRADICTS_LEDGER = "contradicts_ledger"  # a settled row with another outcome or block
    NOT_ON_LEDGER = "not_on_ledger"  # the grace period is over and no block has the transaction
    IMPOSSIBLE_HASH = "impossible_hash"  # no transaction can have such an id
    MISSING_ROW = "missing_row"  # a transaction that no row names
    AMOUNT_DIFFERS = "amount_differs"  # from the one in the transaction's event
    REFUSED = "refused"  # PostgreSQL does not take the settlement, such as a constraint or trigger


class DiscrepancyState(StrEnum):
    """Which discrepancies are shown."""

    OPEN = "open"
    CLOSED = "closed"
    ALL = "all"


class BusinessRow(Struct, frozen=True, rename="camel"):
    """A row that names a transaction; `hash` is as it spells it. What the table has no column for is null."""

    table: str
    key: str
    hash: str
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
    """A discrepancy as it is shown: what the ledger says, and what was found.

    `subject` is the row's key; where there is no row, `table` is empty and it is the transaction's id. `kind` can be
    asked for by the parameter of that name; a newer daemon may write others.
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
    """Discrepancies, the newest first. The page after it begins after the id `next`; null at the end."""

    items: list[Discrepancy]
    next: int | None


class DiscrepancyCount(Struct, frozen=True, rename="camel"):
    """How many discrepancies of a kind are open, and since when the oldest one is."""

    kind: str
    count: int
    oldest: datetime


class WaitingRows(Struct, frozen=True, rename="camel"):
    """Rows of a table that are not settled. Those without a hash wait for the gateway, the others for the ledger.

    `overdue` are those of the others whose grace period is over; `oldest` is when the first of the others was made.
    """

    table: str
    rows: int
    overdue: int
    oldest: datetime | None
    without_hash: int


class SettlementStatus(Struct, frozen=True, rename="camel"):
    """Rows that blocks below `height` name are settled; those below `audited_height` were looked for.

    `unusable_ids` counts ids of the ledger that no row can have. `moved_at` is null before the first block.
    """

    height: int
    audited_height: int
    unusable_ids: int
    moved_at: datetime | None
    waiting: list[WaitingRows]
    discrepancies: list[DiscrepancyCount]


class BusinessReports(Protocol):
    """The business rows of one channel, to be read.

    Every method raises `BusinessUnavailableError` where there is no answer within a few seconds, and at once while that
    is known.
    """

    @property
    def channel(self) -> str:
        """The channel that is reconciled with them."""

    async def check(self) -> None:
        """Returns if rows can be read now."""

    async def rows(self, tx_ids: Sequence[str]) -> dict[str, BusinessRows]:
        """What rows say of each of these transaction ids, however they spell it."""

    async def discrepancies(
        self, kind: DiscrepancyKind | None, state: DiscrepancyState, after: int | None, limit: int
    ) -> DiscrepancyPage:
        """Discrepancies, the newest first, after the id `after` of the page before.

        A page may have fewer than `limit`, even none, and another after it: not everything is looked through for one.
        """

    async def status(self) -> SettlementStatus:
        """How far rows are settled, what waits, what is open."""
