"""Which business rows the applications write for a block's transactions, and when: in time, late, or mistaken."""

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum, auto
from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from devnet.application.initial_rows import DONORS, OWNERS, key
from devnet.forge.forger import ForgedBlock
from devnet.forge.gateway import Submission
from devnet.forge.random_stream import RandomStream
from protos.transaction_pb2 import DUPLICATE_TXID, VALID

LONGEST_DELAY = 3
"""Blocks until the last row of a block is written."""

_LATE_SHARE = 1 / 12
_HASH_LATER_SHARE = 1 / 3
_RESPELLED_SHARE = 1 / 24
_MISTAKEN_SHARE = 1 / 60
"""Of donations, which makes one in half a minute at a block a second."""
_CONFIRMED_BY_HAND_SHARE = 1 / 8
"""Of the transactions that fail, which makes about one a minute."""
_TOO_MUCH = 1_000

_TYPES = {
    "CreateCampaign": "CREATE_CAMPAIGN",
    "Donate": "DONATE",
    "TokenDonate": "DONATE",
    "Disburse": "DISBURSE",
    "UpdateStatus": "UPDATE_STATUS",
}


class TransactionRow(NamedTuple):
    """A row of `transactions`; its campaign may have no row of its own."""

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
    """A row of `campaigns`."""

    id: str
    name: str
    owner_id: UUID
    organization_id: UUID | None
    goal_amount: Decimal
    created_at: datetime
    blockchain_tx_hash: str


class DonationRow(NamedTuple):
    """A PENDING row of `donations`; it can only be written if its campaign has a row."""

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
    """The hash for a donation's row that was written without one."""

    id: UUID
    blockchain_tx_hash: str


Row = TransactionRow | CampaignRow | DonationRow | DonationHash


class ScheduledRow(NamedTuple):
    """A row, and how many blocks the chain has when it is written."""

    due: int
    row: Row


class Mistake(Enum):
    """What an application does wrong, so that reconciliation has something to report."""

    OTHER_AMOUNT = auto()
    """The donation's row shows more than was given."""
    CONFIRMED_BY_HAND = auto()
    """Somebody set the transaction's row to CONFIRMED, in the wrong block, whatever the ledger decides."""
    NEVER_SUBMITTED = auto()
    """The donation's row has the hash of an attempt that never reached the network."""
    PAYMENT_REFERENCE = auto()
    """The donation's row has its payment reference where the hash belongs."""
    NO_ROW = auto()
    """The transaction was submitted and written down nowhere."""


_ANY_MISTAKE = tuple(Mistake)


def rows_of_block(block: ForgedBlock, at: datetime) -> Iterator[ScheduledRow]:
    """What the applications write for the transactions of `block`, submitted at `at`. Equal blocks give equal keys.

    They know a transaction's id before they submit it, so most rows are due at the block's number: while it is still
    to come. The others follow at most LONGEST_DELAY blocks later. A resubmitted envelope has its rows already.
    """
    for submission in block.submissions:
        if submission.function in _TYPES and submission.tx_id and submission.code != DUPLICATE_TXID:
            yield from _rows_of_transaction(submission, block.number, at)


def mistake_of(submission: Submission) -> Mistake | None:
    """The mistake that is made with a business transaction, decided by its id."""
    random = RandomStream(f"mistake/{submission.tx_id}")
    if submission.code != VALID:
        return Mistake.CONFIRMED_BY_HAND if random.chance(_CONFIRMED_BY_HAND_SHARE) else None
    donation = _TYPES[submission.function] == "DONATE"
    return random.pick(_ANY_MISTAKE) if donation and random.chance(_MISTAKEN_SHARE) else None


def _rows_of_transaction(
    submission: Submission, number: int, at: datetime
) -> Iterator[ScheduledRow]:
    mistake = mistake_of(submission)
    if mistake is Mistake.NO_ROW:
        return
    random = RandomStream(f"books/{submission.tx_id}")
    later = number + 1 + random.below(LONGEST_DELAY)
    due = later if random.chance(_LATE_SHARE) else number
    transaction = _transaction(submission, at)
    if mistake is Mistake.CONFIRMED_BY_HAND:
        transaction = transaction._replace(
            status="CONFIRMED", block_number=number - 1, confirmed_at=at
        )
    yield ScheduledRow(due, transaction)
    if submission.function == "CreateCampaign" and submission.code == VALID:
        yield ScheduledRow(
            number, _campaign(submission, at, random)
        )  # never late: donations need it
    elif transaction.transaction_type == "DONATE":
        donation = _donation(submission, at, random)
        if mistake is Mistake.OTHER_AMOUNT:
            donation = donation._replace(amount=donation.amount + _TOO_MUCH)
        written = _written_hash(donation, submission.tx_id, random, mistake)
        if random.chance(_HASH_LATER_SHARE):
            yield ScheduledRow(due, donation)
            yield ScheduledRow(later, DonationHash(donation.id, written))
        else:
            yield ScheduledRow(due, donation._replace(blockchain_tx_hash=written))


def _transaction(submission: Submission, at: datetime) -> TransactionRow:
    campaign, function = submission.args[0], submission.function
    giver = {
        "Donate": submission.args[1],
        "TokenDonate": submission.args[1],
        "Disburse": campaign,
    }.get(function)
    return TransactionRow(
        id=key(f"transaction/{submission.tx_id}"),
        tx_hash=submission.tx_id,
        campaign_id=campaign,
        transaction_type=_TYPES[function],
        amount=Decimal(submission.args[-1]) if giver else None,
        from_address=giver,
        to_address=campaign if giver != campaign else None,
        raw_data=json.dumps({"function": function, "args": submission.args}, ensure_ascii=False),
        created_at=at,
    )


def _campaign(submission: Submission, at: datetime, random: RandomStream) -> CampaignRow:
    campaign, name, goal = submission.args
    owner = random.pick(OWNERS)
    return CampaignRow(
        campaign, name, owner.id, owner.organization_id, Decimal(goal), at, submission.tx_id
    )


def _donation(submission: Submission, at: datetime, random: RandomStream) -> DonationRow:
    """The row as it is before its hash is known."""
    campaign, donor, amount = submission.args
    return DonationRow(
        id=key(f"donation/{submission.tx_id}"),
        campaign_id=campaign,
        donor_id=random.pick(DONORS).id,
        donor_name=donor,
        amount=Decimal(amount),
        payment_method="TOKEN" if submission.function == "TokenDonate" else "BANK_TRANSFER",
        payment_reference=f"pay-{submission.tx_id[:12]}",
        donated_at=at,
        blockchain_tx_hash=None,
    )


def _written_hash(
    donation: DonationRow, tx_id: str, random: RandomStream, mistake: Mistake | None
) -> str:
    """The donation's hash as the application writes it: seldom with 0x, in capitals or both; or a mistaken one."""
    match mistake:
        case Mistake.NEVER_SUBMITTED:
            return sha256(f"abandoned/{tx_id}".encode()).hexdigest()
        case Mistake.PAYMENT_REFERENCE:
            return donation.payment_reference
    respelled = (tx_id.upper(), f"0x{tx_id}", f"0x{tx_id.upper()}")
    return random.pick(respelled) if random.chance(_RESPELLED_SHARE) else tx_id
