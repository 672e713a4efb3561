"""The business tables whose rows name transactions. KindLedger's schema is the default."""

from typing import Final

from msgspec import Struct


class BusinessTable(Struct, frozen=True, kw_only=True):
    """A table whose rows name a transaction: the names of its columns and of its three states.

    A table without `status` is compared but never settled: its rows must name a VALID transaction.
    """

    name: str
    hash: str
    key: str = "id"
    status: str | None = None
    pending: str = "PENDING"
    confirmed: str = "CONFIRMED"
    failed: str = "FAILED"
    block: str | None = None
    confirmed_at: str | None = None
    created_at: str | None = None
    """The time at which the row was created: its grace period begins then.

    Without this column the grace period of every row is over.
    """
    amount: str | None = None
    campaign: str | None = None
    """The campaign of the row: its caches are invalidated when the row is settled."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        columns = (
            *(self.key, self.hash, self.status, self.block),
            *(self.confirmed_at, self.created_at, self.amount, self.campaign),
        )
        return tuple(column for column in columns if column is not None)

    @property
    def settled_columns(self) -> tuple[str, ...]:
        """Every column that is written."""
        if self.status is None:
            return ()
        return tuple(
            column for column in (self.status, self.block, self.confirmed_at) if column is not None
        )


class EventAmount(Struct, frozen=True, kw_only=True):
    """A field of an event's payload: the amount that the rows of its transaction must have."""

    event: str
    path: str
    """The names of the nested fields, joined by full stops."""


class BusinessMapping(Struct, frozen=True, kw_only=True):
    """The tables that are reconciled with one channel, and the transactions that need a row."""

    schema: str = "public"
    tables: tuple[BusinessTable, ...]
    placeholders: tuple[str, ...] = ("", "pending-%", "PENDING-%")
    """Patterns of LIKE: a hash that matches a pattern counts as no hash."""
    chaincodes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """A VALID transaction of these chaincodes and functions must have a row.

    An empty list of functions stands for every function.
    """
    amounts: tuple[EventAmount, ...] = ()
    missing_rows: bool = True
    """Whether a transaction without a row is reported."""


KINDLEDGER: Final = BusinessMapping(
    tables=(
        BusinessTable(
            name="transactions",
            hash="tx_hash",
            status="status",
            block="block_number",
            confirmed_at="confirmed_at",
            created_at="created_at",
            amount="amount",
            campaign="campaign_id",
        ),
        BusinessTable(
            name="donations",
            hash="blockchain_tx_hash",
            status="status",
            confirmed_at="confirmed_at",
            created_at="donated_at",
            amount="amount",
            campaign="campaign_id",
        ),
        BusinessTable(
            name="campaigns", hash="blockchain_tx_hash", created_at="created_at", campaign="id"
        ),
    ),
    chaincodes=("kindledger",),
    functions=("CreateCampaign", "Donate", "TokenDonate", "Disburse", "UpdateStatus"),
    amounts=(
        EventAmount(event="DonationReceived", path="amount"),
        EventAmount(event="Disbursed", path="amount"),
    ),
)
