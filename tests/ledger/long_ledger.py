"""A long forged ledger for tests of queries.

Everything in a transaction is a function of its number, so that every process knows the ledger
without the database. The ledger has properties that make queries slow: nearly all transactions have
the same chaincode, all validation codes occur and some are rare, rare event names occur with a
common campaign, hundreds of transactions have the same time, and some times are far in the future.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from msgspec import Struct

from ledger.position import BlockNumber, pack_position, unpack_position

TRANSACTION_COUNT = 200_000
PER_BLOCK = 10
BLOCK_COUNT = TRANSACTION_COUNT // PER_BLOCK
HIDDEN = 5
"""The number of blocks at the end whose transactions are stored without the block documents.

This state exists while a batch is being written.
"""
LAST = BlockNumber(BLOCK_COUNT - HIDDEN - 1)
"""The highest stored block."""

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LONG_NAME = "f" * 3_000
VALUES: tuple[Any, ...] = (
    *("5", 5, 5.0, 5.5, True, "true", None, "null", {"bigInteger": "123456789012345678901"}),
    *(["5", 5, "x"], [], {"campaignId": 5}, "123456789012345678901"),
)
"""The values of `campaignId` in payloads, besides names of campaigns."""

Json = dict[str, Any]


class ForgedTransaction(Struct, frozen=True, gc=False):
    """What a transaction of the long ledger contains."""

    number: int
    position: int
    tx_id: str | int
    claimed: str | None
    chaincode: str | None
    function: str | bytes | None
    creator_msp: str | None
    type: str
    code: int
    ts: datetime | None
    event: tuple[str, Any] | None
    writes: tuple[tuple[str, str], ...]

    @property
    def block(self) -> int:
        """The number of the transaction's block."""
        return unpack_position(self.position)[0]

    @property
    def visible(self) -> bool:
        """Whether the transaction's block is stored."""
        return self.block <= LAST


@cache
def all_transactions() -> tuple[ForgedTransaction, ...]:
    """Return all transactions by position."""
    return tuple(_transaction(number) for number in range(TRANSACTION_COUNT))


def _transaction(n: int) -> ForgedTransaction:
    block, index = divmod(n, PER_BLOCK)
    position = int(pack_position(block, index))
    config = n % 2_000 == 0
    code = 0 if config else _code(n)
    repeats = code == 9
    chaincode = None if config else _chaincode(n)
    return ForgedTransaction(
        number=n,
        position=position,
        tx_id=position if repeats else _tx_id(n),
        claimed=_tx_id(n - n % 7_000) if repeats else None,
        chaincode=chaincode,
        function=None if config else _function(n),
        creator_msp=None
        if n % 997 == 0
        else "Org3MSP"
        if n % 40_009 == 1
        else "Org2MSP"
        if n % 10 == 3
        else "Org1MSP",
        type="CONFIG" if config else "99" if n % 50_021 == 3 else "ENDORSER_TRANSACTION",
        code=code,
        ts=_ts(n),
        event=_event(n) if code == 0 and chaincode is not None and n % 4 else None,
        writes=() if config else _writes(n),
    )


def _tx_id(n: int) -> str:
    return f"{n * 2_654_435_761 % 2**32:08x}{n:056x}"


def _code(n: int) -> int:
    if n in (17, 100_003, 199_001):
        return 10
    if n % 500 == 250:
        return n // 500 % 256
    return 11 if n % 10 == 9 else 0


def _chaincode(n: int) -> str:
    if n % 66_601 == 7:
        return "rare"
    return "_lifecycle" if n % 45_007 == 11 else "token" if n % 100 == 51 else "kindledger"


def _function(n: int) -> str | bytes | None:
    if n % 45_007 == 11:
        return "CommitChaincodeDefinition"
    match n % 30_011:
        case 5:
            return LONG_NAME
        case 6:
            return b"\xff\xfe"
        case 7:
            return None
        case 8:
            return "Close"
    return "Transfer" if n % 7 == 3 else "Donate"


def _ts(n: int) -> datetime | None:
    if n % 1_009 == 5:
        return None
    if n % 1_013 == 5:
        return datetime(9_000 + n % 900, 1, 1, tzinfo=UTC)
    return BEGAN + timedelta(seconds=n // 400 * 60)


def _event(n: int) -> tuple[str, Any]:
    name = "Closed" if n % 20_011 == 1 else "Transferred" if n % 7 == 3 else "DonationReceived"
    if n % 97 == 1:
        return name, "not JSON"
    if n % 89 == 1:
        return name, [{"campaignId": f"c{n % 50}"}, {"amount": n}]
    if n % 83 == 1:
        return name, {"campaignId": VALUES[n // 83 % len(VALUES)]}
    return name, {
        "campaignId": "common" if n % 5 else f"c{n % 1_000}",
        "amount": n,
        "donor": {"id": n % 3_000},
    }


def _writes(n: int) -> tuple[tuple[str, str], ...]:
    writes = [("kindledger", f"donation:{n}")]
    if n % 3 == 1:
        writes.append(("kindledger", "total"))
    if n % 25_013 == 2:
        writes += [("token", "total"), ("kindledger", "\0donor\0An\0"), ("kindledger", "")]
    return tuple(writes)


def transactions_of_block(number: int) -> tuple[ForgedTransaction, ...]:
    """Return the transactions of a block."""
    return all_transactions()[number * PER_BLOCK : (number + 1) * PER_BLOCK]


def block_ts(number: int) -> datetime | None:
    """Return the time of a block."""
    return None if number % 500 == 3 else BEGAN + timedelta(seconds=number * PER_BLOCK // 400 * 60)
