"""Checks a stored ledger: against itself, and against blocks.

Against itself: blocks are contiguous and chained, hashes recompute, every block has the transactions and events that it
counts, every event has its VALID transaction. Against blocks: the documents that the chain gives and the documents that
are stored are compared in both directions, byte for byte.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import TypeAlias

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from msgspec import Struct
from pymongo import ASCENDING, DESCENDING

from indexer.block_source import DeliveredBlock
from ledger.decoding.blocks import check_block, decode_block
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.documents.format import Document, status_name
from ledger.errors import StoreConflictError
from ledger.hashes import block_hash
from ledger.model import VALID, Block
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DifferenceCounts
from ledger.ownership import decide_owners, ids_to_look_up
from ledger.position import pack_position

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_REPORT_EVERY = 100

_Groups: TypeAlias = AsyncGenerator[tuple[int, list[Document]], None]
"""Documents by the number of their block."""


class Kind(StrEnum):
    """What a difference is about; see `DifferenceCounts`."""

    CHAIN = "chain"
    COUNTS = "counts"
    EVENTS_WITHOUT_TRANSACTION = "events_without_transaction"
    DOCUMENTS = "documents"


class Difference(Struct, frozen=True):
    """One thing that is not as the chain has it."""

    block: int
    kind: Kind
    what: str


class Verifier:
    """Verifies one channel's store; `report` is called with each difference, `advance` with the height now and then."""

    def __init__(
        self,
        store: LedgerStore,
        report: Callable[[Difference], None],
        advance: Callable[[int], None],
    ) -> None:
        self._store, self._report, self._advance = store, report, advance
        self._database = store.database
        self._found: Counter[Kind] = Counter()
        self._compared = False

    @property
    def differences(self) -> int:
        """How many were found."""
        return self._found.total()

    @property
    def kinds(self) -> DifferenceCounts:
        """The same by kind."""
        documents = self._found[Kind.DOCUMENTS] if self._compared else None
        return DifferenceCounts(
            chain=self._found[Kind.CHAIN],
            counts=self._found[Kind.COUNTS],
            events_without_transaction=self._found[Kind.EVENTS_WITHOUT_TRANSACTION],
            documents=documents,
        )

    def _differs(self, block: int, kind: Kind, what: str) -> None:
        self._found[kind] += 1
        self._report(Difference(block, kind, what))

    async def against_itself(self) -> int:
        """Checks the stored blocks from the lowest to what is the highest now; returns the height that was checked."""
        lowest = await self._database[BLOCKS].find_one({}, {"_id": 1}, sort=[("_id", ASCENDING)])
        highest = await self._database[BLOCKS].find_one({}, {"_id": 1}, sort=[("_id", DESCENDING)])
        if lowest is None or highest is None:
            return 0
        committed = {
            "_id": {"$lte": highest["_id"]}
        }  # what a daemon adds meanwhile is left to the next time
        blocks = self._grouped(BLOCKS, "_id", committed)
        transactions = self._grouped(
            TRANSACTIONS, "blockNumber", {}, "txId", "status", "validationCode"
        )
        events = self._grouped(EVENTS, "blockNumber", {}, "txId")
        previous: Document | None = None
        async with aclosing(blocks), aclosing(transactions), aclosing(events):
            async for number, (block, stored, emitted) in _side_by_side(
                blocks, transactions, events
            ):
                self._check_events(number, stored, emitted)
                if block:
                    self._check_chain(block[0], previous)
                    self._check_counts(block[0], stored, emitted)
                    previous = block[0]
                else:
                    self._check_orphans(
                        number, lowest["_id"], {TRANSACTIONS: stored, EVENTS: emitted}
                    )
                if number % _REPORT_EVERY == 0:
                    self._advance(number + 1)
        return int(highest["_id"]) + 1

    def _check_orphans(self, number: int, start: int, stored: dict[str, list[Document]]) -> None:
        why = ", but no block document" if number >= start else f" below the start block {start}"
        for name, documents in stored.items():
            if documents:
                self._differs(number, Kind.COUNTS, f"{name}: {len(documents)} documents{why}")

    def _check_chain(self, block: Document, previous: Document | None) -> None:
        number = block["_id"]
        if block["number"] != number:
            self._differs(number, Kind.CHAIN, f"blocks: number is {block['number']}")
        expected = block_hash(
            number, bytes.fromhex(block["previousHash"]), bytes.fromhex(block["dataHash"])
        ).hex()
        if block["blockHash"] != expected:
            self._differs(
                number,
                Kind.CHAIN,
                f"blocks: blockHash is {block['blockHash']}, its header gives {expected}",
            )
        if previous is None:
            return
        if number != previous["_id"] + 1:
            self._differs(
                previous["_id"] + 1, Kind.CHAIN, f"blocks: missing up to block {number - 1}"
            )
        elif block["previousHash"] != previous["blockHash"]:
            self._differs(
                number,
                Kind.CHAIN,
                f"blocks: previousHash is {block['previousHash']}, block {number - 1} has {previous['blockHash']}",
            )

    def _check_counts(
        self, block: Document, stored: list[Document], emitted: list[Document]
    ) -> None:
        number, codes = block["_id"], bytes(block["validationCodes"])
        differs = partial(self._differs, number, Kind.COUNTS)
        if not len(stored) == len(codes) == block["transactionCount"]:
            differs(
                f"{TRANSACTIONS}: {len(stored)} documents, the block counts {block['transactionCount']} "
                f"and has {len(codes)} codes"
            )
        by_position = {document["_id"]: document for document in stored}
        for index, code in enumerate(codes):
            document = by_position.get(pack_position(number, index))
            if document is None:
                differs(f"{TRANSACTIONS}: none at index {index}")
            elif document["validationCode"] != code or document["status"] != status_name(code):
                differs(
                    f"{TRANSACTIONS}: index {index} has status {document['status']}, not code {code}"
                )
        if len(emitted) != block["eventCount"]:
            differs(f"{EVENTS}: {len(emitted)} documents, the block counts {block['eventCount']}")

    def _check_events(self, number: int, stored: list[Document], emitted: list[Document]) -> None:
        by_position = {document["_id"]: document for document in stored}
        for event in emitted:
            transaction = by_position.get(event["_id"])
            if (
                transaction is None
                or transaction["txId"] != event["txId"]
                or transaction["validationCode"] != VALID
            ):
                what = (
                    f"{EVENTS}: event of {event['txId']} has no VALID transaction at its position"
                )
                self._differs(number, Kind.EVENTS_WITHOUT_TRANSACTION, what)

    def _grouped(self, name: str, number: str, query: Document, *fields: str) -> _Groups:
        """Documents in chain order, those of one block together; of all fields unless some are named."""
        projection = [number, *fields] if fields else None
        cursor = self._database[name].find(query, projection, sort=[("_id", ASCENDING)])
        return _group(cursor, lambda document: int(document[number]))

    async def against_blocks(
        self, blocks: AsyncIterator[DeliveredBlock], start: int, height: int
    ) -> int:
        """Compares blocks `start` to `height - 1` of a source with the store; returns the height that was compared."""
        compared, self._compared = start, True
        async for delivered in blocks:
            frame = check_block(delivered.block)
            if frame.number < compared:
                continue
            if frame.number >= height:
                break
            if frame.number > compared:
                self._differs(
                    compared, Kind.DOCUMENTS, f"the source has no blocks up to {frame.number - 1}"
                )
            block = decode_block(frame)
            taken = await self._store.owned_ids(ids_to_look_up(block), block.number)
            await self._compare_block(block, encode_block(block, decide_owners(block, taken)))
            compared = frame.number + 1
            if compared % _REPORT_EVERY == 0:
                self._advance(compared)
            if compared == height:
                break
        if compared < height:
            self._differs(
                compared, Kind.DOCUMENTS, f"the source ends here, {height} blocks are stored"
            )
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
                    self._differs(number, Kind.DOCUMENTS, f"{name}: {document['_id']} is missing")
                    continue
                try:
                    compare_documents(name, document, found)
                except StoreConflictError as error:
                    self._differs(
                        number,
                        Kind.DOCUMENTS,
                        f"{name}: {error.key}: {error.field}: chain {error.expected!r}, stored {error.got!r}",
                    )
            for key in stored:
                self._differs(
                    number, Kind.DOCUMENTS, f"{name}: {key} is stored, but not on the chain"
                )


def _range(number: int) -> Document:
    return {"_id": {"$gte": pack_position(number, 0), "$lt": pack_position(number + 1, 0)}}


async def _group(documents: AsyncIterator[Document], key: Callable[[Document], int]) -> _Groups:
    group: list[Document] = []
    async for document in documents:
        if group and key(document) != key(group[0]):
            yield key(group[0]), group
            group = []
        group.append(document)
    if group:
        yield key(group[0]), group


async def _side_by_side(
    *streams: _Groups,
) -> AsyncGenerator[tuple[int, list[list[Document]]], None]:
    """What each stream has of a number, number by number in ascending order, until the first stream ends."""
    heads = [await anext(stream, None) for stream in streams]
    while heads[0] is not None:
        number = min(head[0] for head in heads if head is not None)
        groups: list[list[Document]] = []
        for index, head in enumerate(heads):
            if head is not None and head[0] == number:
                groups.append(head[1])
                heads[index] = await anext(streams[index], None)
            else:
                groups.append([])
        yield number, groups
