"""Stores the long ledger in MongoDB, made from a few documents of a recorded ledger."""

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import bson
from msgspec import Struct
from pymongo import MongoClient, WriteConcern

from ledger.documents.code_names import status_name
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.position import unpack_position
from tests.ledger.long_ledger import LAST, Fact, block_facts, block_ts, facts
from tests.ledger.recorded import Json, encoded_blocks


class Templates(Struct, frozen=True):
    """Documents of the recorded ledger, from which the documents of the long ledger are made.

    They are of a block, a donation, its event, a configuration and a chaincode definition.
    """

    block: Json
    donation: Json
    event: Json
    config: Json
    commit: Json


def _templates() -> Templates:
    encoded = encoded_blocks("raft-2.5")[:40]
    transactions = [
        bson.decode(document.raw) for block in encoded for document in block.transactions
    ]
    events = {
        document["_id"]: bson.decode(document.raw) for block in encoded for document in block.events
    }
    donation = next(t for t in transactions if t.get("function") == "Donate" and t["_id"] in events)
    return Templates(
        block=bson.decode(encoded[-1].block.raw),
        donation=donation,
        event=events[donation["_id"]],
        config=next(t for t in transactions if "config" in t),
        commit=next(t for t in transactions if t.get("lifecycle", {}).get("kind") == "commit"),
    )


def _transaction(fact: Fact, templates: Templates) -> Json:
    template = templates.config if fact.type == "CONFIG" else templates.donation
    if fact.chaincode == "_lifecycle":
        template = templates.commit
    document = {
        **template,
        "_id": fact.position,
        "txId": fact.tx_id,
        "status": status_name(fact.code),
        "validationCode": fact.code,
        "chaincodeId": fact.chaincode,
        "blockNumber": fact.block,
        "txIndex": unpack_position(fact.position)[1],
        "type": fact.type,
        "ts": fact.ts,
        "creator": {**templates.donation["creator"], "mspId": fact.creator_msp}
        if fact.creator_msp is not None
        else None,
    }
    if fact.claimed is not None:
        document["claimedTxId"] = fact.claimed
    if fact.function is not None:
        document["function"] = fact.function
    else:
        document.pop("function", None)
    if fact.writes:
        document["rwsets"] = [template["rwsets"][0], *_rwsets(fact)]
    return document


def _rwsets(fact: Fact) -> list[Json]:
    sets: dict[str, list[Json]] = {}
    for namespace, key in fact.writes:
        deletes = fact.number % 11 == 1
        write = (
            {"key": key, "isDelete": True}
            if deletes
            else {"key": key, "value": str(fact.number), "isDelete": False}
        )
        sets.setdefault(namespace, []).append(write)
    return [
        {"namespace": namespace, "reads": [], "writes": writes}
        for namespace, writes in sets.items()
    ]


def _event_document(fact: Fact, template: Json) -> Json:
    assert fact.event is not None
    name, payload = fact.event
    return {
        **template,
        "_id": fact.position,
        "txId": fact.tx_id,
        "blockNumber": fact.block,
        "txIndex": unpack_position(fact.position)[1],
        "chaincodeId": fact.chaincode,
        "eventName": name,
        "payload": payload,
        "payloadEncoding": "text" if isinstance(payload, str) else "json",
        "ts": fact.ts,
    }


def _block(number: int, template: Json) -> Json:
    transactions = block_facts(number)
    counts_by_kind: dict[str, Counter[Any]] = {
        "statuses": Counter(status_name(fact.code) for fact in transactions),
        "types": Counter(fact.type for fact in transactions),
        "chaincodes": Counter(fact.chaincode for fact in transactions),
        "organisations": Counter(fact.creator_msp for fact in transactions),
    }
    return {
        **template,
        "_id": number,
        "number": number,
        "ts": block_ts(number),
        "transactionCount": len(transactions),
        "validCount": sum(fact.code == 0 for fact in transactions),
        "eventCount": sum(fact.event is not None for fact in transactions),
        "size": 1_000 + number,
        "validationCodes": bytes(fact.code for fact in transactions),
        "sums": {
            kind: [{"name": n, "count": c} for n, c in counts.items()]
            for kind, counts in counts_by_kind.items()
        },
    }


def store_long_ledger(uri: str, database: str) -> None:
    """Store the ledger without its indexes, as fast as possible."""
    templates = _templates()
    documents = {
        TRANSACTIONS: (_transaction(fact, templates) for fact in facts()),
        EVENTS: (
            _event_document(fact, templates.event) for fact in facts() if fact.event is not None
        ),
        BLOCKS: (_block(number, templates.block) for number in range(LAST + 1)),
    }
    with MongoClient[Json](uri) as client, ThreadPoolExecutor(2) as threads:
        ledger = client.get_database(database, write_concern=WriteConcern(1, j=False))
        sent: deque[Future[Any]] = deque()
        for name, rows in documents.items():
            while batch := list(islice(rows, 5_000)):
                sent.append(threads.submit(ledger[name].insert_many, batch, ordered=False))
                if len(sent) == 4:
                    sent.popleft().result()
        for insertion in sent:
            insertion.result()
