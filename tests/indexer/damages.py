"""Damages of a stored ledger, and the differences that verification must report for each."""

from collections.abc import Awaitable, Callable
from typing import Any

import bson
from pymongo.asynchronous.database import AsyncDatabase

from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.position import pack_position
from tests.indexer.support import expected_documents, hostile_chain, stored_documents

CHAIN = hostile_chain()
EXPECTED = expected_documents(CHAIN)
LAST = len(CHAIN) - 1

Database = AsyncDatabase[dict[str, Any]]
Damage = Callable[[Database], Awaitable[object]]

EVENT: dict[str, Any] = next(
    event
    for event in map(bson.decode, EXPECTED[EVENTS].values())
    if 12 < event["blockNumber"] < LAST
)
NUMBER: int = EVENT["blockNumber"]
"""The number of the block to damage. It has an event, so it has a VALID transaction."""
POSITION = EVENT["_id"]
"""The position of the event and of its transaction."""
BLOCK: dict[str, Any] = bson.decode(EXPECTED[BLOCKS][NUMBER])
COUNT: int = BLOCK["transactionCount"]
EVENT_COUNT: int = BLOCK["eventCount"]


def delete(name: str, key: int) -> Damage:
    return lambda database: database[name].delete_one({"_id": key})


def change(name: str, key: int, **fields: object) -> Damage:
    return lambda database: database[name].update_one({"_id": key}, {"$set": fields})


def copy(name: str, key: int, **fields: object) -> Damage:
    """Insert a copy of the document with these fields changed."""
    document = bson.decode(EXPECTED[name][key]) | fields
    return lambda database: database[name].insert_one(document)


def all_of(*damages: Damage) -> Damage:
    async def apply(database: Database) -> None:
        for damage in damages:
            await damage(database)

    return apply


ZERO_HASH = "00" * 32
FREE_POSITION = pack_position(NUMBER, COUNT)
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "a block deleted": (
        delete(BLOCKS, NUMBER),
        f"blocks: missing up to block {NUMBER}",
        f"blocks: {NUMBER} is missing",
    ),
    "its transactions deleted too": (
        all_of(
            delete(BLOCKS, NUMBER),
            *(delete(TRANSACTIONS, pack_position(NUMBER, index)) for index in range(COUNT)),
        ),
        f"blocks: missing up to block {NUMBER}",
        f"blocks: {NUMBER} is missing",
    ),
    "a transaction deleted": (
        delete(TRANSACTIONS, POSITION),
        f"transactions_ledger: {COUNT - 1} documents, the block counts {COUNT}",
        f"transactions_ledger: {POSITION} is missing",
    ),
    "an event deleted": (
        delete(EVENTS, POSITION),
        f"chaincode_events: {EVENT_COUNT - 1} documents, the block counts {EVENT_COUNT}",
        f"chaincode_events: {POSITION} is missing",
    ),
    "a transaction and its event deleted": (
        all_of(delete(TRANSACTIONS, POSITION), delete(EVENTS, POSITION)),
        f"transactions_ledger: no document at index {EVENT['txIndex']}",
        f"chaincode_events: {POSITION} is missing",
    ),
    "a transaction too many": (
        copy(TRANSACTIONS, POSITION, _id=FREE_POSITION, txId="forged"),
        f"transactions_ledger: {COUNT + 1} documents, the block counts {COUNT}",
        f"transactions_ledger: {FREE_POSITION} is stored, but not on the chain",
    ),
    "an event too many": (
        copy(EVENTS, POSITION, _id=FREE_POSITION, txId="forged"),
        "chaincode_events: event of forged has no VALID transaction at its position",
        f"chaincode_events: {FREE_POSITION} is stored, but not on the chain",
    ),
    "a block too many": (
        copy(BLOCKS, LAST, _id=LAST + 2, number=LAST + 2),
        f"blocks: missing up to block {LAST + 1}",
        f"the source ends here, the blocks up to {LAST + 2} are stored",
    ),
    "a status": (
        change(TRANSACTIONS, POSITION, status="MVCC_READ_CONFLICT"),
        "has status MVCC_READ_CONFLICT, not code 0",
        f"transactions_ledger: {POSITION}: status: chain 'VALID', stored 'MVCC_READ_CONFLICT'",
    ),
    "a code": (
        change(TRANSACTIONS, POSITION, validationCode=11),
        "not code 0",
        f"transactions_ledger: {POSITION}: validationCode: chain 0, stored 11",
    ),
    "a transaction's id": (
        change(TRANSACTIONS, POSITION, txId="forged"),
        f"chaincode_events: event of {EVENT['txId']} has no VALID transaction at its position",
        f"transactions_ledger: {POSITION}: txId: chain '{EVENT['txId']}', stored 'forged'",
    ),
    "a transaction's block": (
        change(TRANSACTIONS, POSITION, blockNumber=NUMBER + 1),
        f"names block {NUMBER + 1}",
        f"transactions_ledger: {POSITION}: blockNumber: chain {NUMBER}, stored {NUMBER + 1}",
    ),
    "arguments": (
        change(TRANSACTIONS, POSITION, args=["1000000"]),
        "transactions_ledger: the documents of the block were changed",
        f"transactions_ledger: {POSITION}: args: chain [",
    ),
    "a field added": (
        change(TRANSACTIONS, POSITION, note="checked"),
        "transactions_ledger: the documents of the block were changed",
        f"transactions_ledger: {POSITION}: note: chain None, stored 'checked'",
    ),
    "an event's payload": (
        change(EVENTS, POSITION, payload={"amount": 1}),
        "chaincode_events: the documents of the block were changed",
        f"chaincode_events: {POSITION}: payload: chain ",
    ),
    "an event's id": (
        change(EVENTS, POSITION, txId="forged"),
        "chaincode_events: event of forged has no VALID transaction",
        f"chaincode_events: {POSITION}: txId: chain '{EVENT['txId']}', stored 'forged'",
    ),
    "a block's hash": (
        change(BLOCKS, NUMBER, blockHash=ZERO_HASH),
        f"blocks: blockHash is {ZERO_HASH}, its header gives {BLOCK['blockHash']}",
        f"blocks: {NUMBER}: blockHash: chain '{BLOCK['blockHash']}', stored '{ZERO_HASH}'",
    ),
    "a block's previous hash": (
        change(BLOCKS, NUMBER, previousHash=ZERO_HASH),
        f"blocks: previousHash is {ZERO_HASH}, block {NUMBER - 1} has {BLOCK['previousHash']}",
        f"blocks: {NUMBER}: previousHash: chain ",
    ),
    "a block's data hash": (
        change(BLOCKS, NUMBER, dataHash=ZERO_HASH),
        f"blocks: blockHash is {BLOCK['blockHash']}, its header gives ",
        f"blocks: {NUMBER}: dataHash: chain ",
    ),
    "a block's number": (
        change(BLOCKS, NUMBER, number=1_000),
        "blocks: number is 1000",
        f"blocks: {NUMBER}: number: chain {NUMBER}, stored 1000",
    ),
    "a block's count": (
        change(BLOCKS, NUMBER, transactionCount=COUNT + 1),
        f"{COUNT} documents, the block counts {COUNT + 1}",
        f"blocks: {NUMBER}: transactionCount: chain {COUNT}, stored {COUNT + 1}",
    ),
    "a block's codes": (
        change(
            BLOCKS, NUMBER, validationCodes=bytes(code ^ 1 for code in BLOCK["validationCodes"])
        ),
        "not code 1",
        f"blocks: {NUMBER}: validationCodes: chain ",
    ),
    "a block's number of valid transactions": (
        change(BLOCKS, NUMBER, validCount=1_000),
        "blocks: the block's document or its digest was changed",
        f"blocks: {NUMBER}: validCount: chain {BLOCK['validCount']}, stored 1000",
    ),
}
"""By name: the damage, the difference in the store alone, and the difference from the chain."""


async def restore(database: Database) -> None:
    """Undo any damage."""
    for name, documents in (await stored_documents(database)).items():
        for key in documents.keys() | EXPECTED[name].keys():
            if documents.get(key) != EXPECTED[name].get(key):
                await database[name].delete_one({"_id": key})
        for key in EXPECTED[name]:
            if documents.get(key) != EXPECTED[name][key]:
                await database[name].insert_one(bson.decode(EXPECTED[name][key]))
