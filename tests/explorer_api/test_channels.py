"""The channels that the API shows, their details, and their status."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import AsyncMongoClient, MongoClient

from ledger.mongodb.sync_state import (
    ChannelState,
    DatabaseServer,
    LastError,
    Reconciliation,
    write_sync_state,
)
from tests.explorer_api.support import (
    CHANNEL,
    MOMENT,
    Api,
    append,
    block,
    running_api,
    sync_state,
    transaction,
)


async def test_the_recorded_channel_is_described(
    recorded_api: Api, recorded_database: str, client: AsyncMongoClient[Any]
) -> None:
    rows = (await recorded_api.get("/api/v1/channels")).json["items"]
    assert rows == [
        {
            "name": CHANNEL,
            "height": 136,
            "agreedHeight": 136,
            "verifiedHeight": None,
            "peerHeight": None,
            "lagBlocks": None,
            "state": None,
        }
    ]
    for _ in range(2):  # the second time the totals are known
        detail = await recorded_api.channel()
        database = client[recorded_database]
        assert detail["counts"] == {
            "blocks": await database.blocks.count_documents({}),
            "transactions": await database.transactions_ledger.count_documents({}),
            "valid": await database.transactions_ledger.count_documents({"status": "VALID"}),
            "events": await database.chaincode_events.count_documents({}),
        }
    assert detail["genesisHash"] == (await recorded_api.channel("/blocks/0"))["hash"]
    assert (detail["startBlock"], detail["height"]) == (0, 136)
    assert sorted(org["mspId"] for org in detail["organisations"]) == ["Org1MSP", "Org2MSP"]
    assert [org["mspId"] for org in detail["ordererOrganisations"]] == ["OrdererMSP"]
    assert detail["consensusType"] == "etcdraft"
    assert detail["orderers"][0].keys() >= {"host", "port", "id", "mspId"}
    last_config = await recorded_api.channel(
        f"/blocks/{detail['lastConfigBlock']}", include="transactions"
    )
    assert [row["type"] for row in last_config["transactions"]] == ["CONFIG"]


async def test_an_empty_channel_is_described(api: Api) -> None:
    assert await api.channel() == {
        "name": CHANNEL,
        "height": 0,
        "agreedHeight": 0,
        "verifiedHeight": None,
        "peerHeight": None,
        "lagBlocks": None,
        "state": None,
        "startBlock": None,
        "headHash": None,
        "genesisHash": None,
        "lastConfigBlock": None,
        "organisations": None,
        "ordererOrganisations": None,
        "orderers": None,
        "consensusType": None,
        "counts": {"blocks": 0, "transactions": 0, "valid": 0, "events": 0},
    }
    for route in ("/blocks", "/events"):
        assert await api.channel(route) == {
            "items": [],
            "page": {"next": None, "limit": 50},
            "height": 0,
        }
    assert await api.items("/events", name__eq="Mint") == []


async def test_heights_and_progress_are_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    blocks = [block(n, [transaction(i, f"{n}-{i}") for i in range(4)]) for n in range(7, 10)]
    await append(client, database_name, blocks)
    error = LastError(MOMENT, "the peer is unavailable")
    state = sync_state(peer_height=20, seen_height=12, transactions_per_second=8.0, error=error)
    await write_sync_state(client[database_name], state)

    response = await api.get(f"/api/v1/channels/{CHANNEL}")
    assert (response.headers["Ledger-Height"], response.headers["Ledger-Peer-Height"]) == (
        "10",
        "20",
    )
    assert response.json["counts"]["transactions"] == 12
    assert (response.json["startBlock"], response.json["genesisHash"]) == (7, None)
    (row,) = (await api.get("/api/v1/channels")).json["items"]
    assert row == {
        "name": CHANNEL,
        "height": 10,
        "agreedHeight": 10,
        "verifiedHeight": None,
        "peerHeight": 20,
        "lagBlocks": 10,
        "state": "catching_up",
    }

    status = await api.get("/api/v1/status")
    assert status.headers["Cache-Control"] == "no-store"
    assert status.json["version"] == "1.2.3"
    assert status.json["uptimeSeconds"] >= 0
    assert status.json["channels"] == [
        {
            "name": CHANNEL,
            "state": "catching_up",
            "peer": "peer0.example.com:7051",
            "peerHeight": 20,
            "seenHeight": 12,
            "committedHeight": 10,
            "agreedHeight": 10,
            "verifiedHeight": None,
            "envelopes": None,
            "verificationError": None,
            "peersRequired": 1,
            "peers": None,
            "lagBlocks": 10,
            "transactionsPerSecond": 8.0,
            "etaSeconds": 5.0,
            "indexBuild": None,
            "error": {"at": "2026-01-02T03:04:05.678000Z", "message": "the peer is unavailable"},
            "reconciliation": None,
            "updatedAt": "2026-01-02T03:04:05.678000Z",
        }
    ]
    # the daemon's report is up to a second old: a peer had every stored block
    await write_sync_state(client[database_name], sync_state(peer_height=9, seen_height=9))
    (channel,) = (await api.get("/api/v1/status")).json["channels"]
    heights = [channel[f"{height}Height"] for height in ("peer", "seen", "committed")]
    assert (heights, channel["lagBlocks"], channel["etaSeconds"]) == ([10, 10, 10], 0, 0.0)


async def test_status_shows_the_reconciliation(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    servers = [DatabaseServer("primary", 2, 1, None), DatabaseServer("replica 1", 1, 1, 0.5)]
    error = LastError(MOMENT, "PostgreSQL is unavailable")
    reconciliation = Reconciliation(ChannelState.WAITING, 1, 7, 2, error, servers)
    await write_sync_state(client[database_name], sync_state(reconciliation=reconciliation))
    (channel,) = (await api.get("/api/v1/status")).json["channels"]
    assert channel["reconciliation"] == {
        "state": "waiting",
        "height": 1,
        "settled": 7,
        "discrepancies": 2,
        "error": {"at": "2026-01-02T03:04:05.678000Z", "message": "PostgreSQL is unavailable"},
        "servers": [
            {"name": "primary", "connections": 2, "idle": 1, "lagSeconds": None},
            {"name": "replica 1", "connections": 1, "idle": 1, "lagSeconds": 0.5},
        ],
        "auditedHeight": None,
        "dueHeight": None,
    }


async def test_a_reindexed_database_is_counted_again(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(n, [transaction(0, f"{n}")]) for n in range(3)])
    assert (await api.channel())["counts"]["transactions"] == 3
    await append(client, database_name, [block(3, [transaction(0, "three")])])
    assert (await api.channel())["counts"]["transactions"] == 4
    await client.drop_database(database_name)
    await append(client, database_name, [block(n, [], previous_hash=b"another") for n in range(5)])
    assert (await api.channel())["counts"] == {
        "blocks": 5,
        "transactions": 0,
        "valid": 0,
        "events": 0,
    }


@pytest.fixture
def foreign_database(mongo_uri: str) -> Iterator[str]:
    """Another application's database that has a collection of the same name."""
    name = f"test_foreign_{uuid4().hex}"
    yield name
    with MongoClient[Any](mongo_uri) as client:
        client.drop_database(name)


async def test_channels_are_discovered(
    client: AsyncMongoClient[Any], database_name: str, foreign_database: str
) -> None:
    channel = f"found.{uuid4().hex}"
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    await write_sync_state(client[database_name], sync_state(channel))
    await client[foreign_database].sync_state.insert_one({"state": "something else's"})
    async with running_api(client, None) as api:
        names = [item["name"] for item in (await api.get("/api/v1/channels")).json["items"]]
        assert channel in names
        assert (await api.get(f"/api/v1/channels/{channel}/transactions/a")).json["txId"] == "a"
        response = await api.problem("/api/v1/channels/nowhere", 404, "channel-not-found")
        assert channel in response.json["hint"]


async def test_a_block_is_visible_as_soon_as_it_is_committed(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    for number in range(10):
        await append(client, database_name, [block(number, [transaction(0, f"tx-{number}")])])
        response = await api.get(f"/api/v1/channels/{CHANNEL}/blocks/latest")
        assert (response.json["number"], response.headers["Ledger-Height"]) == (
            number,
            str(number + 1),
        )
        assert (await api.channel(f"/transactions/tx-{number}"))["block"] == number
