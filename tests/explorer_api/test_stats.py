"""Statistics against the totals of the recorded blocks, and of blocks with forged values."""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from pymongo import AsyncMongoClient

from explorer_api.app import create_app, serve
from explorer_api.options import Options
from ledger.model import Identity, Timestamp
from protos import common_pb2 as common
from tests.explorer_api.recorded_totals import RAFT, UNITS, block_totals, chaincode_of, headers
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    action,
    append,
    block,
    transaction,
    with_event,
)

MVCC_READ_CONFLICT = 11


async def test_the_statistics_are_those_of_the_recorded_ledger(recorded_api: Api) -> None:
    stats = await recorded_api.channel("/stats")
    numbers = range(len(RAFT.blocks))
    txs = [tx for filtered in RAFT.filtered for tx in filtered["txs"]]
    creators = [
        header["signature_header"]["creator"] for number in numbers for header in headers(number)
    ]
    organisations = Counter(
        creator["mspid"] if creator is not None else None for creator in creators
    )
    chaincodes = Counter(
        chaincode_of(number, index) for number in numbers for index in range(len(headers(number)))
    )
    events = Counter(event["chaincodeName"] for event in RAFT.events)
    types = Counter(common.HeaderType.Name(tx["type"]) for tx in txs)

    assert stats["height"] == 136
    for name in ("blocks", "transactions", "valid", "events", "bytes"):
        assert stats[name] == sum(block_totals(number)[name] for number in numbers)
    assert stats["untimedBlocks"] == 0
    statuses = {row["status"]: (row["code"], row["transactions"]) for row in stats["statuses"]}
    assert statuses == {
        name: (code, count)
        for (name, code), count in Counter((tx["validation"], tx["code"]) for tx in txs).items()
    }
    assert {row["type"]: row["transactions"] for row in stats["types"]} == types
    assert {row["mspId"]: row["transactions"] for row in stats["organisations"]} == organisations
    assert {row["name"]: (row["transactions"], row["events"]) for row in stats["chaincodes"]} == {
        name: (count, events[name]) for name, count in chaincodes.items()
    }
    for rows in ("statuses", "types", "organisations", "chaincodes"):
        counts = [row["transactions"] for row in stats[rows]]
        assert counts == sorted(counts, reverse=True)
        assert sum(counts) == stats["transactions"]


@pytest.mark.parametrize("seconds", [-62135596800, 253402300799, None])
async def test_forged_times_and_names_are_counted(
    api: Api, client: AsyncMongoClient[Any], database_name: str, seconds: int | None
) -> None:
    """A head of the year 1 or 9999, or without a time; very long and strange names."""
    when = Timestamp(seconds, 999_999_999) if seconds is not None else None
    long, strange = "l" * 5000, "a\x00\u202e'$where/😀"
    stranger = Identity(strange, "x509", None, None, None)
    await append(
        client,
        database_name,
        [
            block(
                0,
                [
                    with_event(0, "a", "Mint", b"{}"),
                    transaction(1, "b", MVCC_READ_CONFLICT, timestamp=None),
                ],
            ),
            block(1, [transaction(0, "c", 77, type=99, timestamp=None, chaincode_id=None)]),
            block(
                2,
                [
                    transaction(
                        0,
                        "d",
                        254,
                        type=None,
                        timestamp=when,
                        chaincode_id=strange,
                        creator=stranger,
                    ),
                    transaction(1, "e", timestamp=when, chaincode_id=long, actions=(action(),)),
                ],
            ),
        ],
    )
    stats = await api.channel("/stats")
    assert stats["untimedBlocks"] == (1 if when is not None else 2)
    assert {(row["status"], row["code"], row["transactions"]) for row in stats["statuses"]} == {
        *(("VALID", 0, 2), ("MVCC_READ_CONFLICT", 11, 1)),
        *(("77", 77, 1), ("NOT_VALIDATED", 254, 1)),
    }
    assert {row["type"]: row["transactions"] for row in stats["types"]} == {
        "ENDORSER_TRANSACTION": 3,
        "99": 1,
        None: 1,
    }
    assert {row["mspId"]: row["transactions"] for row in stats["organisations"]} == {
        None: 4,
        strange: 1,
    }
    chaincodes = {row["name"]: (row["transactions"], row["events"]) for row in stats["chaincodes"]}
    assert chaincodes == {"token": (2, 1), strange: (1, 0), None: (2, 0)}
    for interval in UNITS:
        series = await api.channel("/stats/series", interval=interval, metric="blocks")
        assert len(series["items"]) > 0
        assert series["untimedBlocks"] == stats["untimedBlocks"]
        if interval == "hour" and seconds is not None:
            is_in_the_last_day = seconds > 253402214400
            assert series["items"][-1]["value"] == (0 if is_in_the_last_day else 1)


async def test_an_empty_channel_has_totals(api: Api) -> None:
    stats = await api.channel("/stats")
    assert {name: value for name, value in stats.items() if value} == {}
    series = await api.channel("/stats/series")
    assert (len(series["items"]), series["total"], series["height"]) == (48, 0, 0)


async def test_requests_are_refused_while_the_totals_are_not_ready(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """Without background tasks they never become ready."""
    await append(client, database_name, [block(n, [transaction(0, f"tx {n}")]) for n in range(3)])
    app = create_app(
        client, {CHANNEL: database_name}, version="1.2.3", options=Options(seconds_per_request=0.5)
    )
    app.cleanup_ctx.clear()
    runner, port = await serve(app, "127.0.0.1", 0)
    try:
        async with aiohttp.ClientSession() as session:
            api = Api(session, f"http://127.0.0.1:{port}")
            paths = [
                f"{C}{path}"
                for path in ("/stats", "/stats/series", "/chaincodes", "/chaincodes/token")
            ]
            for response in await asyncio.gather(
                *(api.problem(path, 503, "totals-not-ready") for path in paths)
            ):
                assert int(response.headers["Retry-After"]) > 0
                assert (response.json["counted"], response.json["blocks"]) == (0, 3)
            detail = await api.channel()
            assert (detail["height"], detail["counts"]) == (3, None)
            results = await api.channel("/search", q="tx 1")
            assert [hit["type"] for hit in results["items"]] == ["transaction"]
            assert results["notSearched"] == ["chaincode"]
    finally:
        await runner.cleanup()
