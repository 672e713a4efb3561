"""Verifies a stored ledger: its own consistency, and its equality with the blocks of a source.

In a consistent ledger blocks are contiguous and chained by their hashes, each block's hash follows
from its header, each block has the transactions and events that it counts, and each event has its
VALID transaction. For equality, the stored documents are compared byte for byte with the documents
of the source's blocks, and neither side may have more documents.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from enum import StrEnum
from functools import partial
from typing import Final

from msgspec import Struct

from indexer.block_source import DeliveredBlock
from indexer.document_differences import differing_documents
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.code_names import status_name
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.documents.format import Document
from ledger.hashes import block_hash
from ledger.model import VALID
from ledger.mongodb.block_range import stored_range
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import DifferenceCounts
from ledger.mongodb.verification_queries import (
    StoredBlockDocuments,
    StoredDocuments,
    stored_documents_by_block,
)
from ledger.ownership import decide_owners, ids_to_look_up
from ledger.position import BlockNumber, Height, pack_position

_PROGRESS_INTERVAL: Final = 100
"""The number of blocks between two reports of the progress."""


class DifferenceKind(StrEnum):
    """The kind of a difference; `DifferenceCounts` describes each kind."""

    CHAIN = "chain"
    COUNTS = "counts"
    EVENTS_WITHOUT_TRANSACTION = "events_without_transaction"
    DOCUMENTS = "documents"


class Difference(Struct, frozen=True):
    """A difference between the stored ledger and the chain; `what` describes it."""

    block: int
    kind: DifferenceKind
    what: str


class Verifier:
    """Verifies the ledger of one channel.

    Calls `report` with each difference, and `advance` with the verified height at intervals.
    """

    def __init__(
        self,
        store: LedgerStore,
        report: Callable[[Difference], None],
        advance: Callable[[int], None],
    ) -> None:
        self._store, self._report, self._advance = store, report, advance
        self._database = store.database
        self._counts: Counter[DifferenceKind] = Counter()
        self._compared = False

    @property
    def difference_count(self) -> int:
        """The number of differences that were found."""
        return self._counts.total()

    @property
    def counts_by_kind(self) -> DifferenceCounts:
        """The number of differences of each kind."""
        documents = self._counts[DifferenceKind.DOCUMENTS] if self._compared else None
        return DifferenceCounts(
            chain=self._counts[DifferenceKind.CHAIN],
            counts=self._counts[DifferenceKind.COUNTS],
            events_without_transaction=self._counts[DifferenceKind.EVENTS_WITHOUT_TRANSACTION],
            documents=documents,
        )

    def _record(self, block: int, kind: DifferenceKind, what: str) -> None:
        self._counts[kind] += 1
        self._report(Difference(block, kind, what))

    async def check_consistency(self) -> Height:
        """Check all blocks that are stored now. Return the height that was checked."""
        stored = await stored_range(self._database)
        if stored is None:
            return Height(0)
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
                    self._record_orphans(documents, stored.lowest)
                if documents.number % _PROGRESS_INTERVAL == 0:
                    self._advance(documents.number + 1)
        return stored.height

    def _record_orphans(self, documents: StoredBlockDocuments, start: BlockNumber) -> None:
        """Record the transactions and events of a block that has no block document."""
        number = documents.number
        reason = ", but no block document" if number >= start else f" below the start block {start}"
        for stored in (documents.transactions, documents.events):
            if stored.documents:
                self._record(
                    number,
                    DifferenceKind.COUNTS,
                    f"{stored.collection}: {len(stored.documents)} documents{reason}",
                )

    def _check_chain(self, block: Document, previous: Document | None) -> None:
        number = block["_id"]
        record = partial(self._record, number, DifferenceKind.CHAIN)
        if block["number"] != number:
            record(f"blocks: number is {block['number']}")
        header_hash = block_hash(
            number, bytes.fromhex(block["previousHash"]), bytes.fromhex(block["dataHash"])
        ).hex()
        if block["blockHash"] != header_hash:
            record(f"blocks: blockHash is {block['blockHash']}, its header gives {header_hash}")
        if previous is None:
            return
        if number != previous["_id"] + 1:
            self._record(
                previous["_id"] + 1,
                DifferenceKind.CHAIN,
                f"blocks: missing up to block {number - 1}",
            )
        elif block["previousHash"] != previous["blockHash"]:
            record(
                f"blocks: previousHash is {block['previousHash']}, "
                f"block {number - 1} has {previous['blockHash']}"
            )

    def _check_counts(
        self, block: Document, transactions: StoredDocuments, events: StoredDocuments
    ) -> None:
        number, codes = block["_id"], bytes(block["validationCodes"])
        record = partial(self._record, number, DifferenceKind.COUNTS)
        name, count = transactions.collection, len(transactions.documents)
        if not count == len(codes) == block["transactionCount"]:
            record(
                f"{name}: {count} documents, the block counts {block['transactionCount']} "
                f"and has {len(codes)} codes"
            )
        by_position = {document["_id"]: document for document in transactions.documents}
        for index, code in enumerate(codes):
            document = by_position.get(pack_position(number, index))
            if document is None:
                record(f"{name}: no document at index {index}")
            elif document["validationCode"] != code or document["status"] != status_name(code):
                record(f"{name}: index {index} has status {document['status']}, not code {code}")
        count = len(events.documents)
        if count != block["eventCount"]:
            record(
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
                self._record(
                    documents.number,
                    DifferenceKind.EVENTS_WITHOUT_TRANSACTION,
                    f"{events.collection}: event of {event['txId']} has no VALID transaction "
                    "at its position",
                )

    async def compare(self, blocks: AsyncIterator[DeliveredBlock], start: int, height: int) -> int:
        """Compare blocks `start` to `height - 1` of a source with the stored documents.

        `blocks` must come in ascending order. Return the height that was compared.
        """
        compared, self._compared = start, True
        async for delivered in blocks:
            undecoded = read_block(delivered.data, delivered.name)
            if undecoded.number < compared:
                continue
            if undecoded.number >= height:
                break
            if undecoded.number > compared:
                self._record(
                    compared,
                    DifferenceKind.DOCUMENTS,
                    f"the source has no blocks up to {undecoded.number - 1}",
                )
            block = decode_block(undecoded)
            owned_below = await self._store.owned_ids(ids_to_look_up(block), block.number)
            await self._compare_block(encode_block(block, decide_owners(block, owned_below)))
            compared = undecoded.number + 1
            if compared % _PROGRESS_INTERVAL == 0:
                self._advance(compared)
            if compared == height:
                break
        if compared < height:
            self._record(
                compared,
                DifferenceKind.DOCUMENTS,
                f"the source ends here, {height} blocks are stored",
            )
        return compared

    async def _compare_block(self, encoded: EncodedBlock) -> None:
        async for difference in differing_documents(self._database, encoded):
            self._record(encoded.number, DifferenceKind.DOCUMENTS, difference.what)
