"""A long ledger, made of a few documents of a recorded one: what is stored, and the same as plain facts.

Everything is a function of a transaction's number, so that any process knows the facts without the database. The
shapes are those that hurt: one chaincode with nearly all transactions, rare codes among many, every code there is,
rare event names under a common campaign, hundreds of transactions of one millisecond, times that nobody can have had.
"""

from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from typing import Any

import bson
from msgspec import Struct
from pymongo import MongoClient, WriteConcern

from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.code_names import status_name
from ledger.documents.encoding import encode_block
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.position import BlockNumber, pack_position, unpack_position
from tests.ledger.recorded import recorded

TRANSACTION_COUNT = 200_000
PER_BLOCK = 10
BLOCK_COUNT = TRANSACTION_COUNT // PER_BLOCK
HIDDEN = 5
"""Blocks at the end whose transactions are stored, but not they themselves, as while a batch is written."""
LAST = BlockNumber(BLOCK_COUNT - HIDDEN - 1)

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
LONG_NAME = "f" * 3_000
VALUES: tuple[Any, ...] = (
    *("5", 5, 5.0, 5.5, True, "true", None, "null", {"bigInteger": "123456789012345678901"}),
    *(["5", 5, "x"], [], {"campaignId": 5}, "123456789012345678901"),
)
"""What payloads have in `campaignId` besides names of campaigns."""

Json = dict[str, Any]


class Fact(Struct, frozen=True, gc=False):
    """What is known of a transaction."""

    number: int
    place: int
    tx_id: str | int
    claimed: str | None
    chaincode: str | None
    function: str | bytes | None
    creator_msp: str | None
    type: str
    code: int
    ts: datetime | None
    event: tuple[str, Any] | None
    writes: tuple[tuple[str, str], ...]

    @property
    def block(self) -> int:
        """The number of its block."""
        return unpack_position(self.place)[0]

    @property
    def visible(self) -> bool:
        """Whether its block is stored."""
        return self.block <= LAST


@cache
def facts() -> tuple[Fact, ...]:
    """All transactions, in order."""
    return tuple(_fact(number) for number in range(TRANSACTION_COUNT))


def _fact(n: int) -> Fact:
    block, index = divmod(n, PER_BLOCK)
    place = int(pack_position(block, index))
    config = n % 2_000 == 0
    code = 0 if config else _code(n)
    repeats = code == 9
    chaincode = None if config else _chaincode(n)
    return Fact(
        number=n,
        place=place,
        tx_id=place if repeats else _tx_id(n),
        claimed=_tx_id(n - n % 7_000) if repeats else None,
        chaincode=chaincode,
        function=None if config else _function(n),
        creator_msp=None
        if n % 997 == 0
        else "Org3MSP"
        if n % 40_009 == 1
        else "Org2MSP"
        if n % 10 == 3
        else "Org1MSP",
        type="CONFIG" if config else "99" if n % 50_021 == 3 else "ENDORSER_TRANSACTION",
        code=code,
        ts=_ts(n),
        event=_event(n) if code == 0 and chaincode is not None and n % 4 else None,
        writes=() if config else _writes(n),
    )


def _tx_id(n: int) -> str:
    return f"{n * 2_654_435_761 % 2**32:08x}{n:056x}"


def _code(n: int) -> int:
    if n in (17, 100_003, 199_001):
        return 10
    if n % 500 == 250:
        return n // 500 % 256
    return 11 if n % 10 == 9 else 0


def _chaincode(n: int) -> str:
    if n % 66_601 == 7:
        return "rare"
    return "_lifecycle" if n % 45_007 == 11 else "token" if n % 100 == 51 else "kindledger"


def _function(n: int) -> str | bytes | None:
    if n % 45_007 == 11:
        return "CommitChaincodeDefinition"
    match n % 30_011:
        case 5:
            return LONG_NAME
        case 6:
            return b"\xff\xfe"
        case 7:
            return None
        case 8:
            return "Close"
    return "Transfer" if n % 7 == 3 else "Donate"


def _ts(n: int) -> datetime | None:
    if n % 1_009 == 5:
        return None
    if n % 1_013 == 5:
        return datetime(9_000 + n % 900, 1, 1, tzinfo=UTC)
    return BEGAN + timedelta(seconds=n // 400 * 60)


def _event(n: int) -> tuple[str, Any]:
    name = "Closed" if n % 20_011 == 1 else "Transferred" if n % 7 == 3 else "DonationReceived"
    if n % 97 == 1:
        return name, "not JSON"
    if n % 89 == 1:
        return name, [{"campaignId": f"c{n % 50}"}, {"amount": n}]
    if n % 83 == 1:
        return name, {"campaignId": VALUES[n // 83 % len(VALUES)]}
    return name, {
        "campaignId": "common" if n % 5 else f"c{n % 1_000}",
        "amount": n,
        "donor": {"id": n % 3_000},
    }


def _writes(n: int) -> tuple[tuple[str, str], ...]:
    writes = [("kindledger", f"donation:{n}")]
    if n % 3 == 1:
        writes.append(("kindledger", "total"))
    if n % 25_013 == 2:
        writes += [("token", "total"), ("kindledger", "\0donor\0An\0"), ("kindledger", "")]
    return tuple(writes)


class Templates(Struct, frozen=True):
    """Documents of the recorded ledger: of a block, a donation, its event, a configuration and a definition."""

    block: Json
    donation: Json
    event: Json
    config: Json
    commit: Json


def _templates() -> Templates:
    blocks = [decode_block(read_block(data)) for data in recorded("raft-2.5").blocks[:40]]
    encoded = [encode_block(block, [True] * len(block.codes)) for block in blocks]
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
        "_id": fact.place,
        "txId": fact.tx_id,
        "status": status_name(fact.code),
        "validationCode": fact.code,
        "chaincodeId": fact.chaincode,
        "blockNumber": fact.block,
        "txIndex": unpack_position(fact.place)[1],
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
    place = {
        "_id": fact.place,
        "txId": fact.tx_id,
        "blockNumber": fact.block,
        "txIndex": unpack_position(fact.place)[1],
    }
    what = {"chaincodeId": fact.chaincode, "eventName": name, "payload": payload, "ts": fact.ts}
    return {
        **template,
        **place,
        **what,
        "payloadEncoding": "text" if isinstance(payload, str) else "json",
    }


def block_facts(number: int) -> tuple[Fact, ...]:
    """The transactions of a block."""
    return facts()[number * PER_BLOCK : (number + 1) * PER_BLOCK]


def block_ts(number: int) -> datetime | None:
    """The time of a block."""
    return None if number % 500 == 3 else BEGAN + timedelta(seconds=number * PER_BLOCK // 400 * 60)


def _block(number: int, template: Json) -> Json:
    transactions = block_facts(number)
    sums: dict[str, Counter[Any]] = {
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
            for kind, counts in sums.items()
        },
    }


def build(uri: str, database: str) -> None:
    """Stores the ledger, without its indexes and as fast as MongoDB takes it."""
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
