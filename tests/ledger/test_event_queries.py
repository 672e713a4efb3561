"""Queries of events over a long ledger: their results, their indexes and their cost."""

from functools import partial
from typing import Any

import pytest

from ledger.mongodb.event_queries import EventFilter
from ledger.mongodb.paging import Window
from tests.ledger.long_ledger import LAST, LONG_NAME, ForgedTransaction, all_transactions
from tests.ledger.query_checks import (
    LIMIT,
    MIDDLE,
    WHOLE_LEDGER,
    LongLedger,
    check_pages,
    check_plans,
    positions_of,
)


def in_field(payload: Any, field: str) -> list[Any]:
    """Return the values of a field in a payload, and the elements of values that are lists.

    If the payload is a list, these are the values in its elements; None for an element without it.
    """
    if isinstance(payload, list):
        return [value for item in payload for value in in_field(item, field) or [None]]
    if not isinstance(payload, dict) or field not in payload:
        return []
    value = payload[field]
    return [value, *value] if isinstance(value, list) else [value]


def equals(stored: Any, value: Any) -> bool:
    """Return whether two JSON values are equal; true is not 1."""
    return bool(stored == value) and isinstance(stored, bool) == isinstance(value, bool)


def has_campaign(transaction: ForgedTransaction, *values: Any) -> bool:
    """Return whether the campaign of the event is one of the values."""
    stored = in_field(transaction.event[1], "campaignId") if transaction.event is not None else []
    return any(equals(item, value) for item in stored for value in values)


@pytest.mark.parametrize(
    ("chaincode", "campaign", "value"),
    [
        *((None, None, None), ("kindledger", None, None), ("rare", None, None)),
        *((None, name, None) for name in ("common", "c77", "x", '{"campaignId":5}', "c77 ")),
        *((None, "5", 5), (None, "5.5", 5.5), (None, "5e0", 5), (None, "true", True)),
        (None, "123456789012345678901", {"bigInteger": "123456789012345678901"}),
    ],
)
async def test_events_are_found_by_every_filter(
    ledger: LongLedger, chaincode: str | None, campaign: str | None, value: Any
) -> None:
    values = (campaign,) if value is None else (campaign, value)
    matching = [
        transaction
        for transaction in all_transactions()
        if transaction.event is not None
        and (chaincode is None or transaction.chaincode == chaincode)
        and (campaign is None or has_campaign(transaction, *values))
    ]
    payload = ("campaignId", campaign) if campaign is not None else None
    for names, blocks in (
        (None, WHOLE_LEDGER),
        (None, MIDDLE),
        (("DonationReceived",), MIDDLE),
        (("Closed",), WHOLE_LEDGER),
        (("Closed", "Transferred", LONG_NAME), MIDDLE),
    ):
        event_filter = EventFilter(chaincode, names, None, payload)
        with_names = [
            transaction
            for transaction in matching
            if names is None or (transaction.event is not None and transaction.event[0] in names)
        ]
        expected = [
            transaction.position
            for transaction in with_names
            if blocks[0] <= transaction.block <= blocks[1]
        ]
        await check_pages(
            ledger, partial(ledger.reader.matching_events, event_filter), expected, blocks
        )


async def test_events_whose_field_is_null_are_found(ledger: LongLedger) -> None:
    """A field that an element of a list lacks counts as null; an empty list does not."""
    expected = positions_of(
        lambda transaction: has_campaign(transaction, "null", None), WHOLE_LEDGER
    )
    read = partial(ledger.reader.matching_events, EventFilter(payload=("campaignId", "null")))
    await check_pages(ledger, read, expected, WHOLE_LEDGER, extra=LIMIT)


async def test_the_event_of_a_transaction_is_found(ledger: LongLedger) -> None:
    transaction = next(
        transaction
        for transaction in all_transactions()
        if transaction.event is not None and transaction.number > 50_000
    )
    for names, expected in ((None, [transaction.position]), (("Closed",), [])):
        read = partial(
            ledger.reader.matching_events, EventFilter(tx_id=str(transaction.tx_id), names=names)
        )
        await check_pages(ledger, read, expected, WHOLE_LEDGER, sorts=True)


async def test_it_is_known_which_event_names_occur(ledger: LongLedger) -> None:
    for name, occurs in (
        ("Closed", True),
        ("DonationReceived", True),
        ("Opened", False),
        (LONG_NAME, False),
    ):
        assert await ledger.reader.has_event_name(name, LAST) == occurs
        await check_plans(ledger)


async def test_a_filter_of_events_without_an_index_is_refused(ledger: LongLedger) -> None:
    with pytest.raises(ValueError, match="no index"):
        await ledger.reader.matching_events(
            EventFilter("a", tx_id="b"), 0, LAST, Window(1, descending=False)
        )
