"""Checks a stored ledger: against itself, and against blocks.

Against itself: blocks are contiguous and chained, hashes recompute, every block has the transactions and events that it
counts, every event has its VALID transaction. Against blocks: the documents that the chain gives and the documents that
are stored are compared in both directions, byte for byte.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from enum import StrEnum
from functools import partial

from msgspec import Struct

from indexer.block_source import DeliveredBlock
from ledger.decoding.blocks import check_block, decode_block
from ledger.documents.code_names import status_name
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.documents.format import Document
from ledger.errors import StoreConflictError
from ledger.hashes import block_hash
from ledger.model import VALID, Block
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.comparison import compare_documents
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DifferenceCounts
from ledger.mongodb.verification_queries import (
    StoredBlockDocuments,
    StoredDocuments,
    comparable_documents,
    stored_documents_by_block,
)
from ledger.ownership import decide_owners, ids_to_look_up
from ledger.position import pack_position

_REPORT_EVERY = 100


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
        stored = await stored_range(self._database)
        if stored is None:
            return 0
        previous: Document | None = None
        async with aclosing(stored_documents_by_block(self._database, stored.highest)) as blocks:
            async for documents in blocks:
                self._check_events(documents)
                block = documents.block
                if block is not None:
                    self._check_chain(block, previous)
                    self._check_counts(block, documents.transactions, documents.events)
                    previous = block
                else:
                    self._check_orphans(documents, stored.lowest)
                if documents.number % _REPORT_EVERY == 0:
                    self._advance(documents.number + 1)
        return stored.height

    def _check_orphans(self, documents: StoredBlockDocuments, start: int) -> None:
        number = documents.number
        why = ", but no block document" if number >= start else f" below the start block {start}"
        for stored in (documents.transactions, documents.events):
            if stored.documents:
                self._differs(
                    number,
                    Kind.COUNTS,
                    f"{stored.collection}: {len(stored.documents)} documents{why}",
                )

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
        self, block: Document, transactions: StoredDocuments, events: StoredDocuments
    ) -> None:
        number, codes = block["_id"], bytes(block["validationCodes"])
        differs = partial(self._differs, number, Kind.COUNTS)
        name, count = transactions.collection, len(transactions.documents)
        if not count == len(codes) == block["transactionCount"]:
            differs(
                f"{name}: {count} documents, the block counts {block['transactionCount']} "
                f"and has {len(codes)} codes"
            )
        by_position = {document["_id"]: document for document in transactions.documents}
        for index, code in enumerate(codes):
            document = by_position.get(pack_position(number, index))
            if document is None:
                differs(f"{name}: none at index {index}")
            elif document["validationCode"] != code or document["status"] != status_name(code):
                differs(f"{name}: index {index} has status {document['status']}, not code {code}")
        count = len(events.documents)
        if count != block["eventCount"]:
            differs(
                f"{events.collection}: {count} documents, the block counts {block['eventCount']}"
            )

    def _check_events(self, documents: StoredBlockDocuments) -> None:
        events = documents.events
        by_position = {document["_id"]: document for document in documents.transactions.documents}
        for event in events.documents:
            transaction = by_position.get(event["_id"])
            if (
                transaction is None
                or transaction["txId"] != event["txId"]
                or transaction["validationCode"] != VALID
            ):
                self._differs(
                    documents.number,
                    Kind.EVENTS_WITHOUT_TRANSACTION,
                    f"{events.collection}: event of {event['txId']} has no VALID transaction "
                    "at its position",
                )

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
        async for comparable in comparable_documents(self._database, expected):
            name, stored = comparable.collection, comparable.stored
            for document in comparable.expected:
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
