"""The blocks that the API shows, one by one and in lists."""

from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from ledger.model import Timestamp
from ledger.mongodb.sync_state import write_sync_state
from protos import common_pb2 as common
from tests.explorer_api.support import Api, C, append, block, sync_state, transaction

BLOCKS = f"{C}/blocks"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_the_list_is_the_chain(
    recorded_api: Api, parsed: list[common.Block], order: str
) -> None:
    pages = await recorded_api.pages("/blocks", limit=50, order=order)
    assert [len(page) for page in pages] == [50, 50, 36]
    rows = [row for page in pages for row in page]
    if order == "desc":
        rows.reverse()
    assert [row["number"] for row in rows] == list(range(136))
    for row, message in zip(rows, parsed, strict=True):
        codes = message.metadata.metadata[common.TRANSACTIONS_FILTER]
        assert row["previousHash"] == message.header.previous_hash.hex()
        assert row["dataHash"] == message.header.data_hash.hex()
        assert row["transactionCount"] == len(message.data.data)
        assert row["validCount"] == codes.count(0)
        assert row["size"] == sum(map(len, message.data.data))
        assert datetime.fromisoformat(row["ts"]).utcoffset() is not None
        assert row["ts"].endswith("Z")
    assert all(row["hash"] == following["previousHash"] for row, following in pairwise(rows))


async def test_blocks_are_listed_by_a_range_of_numbers(recorded_api: Api) -> None:
    rows = await recorded_api.items("/blocks", number__ge=10, number__le=20, limit=3, order="asc")
    assert [row["number"] for row in rows] == list(range(10, 21))
    above = await recorded_api.channel("/blocks", number__ge=136)
    assert above == {"items": [], "page": {"next": None, "limit": 50}, "height": 136}


async def test_a_block_is_found_by_number_by_hash_and_as_the_latest(
    recorded_api: Api, parsed: list[common.Block]
) -> None:
    by_number = await recorded_api.channel("/blocks/135")
    assert by_number == await recorded_api.channel("/blocks/latest")
    assert by_number == await recorded_api.channel(f"/blocks/{by_number['hash']}")
    assert by_number == await recorded_api.channel(f"/blocks/{by_number['hash'].upper()}")
    assert by_number["transactions"] is None
    genesis = await recorded_api.channel("/blocks/0")
    assert (genesis["previousHash"], genesis["commitHash"], genesis["lastConfig"]) == ("", None, 0)
    assert genesis["signers"] == []
    commit = common.Metadata.FromString(parsed[135].metadata.metadata[4]).value
    assert by_number["commitHash"] == commit.hex()
    (signer,) = by_number["signers"]
    assert signer["consenterId"] is None
    assert signer["identity"]["mspId"] == "OrdererMSP"
    assert signer["identity"]["kind"] == "x509"


async def test_a_block_is_shown_with_its_transactions_if_asked_for(
    recorded_api: Api, parsed: list[common.Block]
) -> None:
    for message in parsed:
        number = message.header.number
        body = await recorded_api.channel(f"/blocks/{number}", include="transactions")
        rows = body["transactions"]
        assert [row["txIndex"] for row in rows] == list(range(len(message.data.data)))
        assert [row["validationCode"] for row in rows] == list(message.metadata.metadata[2])
        for row, envelope in zip(rows, message.data.data, strict=True):
            payload = common.Payload.FromString(common.Envelope.FromString(envelope).payload)
            header = common.ChannelHeader.FromString(payload.header.channel_header)
            claimed = row["claimedTxId"] if row["txId"] is None else row["txId"]
            assert claimed == header.tx_id
            assert row["block"] == number


async def test_a_block_that_is_not_stored_is_a_problem(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await api.problem(f"{BLOCKS}/latest", 404, "block-not-found")
    await append(
        client, database_name, [block(n, [transaction(0, f"tx-{n}")]) for n in range(5, 8)]
    )
    await write_sync_state(client[database_name], sync_state(peer_height=10))

    for reference in ("4", "10", "8796093022207", "ab" * 32):
        response = await api.problem(f"{BLOCKS}/{reference}", 404, "block-not-found")
        assert response.headers["Ledger-Height"] == "8"
    for reference in ("8", "9"):
        response = await api.problem(f"{BLOCKS}/{reference}", 404, "block-not-indexed-yet")
        assert int(response.headers["Retry-After"]) > 0
        assert (response.headers["Ledger-Height"], response.headers["Ledger-Peer-Height"]) == (
            "8",
            "10",
        )
        assert (response.json["height"], response.json["peerHeight"]) == (8, 10)
        assert response.headers["Cache-Control"] == "no-store"
    for reference in (
        "-1",
        "007",
        "8796093022208",
        "1e3",
        "0x1",
        "ab",
        "%00",
        "%FF",
        "newest",
        "%C3%A9",
    ):
        response = await api.problem(f"{BLOCKS}/{reference}", 400, "invalid-parameter")
        assert response.json["parameter"] == "block"


async def test_a_range_of_times_orders_by_time(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """No block is repeated or skipped if clocks run back, or if many blocks have the same time."""
    seconds = [100, 300, 200, 200, 200, 200, 200, 100, None, 400, 200, 300, 0, 200]
    blocks = []
    for number, second in enumerate(seconds):
        timestamp = Timestamp(1_750_000_000 + second, 500_000_000) if second is not None else None
        blocks.append(block(number, [transaction(0, f"tx-{number}", timestamp=timestamp)]))
    await append(client, database_name, blocks)
    expected = sorted((s, n) for n, s in enumerate(seconds) if s is not None and 100 <= s < 400)

    span = {"ts.ge": "2025-06-15T15:08:20.5Z", "ts.lt": "2025-06-15T22:13:20.500+07:00"}
    for limit in (1, 2, 3, 4, 5, 6, 500):
        ascending = await api.items("/blocks", limit=limit, order="asc", **span)
        assert [row["number"] for row in ascending] == [number for _, number in expected]
        descending = await api.items("/blocks", limit=limit, **span)
        assert descending == ascending[::-1]
    for since, numbers in (("15:13:20.4991Z", [9]), ("15:13:20.5001Z", [])):
        assert [
            row["number"] for row in await api.items("/blocks", ts__ge=f"2025-06-15T{since}")
        ] == numbers
    response = await api.problem(
        f"{BLOCKS}?ts.ge=2025-06-15T15:08:20Z&number.ge=1", 400, "filter-not-indexed"
    )
    assert response.json["parameter"] == "number.ge"
