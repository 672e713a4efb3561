"""Queries of transactions over a long ledger: their results, their indexes and their cost."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from bson.datetime_ms import DatetimeMS
from pymongo import AsyncMongoClient

from ledger.mongodb.paging import Page, Window
from ledger.mongodb.reader import LedgerReader
from ledger.mongodb.transaction_queries import TransactionFilter
from ledger.mongodb.transaction_records import MAX_REPEATS
from ledger.position import BlockNumber, highest_block_below, unpack_position
from tests.ledger import long_ledger
from tests.ledger.long_ledger import BEGAN, LAST, LONG_NAME, all_transactions
from tests.ledger.query_checks import (
    HIDDEN_TRANSACTIONS,
    LIMIT,
    MIDDLE,
    WHOLE_LEDGER,
    LongLedger,
    check_pages,
    check_plans,
    positions_of,
)

ALL_CODES = frozenset(range(256))


@pytest.mark.parametrize(
    "equalities",
    [
        *({}, {"chaincode": "kindledger"}, {"chaincode": "rare"}),
        *({"chaincode": "kindledger", "function": name} for name in ("Donate", "Close", LONG_NAME)),
        *({"creator_msp": "Org1MSP"}, {"creator_msp": "Org3MSP"}),
        *({"type": "ENDORSER_TRANSACTION"}, {"type": "1"}, {"type": "99"}),
    ],
    ids=lambda equalities: " ".join(equalities.values())[:40],
)
async def test_transactions_are_found_by_every_filter(
    ledger: LongLedger, equalities: dict[str, str]
) -> None:
    expected_values = {
        name: "CONFIG" if value == "1" else value for name, value in equalities.items()
    }
    matching = [
        transaction
        for transaction in all_transactions()
        if all(getattr(transaction, name) == value for name, value in expected_values.items())
    ]
    for codes, excluded, blocks in (
        (None, False, WHOLE_LEDGER),
        (None, False, MIDDLE),
        (frozenset({0}), False, MIDDLE),
        (frozenset({10}), False, WHOLE_LEDGER),
        (frozenset({10, 11, 200}), False, MIDDLE),
        (ALL_CODES, False, WHOLE_LEDGER),
        (frozenset({0, 11}), True, WHOLE_LEDGER),
        (ALL_CODES, True, WHOLE_LEDGER),
    ):
        transaction_filter = TransactionFilter(**equalities, codes=codes, excluded=excluded)
        with_codes = [
            transaction
            for transaction in matching
            if codes is None or (transaction.code in codes) != excluded
        ]
        expected = [
            transaction.position
            for transaction in with_codes
            if blocks[0] <= transaction.block <= blocks[1]
        ]
        await check_pages(
            ledger, partial(ledger.reader.transactions, transaction_filter), expected, blocks
        )


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("descending", [False, True])
async def test_large_rows_end_a_page_early(
    mongo: AsyncMongoClient[dict[str, Any]], long_ledger_database: str, descending: bool
) -> None:
    """Rows of different codes come from different queries; no row is skipped."""
    reader = LedgerReader(mongo, long_ledger_database, max_page_bytes=1_000)
    blocks = (BlockNumber(2_000), BlockNumber(3_500))
    transaction_filter = TransactionFilter(codes=ALL_CODES - {0, 9, 11})
    after, positions = None, list[int]()
    expected = positions_of(lambda transaction: transaction.code not in (0, 9, 11), blocks)
    more = True
    while more:
        page = await reader.transactions(
            transaction_filter, *blocks, Window(LIMIT, descending, after)
        )
        assert page.documents
        positions += [document["_id"] for document in page.documents]
        after, more = positions[-1], page.more
    assert positions == sorted(expected, reverse=descending)


async def test_a_filter_of_transactions_without_an_index_is_refused(ledger: LongLedger) -> None:
    for transaction_filter in (
        TransactionFilter(function="Donate"),
        TransactionFilter(chaincode="kindledger", creator_msp="Org1MSP"),
        TransactionFilter(creator_msp="Org1MSP", type="CONFIG"),
    ):
        with pytest.raises(ValueError, match="no index"):
            await ledger.reader.transactions(
                transaction_filter, 0, LAST, Window(1, descending=False)
            )


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (None, BEGAN + timedelta(hours=2)),
        (BEGAN + timedelta(hours=2), None),
        (BEGAN, BEGAN + timedelta(minutes=2)),
    ],
)
async def test_transactions_and_blocks_are_found_by_time(
    ledger: LongLedger, since: datetime | None, until: datetime | None
) -> None:
    """Hundreds of transactions have the same time, some none, and some a time far in the future."""
    bounds = [DatetimeMS(bound) if bound is not None else None for bound in (since, until)]

    def within(ts: datetime | None) -> bool:
        return ts is not None and (since is None or ts >= since) and (until is None or ts < until)

    transactions = [
        (transaction.ts, transaction.position)
        for transaction in all_transactions()
        if transaction.visible and within(transaction.ts)
    ]
    blocks = [
        (ts, number) for number in range(LAST + 1) if within(ts := long_ledger.block_ts(number))
    ]
    for read, timed in (
        (ledger.reader.transactions_by_time, transactions),
        (ledger.reader.blocks_by_time, blocks),
    ):
        for descending in (False, True):
            order = sorted(timed, reverse=descending)
            for start in (0, 7, len(order) // 2, len(order) - 5):
                after_ts, after = order[start - 1] if start else (None, None)
                page = await read(
                    bounds[0], bounds[1], LAST, Window(LIMIT, descending, after), after_ts
                )
                keys = [document["_id"] for document in page.documents]
                assert keys == [key for _, key in order[start : start + LIMIT]]
                assert page.more == (len(order) > start + LIMIT)
                await check_plans(ledger, extra=HIDDEN_TRANSACTIONS)


async def test_the_transactions_of_a_block_are_found(ledger: LongLedger) -> None:
    async def read(first: BlockNumber, _last: BlockNumber, window: Window) -> Page:
        return await ledger.reader.block_transactions(first, window)

    await check_pages(
        ledger,
        read,
        [transaction.position for transaction in long_ledger.transactions_of_block(777)],
        (BlockNumber(777), BlockNumber(777)),
    )
    rows = await ledger.reader.transaction_rows(777)
    assert [row["txId"] for row in rows] == [
        transaction.tx_id for transaction in long_ledger.transactions_of_block(777)
    ]


async def test_a_transaction_is_read_with_one_query(ledger: LongLedger) -> None:
    reader = ledger.reader
    repeated = next(
        transaction.claimed for transaction in all_transactions() if transaction.claimed is not None
    )
    repeats = [
        transaction.position
        for transaction in all_transactions()
        if transaction.visible and transaction.claimed == repeated
    ]
    owner = next(transaction for transaction in all_transactions() if transaction.tx_id == repeated)
    record = await reader.transaction_record(str(repeated), LAST)
    assert record is not None
    assert (record.transaction["_id"], record.event) == (owner.position, None)
    assert [repeat["_id"] for repeat in record.repeats] == repeats[:MAX_REPEATS]
    below = highest_block_below(owner.block)
    assert await reader.transaction_record(str(repeated), below) is None
    donation = next(
        transaction
        for transaction in all_transactions()
        if transaction.event is not None and transaction.number > 100_000
    )
    ledger.queries.take()
    by_id = await reader.transaction_record(str(donation.tx_id), LAST)
    (plan,) = await ledger.plans()
    assert plan.indexes == {"txId_1", "claimedTxId_1__id_1"}
    assert plan.documents == 2
    by_position = await reader.transaction_record_at(*unpack_position(donation.position))
    assert by_id == by_position
    assert by_id is not None
    assert by_id.event is not None
    assert (by_id.event["_id"], by_id.repeats) == (donation.position, [])
    assert await reader.owner_position(str(donation.tx_id), LAST) == donation.position
    hidden = next(
        transaction
        for transaction in all_transactions()
        if not transaction.visible and transaction.claimed is None
    )
    assert await reader.transaction_record(str(hidden.tx_id), LAST) is None
    assert await reader.owner_position(str(hidden.tx_id), LAST) is None


async def test_transactions_are_found_by_the_beginning_of_their_id(ledger: LongLedger) -> None:
    hidden = next(
        str(transaction.tx_id)
        for transaction in all_transactions()
        if not transaction.visible and transaction.claimed is None
    )
    for prefix in ("0000", "8", "ffff", "zz", hidden[:9]):
        visible = (
            str(transaction.tx_id)
            for transaction in all_transactions()
            if transaction.visible and transaction.claimed is None
        )
        expected = sorted(tx_id for tx_id in visible if tx_id.startswith(prefix))[:LIMIT]
        rows = await ledger.reader.transactions_by_id_prefix(prefix, LAST, LIMIT)
        assert [row["txId"] for row in rows] == expected
        await check_plans(ledger, extra=HIDDEN_TRANSACTIONS)


async def test_chaincode_definitions_are_found(ledger: LongLedger) -> None:
    expected = positions_of(
        lambda transaction: transaction.chaincode == "_lifecycle" and transaction.code == 0,
        WHOLE_LEDGER,
    )
    for name, positions in ((None, expected), ("kindledger", expected), ("token", [])):
        definitions = await ledger.reader.chaincode_definitions(LAST, name)
        assert [definition["_id"] for definition in definitions] == positions
        await check_plans(ledger)
