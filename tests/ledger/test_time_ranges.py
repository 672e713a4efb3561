"""The blocks of a range of times: found by the index alone, whatever clients' clocks say."""

from datetime import datetime, timedelta

import pytest

from ledger.mongodb.block_range import BlockRange
from ledger.mongodb.time_ranges import blocks_of_times
from ledger.position import BlockNumber
from tests.ledger.long_ledger import BEGAN, LAST, all_transactions
from tests.ledger.query_checks import LongLedger

HOUR = timedelta(hours=1)
STORED = BlockRange(BlockNumber(0), LAST)
ABSURD = max(each.ts for each in all_transactions() if each.ts is not None)
"""A time of a wrong clock, far in the future."""


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (BEGAN + HOUR, BEGAN + 2 * HOUR),
        (None, BEGAN + HOUR),
        (BEGAN + HOUR, None),
        (ABSURD, ABSURD + HOUR),
        (BEGAN - 2 * HOUR, BEGAN - HOUR),
    ],
)
async def test_the_blocks_of_a_range_of_times(
    ledger: LongLedger, since: datetime | None, until: datetime | None
) -> None:
    """No transaction of the range is in a lower or a higher block than those that are found."""
    numbers = [
        each.block
        for each in all_transactions()
        if each.ts is not None
        and each.block <= LAST
        and (since is None or each.ts >= since)
        and (until is None or each.ts < until)
    ]
    found = await blocks_of_times(ledger.store.database, since, until, STORED)
    assert (found and (found.lowest, found.highest)) == (
        (min(numbers), max(numbers)) if numbers else None
    )
    del ledger.queries.sent[1:]  # further batches of the same query
    (plan,) = await ledger.plans()
    assert (plan.indexes, plan.documents) == ({"ts_1__id_1"}, 0)
