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
from tests.ledger.long_ledger import (
    LAST,
    ForgedTransaction,
    all_transactions,
    block_ts,
    transactions_of_block,
)
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


def _transaction_document(transaction: ForgedTransaction, templates: Templates) -> Json:
    template = templates.config if transaction.type == "CONFIG" else templates.donation
    if transaction.chaincode == "_lifecycle":
        template = templates.commit
    document = {
        **template,
        "_id": transaction.position,
        "txId": transaction.tx_id,
        "status": status_name(transaction.code),
        "validationCode": transaction.code,
        "chaincodeId": transaction.chaincode,
        "blockNumber": transaction.block,
        "txIndex": unpack_position(transaction.position)[1],
        "type": transaction.type,
        "ts": transaction.ts,
        "creator": {**templates.donation["creator"], "mspId": transaction.creator_msp}
        if transaction.creator_msp is not None
        else None,
    }
    if transaction.claimed is not None:
        document["claimedTxId"] = transaction.claimed
    if transaction.function is not None:
        document["function"] = transaction.function
    else:
        document.pop("function", None)
    if transaction.writes:
        document["rwsets"] = [template["rwsets"][0], *_rwsets(transaction)]
    return document


def _rwsets(transaction: ForgedTransaction) -> list[Json]:
    sets: dict[str, list[Json]] = {}
    for namespace, key in transaction.writes:
        deletes = transaction.number % 11 == 1
        write = (
            {"key": key, "isDelete": True}
            if deletes
            else {"key": key, "value": str(transaction.number), "isDelete": False}
        )
        sets.setdefault(namespace, []).append(write)
    return [
        {"namespace": namespace, "reads": [], "writes": writes}
        for namespace, writes in sets.items()
    ]


def _event_document(transaction: ForgedTransaction, template: Json) -> Json:
    assert transaction.event is not None
    name, payload = transaction.event
    return {
        **template,
        "_id": transaction.position,
        "txId": transaction.tx_id,
        "blockNumber": transaction.block,
        "txIndex": unpack_position(transaction.position)[1],
        "chaincodeId": transaction.chaincode,
        "eventName": name,
        "payload": payload,
        "payloadEncoding": "text" if isinstance(payload, str) else "json",
        "ts": transaction.ts,
    }


def _block(number: int, template: Json) -> Json:
    transactions = transactions_of_block(number)
    counts_by_kind: dict[str, Counter[Any]] = {
        "statuses": Counter(status_name(transaction.code) for transaction in transactions),
        "types": Counter(transaction.type for transaction in transactions),
        "chaincodes": Counter(transaction.chaincode for transaction in transactions),
        "organisations": Counter(transaction.creator_msp for transaction in transactions),
    }
    return {
        **template,
        "_id": number,
        "number": number,
        "ts": block_ts(number),
        "transactionCount": len(transactions),
        "validCount": sum(transaction.code == 0 for transaction in transactions),
        "eventCount": sum(transaction.event is not None for transaction in transactions),
        "size": 1_000 + number,
        "validationCodes": bytes(transaction.code for transaction in transactions),
        "sums": {
            kind: [{"name": n, "count": c} for n, c in counts.items()]
            for kind, counts in counts_by_kind.items()
        },
    }


def store_long_ledger(uri: str, database: str) -> None:
    """Store the ledger without its indexes, as fast as possible."""
    templates = _templates()
    documents = {
        TRANSACTIONS: (
            _transaction_document(transaction, templates) for transaction in all_transactions()
        ),
        EVENTS: (
            _event_document(transaction, templates.event)
            for transaction in all_transactions()
            if transaction.event is not None
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
