"""The search: blocks, transactions, chaincodes, events and keys that a text names."""

from typing import Any
from urllib.parse import quote

import pytest
from pymongo import AsyncMongoClient

from explorer_api.options import Options
from ledger.model import ReadWriteSet, Transaction, Write
from ledger.mongodb.collections import TRANSACTIONS
from ledger.mongodb.indexes import IndexOptions
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
from tests.ledger.recorded import recorded

RAFT = recorded("raft-2.5")


async def search(api: Api, query: str) -> list[Json]:
    """Return the results of a search, and check that each `href` leads to its object."""
    body = await api.channel("/search", q=query)
    assert body["query"] == query
    for hit in body["items"]:
        target = (await api.get(hit["href"])).json
        match hit["type"]:
            case "block":
                assert (target["number"], target["hash"], target["ts"]) == (
                    hit["number"],
                    hit["hash"],
                    hit["ts"],
                )
            case "transaction":
                for field in ("txId", "block", "txIndex", "status", "chaincode", "ts"):
                    assert target[field] == hit[field]
            case "chaincode":
                assert target["name"] == hit["name"]
            case _:
                assert len(target["items"]) > 0
    return [
        {name: hit[name] for name in hit.keys() - {"href", "ts", "chaincode"}}
        for hit in body["items"]
    ]


async def test_everything_in_the_recorded_ledger_is_found(recorded_api: Api) -> None:
    response = await recorded_api.get(f"{C}/search?q=17")
    assert response.headers["Cache-Control"] == "max-age=10"
    assert (response.json["more"], response.json["notSearched"], response.json["height"]) == (
        [],
        [],
        136,
    )

    for number in (0, 7, 135):
        block_hash = (await recorded_api.channel(f"/blocks/{number}"))["hash"]
        hit = {"type": "block", "number": number, "hash": block_hash}
        assert await search(recorded_api, str(number)) == [hit]
        assert (
            await search(recorded_api, block_hash)
            == await search(recorded_api, block_hash.upper())
            == [hit]
        )

    txs = [
        (n, i, tx)
        for n, filtered in enumerate(RAFT.filtered)
        for i, tx in enumerate(filtered["txs"])
        if tx["txid"]
    ]
    number, index, tx = txs[300]
    hit = {
        "type": "transaction",
        "txId": tx["txid"],
        "block": number,
        "txIndex": index,
        "status": tx["validation"],
    }
    for query in (tx["txid"], tx["txid"][:8], tx["txid"][:40]):
        assert await search(recorded_api, query) == [hit]
    assert await search(recorded_api, tx["txid"][:7]) == []
    assert await search(recorded_api, tx["txid"] + "0") == []

    assert await search(recorded_api, "kindledger") == [{"type": "chaincode", "name": "kindledger"}]
    assert await search(recorded_api, "_life") == [{"type": "chaincode", "name": "_lifecycle"}]
    assert await search(recorded_api, "Mint") == [{"type": "event", "name": "Mint"}]
    assert await search(recorded_api, "Min") == []
    written = next(
        (rwset["namespace"], write["key"])
        for rwset in (
            await recorded_api.channel(f"/transactions/{RAFT.events[0]['transactionId']}")
        )["rwsets"]
        for write in rwset["writes"]
    )
    assert {"type": "key", "namespace": written[0], "key": written[1]} in await search(
        recorded_api, written[1]
    )
    for nothing in ("136", "9" * 16, "f" * 64, "nothing such"):
        assert await search(recorded_api, nothing) == []


@pytest.mark.parametrize("query", ["", "?q="])
async def test_a_search_without_a_text_is_refused(recorded_api: Api, query: str) -> None:
    response = await recorded_api.problem(f"{C}/search{query}", 400, "query-too-short")
    assert response.json["parameter"] == "q"


def writing(index: int, tx_id: str, namespace: str, key: str, code: int = 0) -> Transaction:
    rwset = ReadWriteSet(
        namespace=namespace,
        reads=(),
        writes=(Write(key, b"1", is_delete=False),),
        range_queries=(),
        metadata_writes=(),
        collections=(),
    )
    return transaction(index, tx_id, code, actions=(action(rwsets=(rwset,)),))


async def test_one_text_can_match_every_type(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The text can contain any characters; the exact name is the first result of its type."""
    odd = "12345678/$%\u202e\x00?"
    assert await search(api, odd) == []
    await append(
        client,
        database_name,
        [
            block(
                0,
                [
                    with_event(0, odd, odd, b"{}"),
                    writing(1, "w", "one", odd),
                    writing(2, "invalid", "no", odd, 11),
                ],
            ),
            block(
                1,
                [
                    transaction(0, odd + "more", chaincode_id=odd + "more"),
                    writing(1, "x", "two/😀", odd),
                ],
            ),
            block(2, [transaction(0, "y", chaincode_id=odd), transaction(1, odd, 9)]),
        ],
    )
    hits = await search(api, odd)
    assert hits == [
        {"type": "transaction", "txId": odd, "block": 0, "txIndex": 0, "status": "VALID"},
        {"type": "transaction", "txId": odd + "more", "block": 1, "txIndex": 0, "status": "VALID"},
        {"type": "chaincode", "name": odd},
        {"type": "chaincode", "name": odd + "more"},
        {"type": "event", "name": odd},
        {"type": "key", "namespace": "one", "key": odd},
        {"type": "key", "namespace": "two/😀", "key": odd},
    ]


async def test_names_may_be_short(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    few = [
        transaction(0, "T", chaincode_id="cc"),
        with_event(1, "u", "é", b""),
        writing(2, "w", "cc", "1"),
    ]
    await append(client, database_name, [block(0, few), block(1, [])])
    assert (
        await search(api, "cc") == await search(api, "c") == [{"type": "chaincode", "name": "cc"}]
    )
    assert await search(api, "é") == [{"type": "event", "name": "é"}]
    assert [hit["type"] for hit in await search(api, "1")] == ["block", "key"]
    assert [hit["type"] for hit in await search(api, "T")] == ["transaction"]
    for nothing in ("01", "-1", "C", "b"):
        assert await search(api, nothing) == []


async def test_at_most_ten_results_of_a_type_are_shown(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    many = [writing(i, f"beginning{i:02}", f"n{i:02}", "beginning") for i in range(10)]
    await append(client, database_name, [block(0, many)])
    body = await api.channel("/search", q="beginning")
    assert ([hit["type"] for hit in body["items"]], body["more"]) == (
        ["transaction"] * 10 + ["key"] * 10,
        [],
    )
    await append(
        client,
        database_name,
        [block(1, [writing(0, "beginning10", "n10", "beginning"), transaction(1, "beginning")])],
    )
    body = await api.channel("/search", q="beginning")
    ids = [hit["txId"] for hit in body["items"] if hit["type"] == "transaction"]
    assert ids == ["beginning", *(f"beginning{i:02}" for i in range(9))]
    assert (len(body["items"]), body["more"]) == (20, ["transaction", "key"])


async def test_keys_are_searched_only_if_they_are_indexed(
    api: Api, client: AsyncMongoClient[Any], database_name: str
) -> None:
    await append(client, database_name, [block(0, [writing(0, "w", "one", "some key")])])
    index, *_ = {
        model.document["name"] for model in IndexOptions(key_history=True).models()[TRANSACTIONS]
    } - {model.document["name"] for model in IndexOptions(key_history=False).models()[TRANSACTIONS]}
    assert [hit["type"] for hit in await search(api, "some key")] == ["key"]
    await client[database_name][TRANSACTIONS].drop_index(index)
    body = await api.channel("/search", q=quote("some key2"))
    assert (body["items"], body["notSearched"]) == ([], ["key"])


async def test_new_blocks_are_found_at_once(
    client: AsyncMongoClient[Any], database_name: str
) -> None:
    """The head is not read for every request, but before a search answers that it found nothing."""
    await append(client, database_name, [block(0, [transaction(0, "a")])])
    async with running_api(client, {CHANNEL: database_name}, Options(head_age_s=60.0)) as api:
        assert len(await search(api, "token")) == 1
        new = [transaction(0, "new transaction")]
        await append(client, database_name, [block(1, new)])
        assert len(await search(api, "new transaction")) == 1
        await append(
            client, database_name, [block(2, [transaction(0, "d", chaincode_id="new/chaincode")])]
        )
        assert (await api.channel("/chaincodes/new%2Fchaincode"))["transactions"] == 1
