"""The details of a transaction: they are those on the ledger."""

import asyncio
import base64
import json
from hashlib import sha256
from typing import Any
from urllib.parse import quote

from pymongo import AsyncMongoClient

from explorer_api.options import Options
from ledger.model import (
    CollectionHashes,
    HashedRead,
    HashedWrite,
    Identity,
    MetadataEntry,
    MetadataWrite,
    RangeQuery,
    Read,
    ReadWriteSet,
    Response,
    Timestamp,
    Version,
    Write,
)
from ledger.mongodb.transaction_records import MAX_REPEATS
from protos import common_pb2 as common
from tests.explorer_api.command_recorder import recorded_client
from tests.explorer_api.support import (
    CHANNEL,
    Api,
    C,
    Json,
    action,
    append,
    block,
    running_api,
    transaction,
    with_event,
)

ROUTE = f"{C}/transactions"
MVCC_READ_CONFLICT = 11
DUPLICATE_TXID = 9


async def test_every_recorded_transaction_is_found_by_its_id(
    recorded_api: Api, parsed: list[common.Block]
) -> None:
    seen: set[str] = set()
    for message in parsed[::6]:
        for index, envelope in enumerate(message.data.data):
            payload = common.Payload.FromString(common.Envelope.FromString(envelope).payload)
            header = common.ChannelHeader.FromString(payload.header.channel_header)
            code = message.metadata.metadata[common.TRANSACTIONS_FILTER][index]
            if not header.tx_id or code == DUPLICATE_TXID or header.tx_id in seen:
                continue
            seen.add(header.tx_id)
            detail = await recorded_api.channel(f"/transactions/{header.tx_id}")
            assert (detail["txId"], detail["claimedTxId"]) == (header.tx_id, None)
            assert (detail["block"], detail["txIndex"]) == (message.header.number, index)
            assert detail["validationCode"] == code
            assert detail["envelopeHash"] == sha256(envelope).hexdigest()
            assert detail["timestamp"]["seconds"] == header.timestamp.seconds
            assert detail["ts"].endswith("Z")
            assert detail["errors"] == []
    assert len(seen) > 50


async def test_all_fields_of_a_recorded_transaction_are_shown(
    recorded_api: Api, delivered_events: list[Json]
) -> None:
    mint = next(event for event in delivered_events if event["eventName"] == "Mint")
    detail = await recorded_api.channel(f"/transactions/{mint['transactionId']}")
    assert detail["status"] == "VALID"
    assert detail["type"] == "ENDORSER_TRANSACTION"
    assert (detail["function"], detail["functionEncoding"]) == ("Mint", "text")
    assert all(argument["encoding"] == "text" for argument in detail["args"])
    assert detail["chaincode"] == mint["chaincodeName"]
    assert detail["event"]["payload"] == json.loads(mint["payload"])
    assert detail["creator"]["mspId"] == detail["creatorMsp"]
    assert len(detail["endorsers"]) == 2
    assert len({endorser["fingerprint"] for endorser in detail["endorsers"]}) == 2
    writes = [write for rwset in detail["rwsets"] for write in rwset["writes"]]
    assert writes
    assert all(set(write) == {"key", "value", "encoding", "isDelete"} for write in writes)
    assert detail["response"]["status"] == 200


async def test_every_stored_id_is_found(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """A client can choose any text as the id of an envelope that becomes invalid."""
    ids = [
        "a/b",
        "100%",
        "%2F",
        "%25",
        "%FF",
        "+ +",
        "?x=1&y",
        "#",
        "Ünï✓",
        "\0\x01\n",
        "latest",
        " ",
        "{$ne}",
        "...",
    ]
    ids += ["x" * 5000, "é" * 32768]
    await append(
        client,
        database_name,
        [block(0, [transaction(i, tx_id, 10) for i, tx_id in enumerate(ids)])],
    )
    for index, tx_id in enumerate(ids):
        response = await api.get(f"{ROUTE}/{quote(tx_id, safe='')}")
        assert (response.json["txId"], response.json["txIndex"]) == (tx_id, index)
        assert (await api.channel("/events", txId=tx_id))["items"] == []
    everything_encoded = "".join(f"%{byte:02x}" for byte in ids[-1].encode())
    assert (await api.get(f"{ROUTE}/{everything_encoded}")).json["txIndex"] == len(ids) - 1

    for malformed in ("%FF", "%C3", "a%ED%A0%80b", quote("é" * 32769)):
        response = await api.problem(f"{ROUTE}/{malformed}", 400, "malformed-tx-id")
        assert response.json["parameter"] == "txId"
    await api.problem(f"{ROUTE}/nobody", 404, "transaction-not-found")
    await api.problem(f"{ROUTE}/0", 404, "transaction-not-found")


async def test_an_envelope_that_owns_no_id_shows_the_claimed_id(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    repeated = [
        transaction(0, "same"),
        transaction(1, "same", DUPLICATE_TXID),
        transaction(2, "", 10),
    ]
    await append(
        client,
        database_name,
        [block(0, repeated), block(1, [transaction(0, "same", DUPLICATE_TXID)])],
    )
    detail = await api.channel("/transactions/same")
    assert (detail["block"], detail["txIndex"], detail["status"]) == (0, 0, "VALID")
    assert [(r["block"], r["txIndex"], r["status"]) for r in detail["repeats"]] == [
        (0, 1, "DUPLICATE_TXID"),
        (1, 0, "DUPLICATE_TXID"),
    ]
    rows = (await api.channel("/blocks/0", include="transactions"))["transactions"]
    assert [(row["txId"], row["claimedTxId"]) for row in rows] == [
        ("same", None),
        (None, "same"),
        (None, ""),
    ]
    (repeat,) = (await api.channel("/blocks/1", include="transactions"))["transactions"]
    assert (repeat["txId"], repeat["claimedTxId"], repeat["status"]) == (
        None,
        "same",
        "DUPLICATE_TXID",
    )


async def test_transactions_that_are_requested_together_are_read_together(
    client: AsyncMongoClient[Any], mongo_uri: str, database_name: str
) -> None:
    ids = [f"tx{number}" for number in range(30)]
    first = [with_event(index, tx_id, "Minted", b"{}") for index, tx_id in enumerate(ids)]
    often = [transaction(index, "tx7", DUPLICATE_TXID) for index in range(MAX_REPEATS + 9)]
    once = [transaction(0, "tx8", DUPLICATE_TXID)]
    await append(client, database_name, [block(0, first), block(1, often), block(2, once)])
    uncached = Options(head_age_s=60.0, seconds_per_request=30.0, cache_bytes=0)
    async with (
        recorded_client(mongo_uri) as (recorded, commands),
        running_api(recorded, {CHANNEL: database_name}, uncached) as api,
    ):
        paths = [f"{ROUTE}/{tx_id}" for tx_id in ids]
        one_by_one = [(await api.get(path)).json for path in paths]
        commands.clear()
        together = await asyncio.gather(*map(api.get, paths))
        assert commands.names.count("aggregate") < len(ids)
    assert [response.json for response in together] == one_by_one
    assert [detail["txId"] for detail in one_by_one] == ids
    assert all(detail["event"]["name"] == "Minted" for detail in one_by_one)
    repeats = {detail["txId"]: detail["repeats"] for detail in one_by_one if detail["repeats"]}
    assert repeats.keys() == {"tx7", "tx8"}
    assert [(r["block"], r["txIndex"]) for r in repeats["tx7"]] == [
        (1, index) for index in range(MAX_REPEATS)
    ]


async def test_an_invalid_transaction_shows_its_event(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(
        client, database_name, [block(0, [with_event(0, "a", "Mint", b"\xff", MVCC_READ_CONFLICT)])]
    )
    detail = await api.channel("/transactions/a")
    assert detail["status"] == "MVCC_READ_CONFLICT"
    assert detail["event"] == {
        "chaincode": "token",
        "name": "Mint",
        "payload": "/w==",
        "encoding": "base64",
    }
    assert (await api.channel("/events"))["items"] == []


async def test_all_fields_of_a_forged_transaction_are_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    idemix = Identity("Org1MSP", "idemix", digest="ab" * 32)
    collection = CollectionHashes(
        "secrets",
        (HashedRead(b"\1", Version(3, 4)), HashedRead(b"\2", None)),
        (
            HashedWrite(b"\3", b"\4", is_delete=False, is_purge=False),
            HashedWrite(b"\5", b"", True, True),
        ),
        (MetadataWrite(b"\6", (MetadataEntry("VALIDATION_PARAMETER", b"\xff"),)),),
        b"\7",
    )
    rwset = ReadWriteSet(
        "token",
        (Read("k", Version(2**64 - 1, 2**64 - 1)), Read("\0new\0", None)),
        (Write("k", b"\xff", is_delete=False), Write("gone", b"", is_delete=True)),
        (RangeQuery("a", "", True, (Read("b", Version(1, 0)),), None),),
        (),
        (collection,),
    )
    first = action(
        args=(b"\xff", b"", b"\0text"),
        is_init=True,
        endorsers=(idemix, None),
        response=Response(200, "ok", b"\xfe"),
        rwsets=(rwset,),
    )
    odd = transaction(
        0,
        "odd",
        250,
        type=77,
        timestamp=Timestamp(-(2**63), -1),
        creator=idemix,
        actions=(first, action()),
        errors=("actions.0",),
    )
    await append(client, database_name, [block(0, [odd])])

    detail = await api.channel("/transactions/odd")
    assert (detail["status"], detail["validationCode"], detail["type"]) == ("250", 250, "77")
    assert (detail["ts"], detail["timestamp"]) == (None, {"seconds": -(2**63), "nanos": -1})
    assert (detail["function"], detail["functionEncoding"]) == ("/w==", "base64")
    assert detail["args"] == [
        {"value": "", "encoding": "text"},
        {"value": "\0text", "encoding": "text"},
    ]
    assert detail["isInit"] is True
    identity_body = {
        "mspId": "Org1MSP",
        "kind": "idemix",
        "subject": None,
        "fingerprint": None,
        "digest": "ab" * 32,
    }
    assert detail["creator"] == identity_body
    assert detail["endorsers"] == [identity_body, None]
    encoded_payload = base64.b64encode(b"\xfe").decode()
    assert detail["response"] == {
        "status": 200,
        "message": "ok",
        "payload": encoded_payload,
        "encoding": "base64",
    }
    assert detail["errors"] == ["actions.0"]
    assert len(detail["furtherActions"]) == 1
    (rwset_body,) = detail["rwsets"]
    assert rwset_body["reads"] == [
        {"key": "k", "version": {"block": 2**64 - 1, "tx": 2**64 - 1}},
        {"key": "\0new\0", "version": None},
    ]
    assert rwset_body["writes"] == [
        {"key": "k", "value": "/w==", "encoding": "base64", "isDelete": False},
        {"key": "gone", "value": None, "encoding": None, "isDelete": True},
    ]
    reads = [{"key": "b", "version": {"block": 1, "tx": 0}}]
    query = {"startKey": "a", "endKey": "", "exhausted": True, "reads": reads, "merkle": None}
    assert rwset_body["rangeQueries"] == [query]
    entry = {"name": "VALIDATION_PARAMETER", "value": "/w==", "encoding": "base64"}
    assert rwset_body["collections"] == [
        {
            "collection": "secrets",
            "reads": [
                {"keyHash": "01", "version": {"block": 3, "tx": 4}},
                {"keyHash": "02", "version": None},
            ],
            "writes": [
                {"keyHash": "03", "valueHash": "04", "isDelete": False, "isPurge": False},
                {"keyHash": "05", "valueHash": None, "isDelete": True, "isPurge": True},
            ],
            "metadataWrites": [{"key": "06", "entries": [entry]}],
            "hash": "07",
        }
    ]
