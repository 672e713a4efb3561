"""The business rows for the transactions of a block, and when each is written: on time or late.

A few rows are wrong on purpose, so that reconciliation has discrepancies to report.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from hashlib import sha256
from typing import NamedTuple

from devnet.application.business_rows import (
    CampaignRow,
    DonationHash,
    DonationRow,
    Row,
    TransactionRow,
    primary_key,
)
from devnet.application.initial_rows import CAMPAIGN_OWNERS, DONORS
from devnet.forge.forger import ForgedBlock
from devnet.forge.gateway import Submission
from devnet.forge.random_stream import RandomStream
from protos.transaction_pb2 import DUPLICATE_TXID, VALID

MAX_DELAY_BLOCKS = 3
"""The most blocks between a block and the last row that is written for it."""

_LATE_SHARE = 1 / 12
_HASH_LATER_SHARE = 1 / 3
_OTHER_SPELLING_SHARE = 1 / 24
_MISTAKE_SHARE = 1 / 60
"""The share of donations with a mistake: one in half a minute at one block a second."""
_CONFIRMED_BY_HAND_SHARE = 1 / 8
"""The share of failed transactions with a mistake: about one a minute at one block a second."""
_WRONG_AMOUNT_SURPLUS = 1_000

_TRANSACTION_TYPES = {
    "CreateCampaign": "CREATE_CAMPAIGN",
    "Donate": "DONATE",
    "TokenDonate": "DONATE",
    "Disburse": "DISBURSE",
    "UpdateStatus": "UPDATE_STATUS",
}


class ScheduledRow(NamedTuple):
    """A row, and the number of the block in whose interval the row is written."""

    block_number: int
    row: Row


class Mistake(Enum):
    """An error of the application, so that reconciliation has a discrepancy to report."""

    OTHER_AMOUNT = auto()
    """The donation row shows a larger amount than the transaction."""
    CONFIRMED_BY_HAND = auto()
    """The transaction row is already CONFIRMED, with a wrong block number."""
    NEVER_SUBMITTED = auto()
    """The donation row has the hash of a transaction that was never submitted."""
    PAYMENT_REFERENCE = auto()
    """The donation row has its payment reference in the column of the hash."""
    NO_ROW = auto()
    """The transaction has no row at all."""


_MISTAKES = tuple(Mistake)


def rows_of_block(block: ForgedBlock, submitted_at: datetime) -> Iterator[ScheduledRow]:
    """Yield the rows for the transactions of `block`. Equal blocks give equal primary keys.

    The application knows a transaction's id before it submits the transaction, so most rows are
    scheduled for the number of the block itself, before the block exists. The other rows follow
    at most MAX_DELAY_BLOCKS blocks later. A resubmitted envelope gets no second row.
    """
    for submission in block.submissions:
        is_business = submission.function in _TRANSACTION_TYPES and submission.tx_id
        if is_business and submission.code != DUPLICATE_TXID:
            yield from _rows_of_transaction(submission, block.number, submitted_at)


def mistake_of(submission: Submission) -> Mistake | None:
    """Return the mistake in the rows of a business transaction, chosen by the transaction's id."""
    random = RandomStream(f"mistake/{submission.tx_id}")
    if submission.code != VALID:
        return Mistake.CONFIRMED_BY_HAND if random.chance(_CONFIRMED_BY_HAND_SHARE) else None
    is_donation = _TRANSACTION_TYPES[submission.function] == "DONATE"
    return random.pick(_MISTAKES) if is_donation and random.chance(_MISTAKE_SHARE) else None


def _rows_of_transaction(
    submission: Submission, number: int, submitted_at: datetime
) -> Iterator[ScheduledRow]:
    mistake = mistake_of(submission)
    if mistake is Mistake.NO_ROW:
        return
    random = RandomStream(f"rows/{submission.tx_id}")
    later = number + 1 + random.below(MAX_DELAY_BLOCKS)
    scheduled_for = later if random.chance(_LATE_SHARE) else number
    transaction = _transaction_row(submission, submitted_at)
    if mistake is Mistake.CONFIRMED_BY_HAND:
        transaction = transaction._replace(
            status="CONFIRMED", block_number=number - 1, confirmed_at=submitted_at
        )
    yield ScheduledRow(scheduled_for, transaction)
    if submission.function == "CreateCampaign" and submission.code == VALID:
        # A campaign row is never late: the donation rows refer to it.
        yield ScheduledRow(number, _campaign_row(submission, submitted_at, random))
    elif transaction.transaction_type == "DONATE":
        donation = _donation_row(submission, submitted_at, random)
        if mistake is Mistake.OTHER_AMOUNT:
            donation = donation._replace(amount=donation.amount + _WRONG_AMOUNT_SURPLUS)
        written_hash = _written_hash(donation, submission.tx_id, random, mistake)
        if random.chance(_HASH_LATER_SHARE):
            yield ScheduledRow(scheduled_for, donation)
            yield ScheduledRow(later, DonationHash(donation.id, written_hash))
        else:
            yield ScheduledRow(scheduled_for, donation._replace(blockchain_tx_hash=written_hash))


def _transaction_row(submission: Submission, submitted_at: datetime) -> TransactionRow:
    campaign, function = submission.args[0], submission.function
    sender = {
        "Donate": submission.args[1],
        "TokenDonate": submission.args[1],
        "Disburse": campaign,
    }.get(function)
    return TransactionRow(
        id=primary_key(f"transaction/{submission.tx_id}"),
        tx_hash=submission.tx_id,
        campaign_id=campaign,
        transaction_type=_TRANSACTION_TYPES[function],
        amount=Decimal(submission.args[-1]) if sender else None,
        from_address=sender,
        to_address=campaign if sender != campaign else None,
        raw_data=json.dumps({"function": function, "args": submission.args}, ensure_ascii=False),
        created_at=submitted_at,
    )


def _campaign_row(
    submission: Submission, submitted_at: datetime, random: RandomStream
) -> CampaignRow:
    campaign, name, goal = submission.args
    owner = random.pick(CAMPAIGN_OWNERS)
    return CampaignRow(
        id=campaign,
        name=name,
        owner_id=owner.id,
        organization_id=owner.organization_id,
        goal_amount=Decimal(goal),
        created_at=submitted_at,
        blockchain_tx_hash=submission.tx_id,
    )


def _donation_row(
    submission: Submission, submitted_at: datetime, random: RandomStream
) -> DonationRow:
    """Return the donation row without its hash."""
    campaign, donor, amount = submission.args
    return DonationRow(
        id=primary_key(f"donation/{submission.tx_id}"),
        campaign_id=campaign,
        donor_id=random.pick(DONORS).id,
        donor_name=donor,
        amount=Decimal(amount),
        payment_method="TOKEN" if submission.function == "TokenDonate" else "BANK_TRANSFER",
        payment_reference=f"pay-{submission.tx_id[:12]}",
        donated_at=submitted_at,
        blockchain_tx_hash=None,
    )


def _written_hash(
    donation: DonationRow, tx_id: str, random: RandomStream, mistake: Mistake | None
) -> str:
    """Return the hash as the application writes it: rarely with `0x` or in capitals, or wrong."""
    match mistake:
        case Mistake.NEVER_SUBMITTED:
            return sha256(f"abandoned/{tx_id}".encode()).hexdigest()
        case Mistake.PAYMENT_REFERENCE:
            return donation.payment_reference
    other_spellings = (tx_id.upper(), f"0x{tx_id}", f"0x{tx_id.upper()}")
    return random.pick(other_spellings) if random.chance(_OTHER_SPELLING_SHARE) else tx_id
