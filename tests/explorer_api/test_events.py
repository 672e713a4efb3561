"""The lists of events, and the payloads in them."""

import base64
import json
import random
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.mongodb.collections import EVENTS
from tests.explorer_api.support import Api, C, Json, append, block, with_event

ROUTE = f"{C}/events"


def assert_delivered(items: list[Json], delivered: list[Json]) -> None:
    """Check that the events are those that Fabric's client delivered, in the same order."""
    assert len(items) == len(delivered)
    for item, event in zip(items, delivered, strict=True):
        assert item["block"] == event["blockNumber"]
        assert item["txId"] == event["transactionId"]
        assert item["chaincode"] == event["chaincodeName"]
        assert item["name"] == event["eventName"]
        if item["encoding"] == "json":
            assert item["payload"] == json.loads(event["payload"])
        elif item["encoding"] == "text":
            assert item["payload"] == event["payload"].decode()
        else:
            assert item["encoding"] == "base64"
            assert base64.b64decode(item["payload"]) == event["payload"]


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_all_events_are_those_that_fabrics_client_delivered(
    recorded_api: Api, delivered_events: list[Json], order: str
) -> None:
    items = await recorded_api.items("/events", limit=100, order=order)
    if order == "desc":
        items.reverse()
    assert_delivered(items, delivered_events)
    assert {item["encoding"] for item in items} == {"json", "text", "base64"}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 7, 500])
async def test_events_are_listed_by_name(
    recorded_api: Api, delivered_events: list[Json], order: str, limit: int
) -> None:
    for names in (["QuyênGóp"], ["Mint"], ["Mint", "Transfer", "KeysDeleted"], ["mint"]):
        filters: Json = {"name.eq": names[0]} if len(names) == 1 else {"name.in": ",".join(names)}
        if limit == 1:
            filters |= {"block.ge": 40, "block.le": 60}
        items = await recorded_api.items("/events", limit=limit, order=order, **filters)
        expected = [event for event in delivered_events if event["eventName"] in names]
        if limit == 1:
            expected = [event for event in expected if 40 <= event["blockNumber"] <= 60]
        assert_delivered(items if order == "asc" else items[::-1], expected)


async def test_the_event_of_a_transaction_is_found(
    recorded_api: Api, delivered_events: list[Json]
) -> None:
    event = delivered_events[300]
    tx_id = event["transactionId"]
    assert_delivered(await recorded_api.items("/events", txId=tx_id), [event])
    assert_delivered(
        await recorded_api.items("/events", txId=tx_id, name__eq=event["eventName"]), [event]
    )
    assert await recorded_api.items("/events", txId=tx_id, name__eq="Other") == []
    assert await recorded_api.items("/events", txId=tx_id, block__ge=event["blockNumber"] + 1) == []
    assert await recorded_api.items("/events", txId="") == []


async def test_a_block_full_of_one_name_is_paged_in_its_order(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The order does not depend on the order in which MongoDB received the events."""
    names = ["A", "A", "B", "A", "B, C", "", "A"]
    blocks = [
        block(n, [with_event(i, f"{n}-{i}", names[(i + n) % len(names)], b"") for i in range(15)])
        for n in range(3)
    ]
    await append(client, database_name, blocks)
    events = client[database_name][EVENTS]
    stored = await events.find().to_list()
    random.Random(7).shuffle(stored)
    await events.delete_many({})
    await events.insert_many(stored)

    everything = await api.items("/events", limit=500, order="asc")
    positions = [(item["block"], item["txIndex"]) for item in everything]
    assert positions == [(n, i) for n in range(3) for i in range(15)]
    for filters in ({"name.eq": "A"}, {"name.in": "A,B"}, {"name.eq": "B, C"}, {"name.eq": ""}):
        selected = filters["name.in"].split(",") if "name.in" in filters else [filters["name.eq"]]
        expected = [item for item in everything if item["name"] in selected]
        assert len(expected) > 5
        for limit in (2, 4, 9, 13):
            assert await api.items("/events", limit=limit, order="asc", **filters) == expected
            assert (
                await api.items("/events", limit=limit, order="desc", **filters) == expected[::-1]
            )


async def test_payloads_are_shown_as_they_are_on_the_chain(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    beyond_64_bits = ["-9223372036854775808", {"x": "123456789012345678901234567890"}]
    payloads: list[tuple[bytes, object, str]] = [
        (
            b'{"a.b":{"$c":[1,2.5,true,null]},"":"\\u0000"}',
            {"a.b": {"$c": [1, 2.5, True, None]}, "": "\0"},
            "json",
        ),
        (b"[9007199254740992,-9007199254740992]", [2**53, -(2**53)], "json"),
        (b'{"n":9007199254740993}', {"n": "9007199254740993"}, "json"),
        (
            b'[ -9223372036854775808, {"x": 123456789012345678901234567890} ]',
            beyond_64_bits,
            "json",
        ),
        (b'{"bigInteger":"1"}', {"bigInteger": "1"}, "json"),
        (b"[" * 200 + b"]" * 200, "[" * 200 + "]" * 200, "text"),
        (b"12", "12", "text"),
        (b"", "", "text"),
        ("Quyên góp ✓\0".encode(), "Quyên góp ✓\0", "text"),
        (b"\xff\x00\xfe", "/wD+", "base64"),
        (b'{"half":', '{"half":', "text"),
    ]
    transactions = [
        with_event(i, f"tx-{i}", "E", payload) for i, (payload, _, _) in enumerate(payloads)
    ]
    await append(client, database_name, [block(0, transactions)])

    items = await api.items("/events", order="asc")
    assert [(item["payload"], item["encoding"]) for item in items] == [
        (payload, encoding) for _, payload, encoding in payloads
    ]
    detail = await api.channel("/transactions/tx-0")
    assert detail["event"] == {
        "chaincode": "token",
        "name": "E",
        "payload": payloads[0][1],
        "encoding": "json",
    }


async def test_payloads_that_were_too_large_for_the_store_are_omitted(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    large, half = b"x" * (16 << 20), b'"' + b"y" * (6 << 20) + b'"'
    numbers = b'{"n":[' + b"1," * (2 << 20) + b"1]}"
    payloads = [large, half, half, half, numbers]
    transactions = [with_event(i, f"tx-{i}", "E", payload) for i, payload in enumerate(payloads)]
    await append(client, database_name, [block(0, transactions)])
    pages = await api.pages("/events", order="asc", name__eq="E")
    items = [item for page in pages for item in page]
    assert [item["txIndex"] for item in items] == [0, 1, 2, 3, 4]
    assert items[0]["encoding"] == "omitted"
    assert items[0]["payload"]["size"] == len(large)
    assert items[1]["payload"] == half.decode()
    assert (items[4]["encoding"], items[4]["payload"]) == ("text", numbers.decode())
    assert len(pages) > 1, "a page of many megabytes must end before its limit"


async def test_events_are_listed_by_chaincode(
    recorded_api: Api, delivered_events: list[Json]
) -> None:
    chaincode = delivered_events[0]["chaincodeName"]
    of_chaincode = [event for event in delivered_events if event["chaincodeName"] == chaincode]
    assert_delivered(
        await recorded_api.items("/events", order="asc", limit=200, chaincode=chaincode),
        of_chaincode,
    )
    mints = [event for event in of_chaincode if event["eventName"] == "Mint"]
    assert_delivered(
        await recorded_api.items("/events", order="asc", chaincode=chaincode, name__eq="Mint"),
        mints,
    )
    assert await recorded_api.items("/events", chaincode="nowhere") == []
