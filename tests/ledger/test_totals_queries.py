"""Totals over a long ledger: their values, their indexes and their cost."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from ledger.documents.code_names import status_name
from ledger.mongodb.totals import BlockTotals, Bucket, ChaincodeTotals, LedgerTotals
from ledger.position import BlockNumber
from tests.ledger import long_ledger
from tests.ledger.long_ledger import BEGAN, LAST, all_transactions
from tests.ledger.query_checks import (
    MIDDLE,
    WHOLE_LEDGER,
    LongLedger,
)


def block_totals(blocks: Sequence[int]) -> BlockTotals:
    transactions = [
        transaction
        for number in blocks
        for transaction in long_ledger.transactions_of_block(number)
    ]
    return BlockTotals(
        len(blocks),
        len(transactions),
        sum(transaction.code == 0 for transaction in transactions),
        sum(transaction.event is not None for transaction in transactions),
        sum(1_000 + number for number in blocks),
    )


def ledger_totals(first: int, last: int) -> LedgerTotals:
    transactions = [
        transaction
        for number in range(first, last + 1)
        for transaction in long_ledger.transactions_of_block(number)
    ]
    chaincodes: dict[str | None, list[int]] = {}
    hours: dict[datetime | None, list[int]] = {}
    for transaction in transactions:
        chaincodes.setdefault(transaction.chaincode, []).append(transaction.block)
    for number in range(first, last + 1):
        ts = long_ledger.block_ts(number)
        hours.setdefault(ts.replace(minute=0, second=0) if ts is not None else None, []).append(
            number
        )
    return LedgerTotals(
        block_totals(range(first, last + 1)),
        Counter(status_name(transaction.code) for transaction in transactions),
        Counter(transaction.type for transaction in transactions),
        Counter(transaction.creator_msp for transaction in transactions),
        {
            name: ChaincodeTotals(len(blocks), min(blocks), max(blocks))
            for name, blocks in chaincodes.items()
        },
        {hour: block_totals(blocks) for hour, blocks in hours.items()},
    )


async def test_totals_of_a_range_are_right(ledger: LongLedger) -> None:
    reader, middle = ledger.reader, BlockNumber(LAST // 2)
    whole = await reader.totals(0, LAST)
    assert whole == ledger_totals(0, LAST)
    assert (await reader.totals(0, middle)).plus(await reader.totals(middle + 1, LAST)) == whole
    assert await reader.totals(5, BlockNumber(4)) == LedgerTotals()
    ledger.queries.take()
    assert await reader.totals(100, BlockNumber(199)) == ledger_totals(100, 199)
    for plan in await ledger.plans():
        assert (plan.indexes, plan.documents) == ({"_id_"}, 100)


async def test_events_are_counted_by_chaincode(ledger: LongLedger) -> None:
    """The events are counted on the index alone, with one scan for each chaincode."""
    for first, last in (WHOLE_LEDGER, MIDDLE, (BlockNumber(LAST - 10), LAST)):
        events = [
            transaction
            for transaction in all_transactions()
            if transaction.event is not None and first <= transaction.block <= last
        ]
        assert await ledger.reader.event_counts(first, last) == Counter(
            transaction.chaincode for transaction in events
        )
        (plan,) = await ledger.plans()
        assert plan.documents == 0
        assert plan.keys <= len(events) + 20


@pytest.mark.parametrize("unit", ["minute", "hour", "day"])
async def test_totals_by_time_are_right(ledger: LongLedger, unit: Any) -> None:
    since, until = BEGAN + timedelta(minutes=30), BEGAN + timedelta(minutes=100)
    lower: dict[str, Any] = {
        "minute": {"second": 0},
        "hour": {"minute": 0},
        "day": {"hour": 0, "minute": 0},
    }[unit]
    blocks: dict[datetime, list[int]] = {}
    for number in range(LAST - 2):
        ts = long_ledger.block_ts(number)
        if ts is not None and since <= ts < until:
            blocks.setdefault(ts.replace(**lower), []).append(number)
    expected = [Bucket(start, block_totals(numbers)) for start, numbers in sorted(blocks.items())]
    assert await ledger.reader.totals_by_time(since, until, unit, BlockNumber(LAST - 3)) == expected
    (plan,) = await ledger.plans()
    assert plan.indexes == {"ts_1_number_1"}
    assert plan.documents == sum(map(len, blocks.values()))
