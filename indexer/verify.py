"""Checks a stored ledger: against itself, and against blocks.

Against itself: blocks are contiguous and chained, hashes recompute, every block has the transactions and events that it
counts, every event has its VALID transaction. Against blocks: the documents that the chain gives and the documents that
are stored are compared in both directions, byte for byte.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING

from indexer.source import Delivered
from ledger.blocks import decode_block, frame_of
from ledger.documents import position, status_name
from ledger.encoding import EncodedBlock, encode_block
from ledger.errors import StoreConflictError
from ledger.hashes import block_hash
from ledger.model import VALID, Block
from ledger.ownership import decide_owners, doubtful_ids
from ledger.store import BLOCKS, EVENTS, TRANSACTIONS, LedgerStore, compare_documents

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_REPORT_EVERY = 100


class Difference(Struct, frozen=True):
    """One thing that is not as the chain has it."""

    block: int
    what: str


class Verifier:
    """Verifies one channel's store; `report` is called with each difference, `advance` with the height now and then."""

    def __init__(
        self, store: LedgerStore, report: Callable[[Difference], None], advance: Callable[[int], None]
    ) -> None:
        self._store, self._report, self._advance = store, report, advance
        self._database = store.database
        self.differences = 0

    def _differs(self, block: int, what: str) -> None:
        self.differences += 1
        self._report(Difference(block, what))

    async def against_itself(self) -> int:
        """Checks the stored blocks from the lowest to what is the highest now; returns the height that was checked."""
        highest = await self._database[BLOCKS].find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        if highest is None:
            return 0
        stored = {"_id": {"$lte": highest["_id"]}}  # what a daemon adds meanwhile is left to the next time
        previous: dict[str, Any] | None = None
        start = 0
        transactions = self._grouped(TRANSACTIONS, {"txId": 1, "status": 1, "validationCode": 1})
        events = self._grouped(EVENTS, {"txId": 1})
        async with aclosing(transactions), aclosing(events):
            stored_transactions = _Lookahead(transactions)
            stored_events = _Lookahead(events)
            async for block in self._database[BLOCKS].find(stored, sort=[("_id", ASCENDING)]):
                number = block["_id"]
                start = number if previous is None else start
                self._check_chain(block, previous)
                in_block = await stored_transactions.take(number, self._orphan(TRANSACTIONS, start))
                self._check_transactions(block, in_block)
                self._check_events(block, in_block, await stored_events.take(number, self._orphan(EVENTS, start)))
                previous = block
                if number % _REPORT_EVERY == 0:
                    self._advance(number + 1)
        return int(highest["_id"]) + 1

    def _orphan(self, name: str, start: int) -> Callable[[int, int], None]:
        def report(number: int, count: int) -> None:
            if number >= start:
                self._differs(number, f"{name}: {count} documents, but no block document")
            else:
                self._differs(number, f"{name}: {count} documents below the start block {start}")

        return report

    def _check_chain(self, block: dict[str, Any], previous: dict[str, Any] | None) -> None:
        number = block["_id"]
        if block["number"] != number:
            self._differs(number, f"blocks: number is {block['number']}")
        expected = block_hash(number, bytes.fromhex(block["previousHash"]), bytes.fromhex(block["dataHash"])).hex()
        if block["blockHash"] != expected:
            self._differs(number, f"blocks: blockHash is {block['blockHash']}, its header gives {expected}")
        if previous is None:
            return
        if number != previous["_id"] + 1:
            self._differs(previous["_id"] + 1, f"blocks: missing up to block {number - 1}")
        elif block["previousHash"] != previous["blockHash"]:
            self._differs(
                number,
                f"blocks: previousHash is {block['previousHash']}, block {number - 1} has {previous['blockHash']}",
            )

    def _check_transactions(self, block: dict[str, Any], stored: list[dict[str, Any]]) -> None:
        number, codes = block["_id"], bytes(block["validationCodes"])
        if not len(stored) == len(codes) == block["transactionCount"]:
            self._differs(
                number,
                f"{TRANSACTIONS}: {len(stored)} documents, the block counts {block['transactionCount']} "
                f"and has {len(codes)} codes",
            )
        by_position = {document["_id"]: document for document in stored}
        for index, code in enumerate(codes):
            document = by_position.get(position(number, index))
            if document is None:
                self._differs(number, f"{TRANSACTIONS}: none at index {index}")
            elif document["validationCode"] != code or document["status"] != status_name(code):
                self._differs(number, f"{TRANSACTIONS}: index {index} has status {document['status']}, not code {code}")

    def _check_events(
        self, block: dict[str, Any], transactions: list[dict[str, Any]], events: list[dict[str, Any]]
    ) -> None:
        number = block["_id"]
        if len(events) != block["eventCount"]:
            self._differs(number, f"{EVENTS}: {len(events)} documents, the block counts {block['eventCount']}")
        by_position = {document["_id"]: document for document in transactions}
        for event in events:
            transaction = by_position.get(event["_id"])
            if transaction is None or transaction["txId"] != event["txId"] or transaction["validationCode"] != VALID:
                self._differs(number, f"{EVENTS}: event of {event['txId']} has no VALID transaction at its position")

    def _grouped(self, name: str, fields: dict[str, int]) -> AsyncGenerator[tuple[int, list[dict[str, Any]]], None]:
        cursor = self._database[name].find({}, {**fields, "blockNumber": 1}, sort=[("_id", ASCENDING)])
        return _group(cursor, lambda document: int(document["blockNumber"]))

    async def against_blocks(self, blocks: AsyncIterator[Delivered], start: int, height: int) -> int:
        """Compares blocks `start` to `height - 1` of a source with the store; returns the height that was compared."""
        compared = start
        async for delivered in blocks:
            frame = frame_of(delivered.block)
            if frame.number < compared:
                continue
            if frame.number >= height:
                break
            if frame.number > compared:
                self._differs(compared, f"the source has no blocks up to {frame.number - 1}")
            block = decode_block(frame)
            taken = await self._store.owned_ids(doubtful_ids(block), block.number)
            await self._compare_block(block, encode_block(block, decide_owners(block, taken)))
            compared = frame.number + 1
            if compared % _REPORT_EVERY == 0:
                self._advance(compared)
            if compared == height:
                break
        if compared < height:
            self._differs(compared, f"the source ends here, {height} blocks are stored")
        return compared

    async def _compare_block(self, block: Block, expected: EncodedBlock) -> None:
        number = block.number
        for name, documents, query in (
            (BLOCKS, [expected.block], {"_id": number}),
            (TRANSACTIONS, expected.transactions, _range(number)),
            (EVENTS, expected.events, _range(number)),
        ):
            collection = self._database[name].with_options(codec_options=_RAW)
            stored = {document["_id"]: document async for document in collection.find(query)}
            for document in documents:
                found = stored.pop(document["_id"], None)
                if found is None:
                    self._differs(number, f"{name}: {document['_id']} is missing")
                    continue
                try:
                    compare_documents(name, document, found)
                except StoreConflictError as error:
                    self._differs(
                        number, f"{name}: {error.key}: {error.field}: chain {error.expected!r}, stored {error.got!r}"
                    )
            for key in stored:
                self._differs(number, f"{name}: {key} is stored, but not on the chain")


def _range(number: int) -> dict[str, Any]:
    return {"_id": {"$gte": position(number, 0), "$lt": position(number + 1, 0)}}


async def _group(
    documents: AsyncIterator[dict[str, Any]], key: Callable[[dict[str, Any]], int]
) -> AsyncGenerator[tuple[int, list[dict[str, Any]]], None]:
    group: list[dict[str, Any]] = []
    async for document in documents:
        if group and key(document) != key(group[0]):
            yield key(group[0]), group
            group = []
        group.append(document)
    if group:
        yield key(group[0]), group


class _Lookahead:
    """Takes groups of documents by block number, in ascending order."""

    def __init__(self, groups: AsyncIterator[tuple[int, list[dict[str, Any]]]]) -> None:
        self._groups = groups
        self._next: tuple[int, list[dict[str, Any]]] | None = None

    async def take(self, number: int, orphan: Callable[[int, int], None]) -> list[dict[str, Any]]:
        """The documents of that block; `orphan` is told of groups before it that nobody took."""
        while True:
            if self._next is None:
                self._next = await anext(self._groups, None)
            if self._next is None or self._next[0] > number:
                return []
            (found, documents), self._next = self._next, None
            if found == number:
                return documents
            orphan(found, len(documents))
