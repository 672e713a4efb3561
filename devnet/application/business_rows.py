"""The rows that the business application writes: the fields are the parameters of their SQL."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5


class TransactionRow(NamedTuple):
    """A row of the table `transactions`; its campaign may have no row."""

    id: UUID
    tx_hash: str
    campaign_id: str
    transaction_type: str
    amount: Decimal | None
    from_address: str | None
    to_address: str | None
    raw_data: str
    created_at: datetime
    status: str = "PENDING"
    block_number: int | None = None
    confirmed_at: datetime | None = None


class CampaignRow(NamedTuple):
    """A row of the table `campaigns`."""

    id: str
    name: str
    owner_id: UUID
    organization_id: UUID | None
    goal_amount: Decimal
    created_at: datetime
    blockchain_tx_hash: str


class DonationRow(NamedTuple):
    """A PENDING row of the table `donations`, written only if its campaign has a row."""

    id: UUID
    campaign_id: str
    donor_id: UUID
    donor_name: str
    amount: Decimal
    payment_method: str
    payment_reference: str
    donated_at: datetime
    blockchain_tx_hash: str | None


class DonationHash(NamedTuple):
    """The transaction hash for a donation row that was written without a hash."""

    id: UUID
    blockchain_tx_hash: str


Row = TransactionRow | CampaignRow | DonationRow | DonationHash


def primary_key(name: str) -> UUID:
    """Return the primary key for the object `name`: the same key in every run."""
    return uuid5(NAMESPACE_OID, f"kindledger/{name}")
