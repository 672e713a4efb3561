"""Which rows name transactions of the ledger, and what they should say. KindLedger's schema is the default."""

from typing import Final

from msgspec import Struct


class Table(Struct, frozen=True, kw_only=True):
    """A table whose rows name a transaction. Fields are column names, but for the three states.

    A table without `status` is only compared: its rows must name a VALID transaction.
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
    """When the row was made: a young row may be ahead of the ledger. Without it every row counts as old."""
    amount: str | None = None
    campaign: str | None = None
    """What the row belongs to, for the caches that must be invalidated when it is settled."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        named = (self.key, self.hash, self.status, self.block, self.confirmed_at, self.created_at)
        return tuple(
            column for column in (*named, self.amount, self.campaign) if column is not None
        )

    @property
    def settled_columns(self) -> tuple[str, ...]:
        """Every column that is written."""
        if self.status is None:
            return ()
        return tuple(
            column for column in (self.status, self.block, self.confirmed_at) if column is not None
        )


class EventAmount(Struct, frozen=True, kw_only=True):
    """Where an event says which amount the rows of its transaction must show."""

    event: str
    path: str
    """Field of the payload, nested ones joined by full stops."""


class BusinessMapping(Struct, frozen=True, kw_only=True):
    """What is reconciled with one channel."""

    schema: str = "public"
    tables: tuple[Table, ...]
    placeholders: tuple[str, ...] = ("", "pending-%", "PENDING-%")
    """Patterns of LIKE: a hash that matches one stands for none yet."""
    chaincodes: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    """A VALID transaction of these chaincodes and functions (of any function, if none is named) must have a row."""
    amounts: tuple[EventAmount, ...] = ()
    missing_rows: bool = True
    """Whether transactions without a row are looked for."""


KINDLEDGER: Final = BusinessMapping(
    tables=(
        Table(
            name="transactions",
            hash="tx_hash",
            status="status",
            block="block_number",
            confirmed_at="confirmed_at",
            created_at="created_at",
            amount="amount",
            campaign="campaign_id",
        ),
        Table(
            name="donations",
            hash="blockchain_tx_hash",
            status="status",
            confirmed_at="confirmed_at",
            created_at="donated_at",
            amount="amount",
            campaign="campaign_id",
        ),
        Table(name="campaigns", hash="blockchain_tx_hash", created_at="created_at", campaign="id"),
    ),
    chaincodes=("kindledger",),
    functions=("CreateCampaign", "Donate", "TokenDonate", "Disburse", "UpdateStatus"),
    amounts=(
        EventAmount(event="DonationReceived", path="amount"),
        EventAmount(event="Disbursed", path="amount"),
    ),
)
