"""Lists of transactions, compared with a scan of the whole ledger."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from msgspec.structs import replace
from pymongo import AsyncMongoClient

from ledger.model import Identity
from protos import common_pb2 as common
from tests.explorer_api.support import (
    Api,
    C,
    Json,
    append,
    block,
    running_api,
    transaction,
    with_event,
)

MVCC_READ_CONFLICT = 11

FILTERS: list[tuple[Json, Callable[[Json], bool]]] = [
    ({}, lambda _: True),
    ({"chaincode": "token"}, lambda row: row["chaincode"] == "token"),
    (
        {"chaincode": "token", "function": "Mint"},
        lambda row: row["chaincode"] == "token" and row["function"] == "Mint",
    ),
    ({"creatorMsp": "Org1MSP"}, lambda row: row["creatorMsp"] == "Org1MSP"),
    ({"type": "CONFIG"}, lambda row: row["type"] == "CONFIG"),
    ({"status.eq": "MVCC_READ_CONFLICT"}, lambda row: row["status"] == "MVCC_READ_CONFLICT"),
    ({"status.eq": "11"}, lambda row: row["validationCode"] == 11),
    ({"status.ne": "VALID"}, lambda row: row["status"] != "VALID"),
    (
        {"status.in": "MVCC_READ_CONFLICT,PHANTOM_READ_CONFLICT"},
        lambda row: row["status"] in ("MVCC_READ_CONFLICT", "PHANTOM_READ_CONFLICT"),
    ),
    (
        {"status.ni": "VALID,MVCC_READ_CONFLICT", "block.ge": 10},
        lambda row: row["status"] not in ("VALID", "MVCC_READ_CONFLICT") and row["block"] >= 10,
    ),
    (
        {"chaincode": "token", "status.ne": "VALID", "block.le": 90},
        lambda row: row["chaincode"] == "token" and row["status"] != "VALID" and row["block"] <= 90,
    ),
    ({"chaincode": "nowhere"}, lambda _: False),
]


@pytest.fixture
async def everything(recorded_api: Api, parsed: list[common.Block]) -> list[Json]:
    """Return every row of the recorded ledger in order: one for each envelope in its blocks."""
    rows = await recorded_api.items("/transactions", limit=500, order="asc")
    positions = [
        (message.header.number, index)
        for message in parsed
        for index in range(len(message.data.data))
    ]
    assert [(row["block"], row["txIndex"]) for row in rows] == positions
    return rows


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_every_filter_gives_the_same_as_a_scan_of_the_ledger(
    recorded_api: Api, everything: list[Json], order: str
) -> None:
    for filters, matches in FILTERS:
        expected = [row for row in everything if matches(row)]
        limit = 7 if len(expected) < 50 else 200
        items = await recorded_api.items("/transactions", limit=limit, order=order, **filters)
        assert items == (expected if order == "asc" else expected[::-1]), filters
    assert sum(row["status"] != "VALID" for row in everything) > 20, (
        "the ledger has what the filters look for"
    )


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_transactions_are_listed_by_the_clients_time(
    recorded_api: Api, everything: list[Json], order: str
) -> None:
    timed = sorted(
        (row for row in everything if row["ts"] is not None),
        key=lambda row: (row["ts"], row["block"], row["txIndex"]),
    )
    since, until = timed[100]["ts"], timed[400]["ts"]
    expected = [row for row in timed if since <= row["ts"] < until]
    items = await recorded_api.items(
        "/transactions", limit=33, order=order, **{"ts.ge": since, "ts.lt": until}
    )
    assert items == (expected if order == "asc" else expected[::-1])


async def test_the_transactions_of_a_block_are_shown(
    recorded_api: Api, everything: list[Json]
) -> None:
    number = max(everything, key=lambda row: row["txIndex"])["block"]
    expected = [row for row in everything if row["block"] == number]
    assert await recorded_api.items(f"/blocks/{number}/transactions", limit=4) == expected
    response = await recorded_api.get(f"{C}/blocks/{number}/transactions")
    assert "immutable" in response.headers["Cache-Control"]
    for row in expected[:10]:
        detail = await recorded_api.channel(f"/blocks/{number}/transactions/{row['txIndex']}")
        assert {name: detail[name] for name in row} == row
        assert detail["repeats"] is None
        if row["txId"] is not None:
            whole = await recorded_api.channel(f"/transactions/{row['txId']}")
            assert whole | {"repeats": None} == detail
    await recorded_api.problem(
        f"{C}/blocks/{number}/transactions/{len(expected)}", 404, "transaction-not-found"
    )
    await recorded_api.problem(f"{C}/blocks/{number}/transactions/-1", 400, "invalid-parameter")
    await recorded_api.problem(f"{C}/blocks/9999/transactions", 404, "block-not-found")


async def test_the_latest_block_is_paged_while_blocks_arrive(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(
        client,
        database_name,
        [block(0, []), block(1, [transaction(i, f"1.{i}") for i in range(5)])],
    )
    cursor = (await api.channel("/blocks/latest/transactions", limit=2))["page"]["next"]
    await append(client, database_name, [block(2, [transaction(i, f"2.{i}") for i in range(5)])])
    later = await api.channel("/blocks/latest/transactions", limit=2, cursor=cursor)
    assert ([row["txId"] for row in later["items"]], later["height"]) == (["1.2", "1.3"], 2)
    rest = await api.channel("/blocks/latest/transactions", cursor=later["page"]["next"])
    assert [row["txId"] for row in rest["items"]] == ["1.4"]
    other = (await api.channel("/transactions", limit=2))["page"]["next"]
    for wrong in (other, "x"):
        await api.problem(f"{C}/blocks/latest/transactions?cursor={wrong}", 400, "invalid-cursor")


@pytest.mark.parametrize(
    ("query", "name", "parameter"),
    [
        ("transactions?function=Mint", "filter-not-indexed", "function"),
        ("transactions?chaincode=token&creatorMsp=Org1MSP", "filter-not-indexed", "creatorMsp"),
        ("transactions?type=CONFIG&chaincode=token", "filter-not-indexed", "type"),
        (
            "transactions?ts.ge=2020-01-01T00:00:00Z&status.ne=VALID",
            "filter-not-indexed",
            "status.ne",
        ),
        ("transactions?ts.ge=2020-01-01T00:00:00Z&block.ge=1", "filter-not-indexed", "block.ge"),
        ("transactions?status.eq=VALID&status.ne=VALID", "invalid-parameter", "status.ne"),
        ("transactions?status.eq=valid", "invalid-parameter", "status.eq"),
        ("transactions?status.eq=256", "invalid-parameter", "status.eq"),
        ("transactions?status.in=VALID,VALID", "invalid-parameter", "status.in"),
        ("transactions?status=VALID&status.ne=VALID", "invalid-parameter", "status.ne"),
        ("transactions?status=valid", "invalid-parameter", "status"),
        ("transactions?status=VALID&status.eq=VALID", "repeated-parameter", "status.eq"),
        ("transactions?chaincode.eq=a&creatorMsp.eq=b", "filter-not-indexed", "creatorMsp.eq"),
        ("transactions?function.eq=Mint", "filter-not-indexed", "function.eq"),
        ("events?name.eq=a&name=a", "repeated-parameter", "name"),
        ("events?chaincode.eq=token&txId.eq=x", "filter-not-indexed", "txId.eq"),
        ("events?chaincode.eq=token&payload.campaignId=x", "filter-not-indexed", "chaincode.eq"),
        ("events?chaincode=token&txId=x", "filter-not-indexed", "txId"),
        ("events?chaincode=token&payload.campaignId=x", "filter-not-indexed", "chaincode"),
        ("events?payload.campaignId=x&payload.amount=1", "filter-not-indexed", "payload.amount"),
        ("events?payload.amount=1", "filter-not-indexed", "payload.amount"),
        ("events?payload.=1", "invalid-parameter", "payload."),
    ],
)
async def test_wrong_filters_and_combinations_are_refused(
    recorded_api: Api, query: str, name: str, parameter: str
) -> None:
    response = await recorded_api.problem(f"{C}/{query}", 400, name)
    assert response.json["parameter"] == parameter


async def test_a_transaction_is_found_in_any_channel(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    names = {"one": f"{database_name}1", "two/é": f"{database_name}2", "empty": f"{database_name}3"}
    creator = Identity("Org1MSP", "x509", "CN=a", "ab")
    await append(
        client,
        names["one"],
        [block(0, [transaction(0, "here", creator=creator), transaction(1, "both/ü")])],
    )
    await append(
        client, names["two/é"], [block(0, [transaction(0, "there"), transaction(1, "both/ü")])]
    )
    try:
        async with running_api(client, names) as api:
            for tx_id, channel in (("here", "one"), ("there", "two/é")):
                body = (await api.get(f"/api/v1/transactions/{tx_id}")).json
                assert (
                    body
                    == (
                        await api.get(
                            f"/api/v1/channels/{quote(channel, safe='')}/transactions/{tx_id}"
                        )
                    ).json
                )
            both = await api.get(f"/api/v1/transactions/{quote('both/ü', safe='')}", 300)
            await api.get(
                f"/api/v1/transactions/{quote('both/ü', safe='')}", 300, {"If-None-Match": "*"}
            )
            assert [item["channel"] for item in both.json["items"]] == ["one", "two/é"]
            for item in both.json["items"]:
                assert (await api.get(item["href"])).json["txId"] == "both/ü"
            await api.problem("/api/v1/transactions/nowhere", 404, "transaction-not-found")
            await api.problem("/api/v1/transactions/%FF", 400, "malformed-tx-id")
    finally:
        for name in names.values():
            await client.drop_database(name)


async def test_events_are_found_by_a_field_of_the_payload(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The value matches the same text, and the number, truth value or null that it spells."""
    values = [
        '"camp-1"',
        '"1"',
        "1",
        "1.0",
        "true",
        '"true"',
        "12345678901234567890123",
        "null",
        '["camp-1"]',
        "{}",
    ]
    transactions_by_value = {
        "camp-1": [0, 8],
        "1": [1, 2, 3],
        "true": [4, 5],
        "12345678901234567890123": [6],
        "null": [7],
        "x": [],
    }
    names = ["DonationReceived", "CampaignCreated"]
    events = [
        with_event(i, f"t{i}", names[i % 2], f'{{"campaignId": {values[i // 2]}}}'.encode())
        for i in range(20)
    ]
    await append(
        client,
        database_name,
        [block(0, events[:9]), block(1, [replace(e, index=e.index - 9) for e in events[9:]])],
    )
    for text, positions in transactions_by_value.items():
        for name, parity in ((None, (0, 1)), (names[0], (0,)), (names[1], (1,))):
            filters = {"payload.campaignId": text} | ({"name.eq": name} if name else {})
            items = await api.items("/events", order="asc", limit=2, **filters)
            expected = [f"t{2 * position + odd}" for position in positions for odd in parity]
            assert [item["txId"] for item in items] == expected, (text, name)
