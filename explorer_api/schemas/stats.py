"""Statistics of a channel: totals over all its blocks, and totals over time."""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

Metric = Literal["transactions", "valid", "blocks", "events", "bytes"]
Interval = Literal["minute", "hour", "day"]


class StatusTotal(Struct, frozen=True):
    """The number of transactions with a validation code."""

    status: str
    code: int | None
    transactions: int


class TypeTotal(Struct, frozen=True):
    """The number of transactions of a header type, which is null if it could not be decoded."""

    type: str | None
    transactions: int


class OrganisationTotal(Struct, frozen=True, rename="camel"):
    """The number of transactions of an organisation's clients.

    `msp_id` is null for transactions whose creator could not be decoded.
    """

    msp_id: str | None
    transactions: int


class ChaincodeActivity(Struct, frozen=True):
    """The numbers of a chaincode's transactions, and of its events in VALID transactions.

    `name` is null for transactions that name no chaincode.
    """

    name: str | None
    transactions: int
    events: int


class Stats(Struct, frozen=True, rename="camel"):
    """Totals over the blocks below `height`.

    `valid` counts the VALID transactions. Each of the four lists has at most 500 names, those with
    the most transactions, and counts each transaction once. Transactions are counted under null if
    the name has more than 1,024 characters, or if it came after the first 10,000 names.
    `untimed_blocks` counts the blocks without a time: none of their transactions has a valid one.
    """

    height: int
    blocks: int
    transactions: int
    valid: int
    events: int
    bytes: int
    untimed_blocks: int
    statuses: list[StatusTotal]
    types: list[TypeTotal]
    organisations: list[OrganisationTotal]
    chaincodes: list[ChaincodeActivity]


class Point(Struct, frozen=True):
    """The total over the blocks whose time is in the interval that begins at `start`."""

    start: datetime
    value: int


class Series(Struct, frozen=True, rename="camel"):
    """A metric over time, for blocks below `height`.

    `items` has every interval that begins at or after `from` and before `to`, in order. `total` is
    the total over these intervals. The time of a block is the lower median of the times that the
    clients of its transactions claimed. `untimed_blocks` counts the blocks without a time; no
    interval contains them.
    """

    metric: Metric
    interval: Interval
    since: datetime = field(name="from")
    until: datetime = field(name="to")
    items: list[Point]
    total: int
    untimed_blocks: int
    height: int
