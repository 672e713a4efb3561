"""Checks the stored documents of one block after the other, without a source."""

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeAlias

from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from ledger.documents.code_names import status_name
from ledger.documents.digests import NO_DIGEST, stored_digests
from ledger.documents.format import FORMATS_WITHOUT_DIGESTS
from ledger.hashes import block_hash
from ledger.model import VALID
from ledger.mongodb.verification_queries import StoredBlockDocuments, StoredDocuments
from ledger.position import BlockNumber, pack_position

_MEANING: Final = "they are not as they were written. `verify --source` names the changed fields"


class DifferenceKind(StrEnum):
    """The kind of a difference; `ledger.mongodb.sync_state.DifferenceCounts` describes each."""

    CHAIN = "chain"
    DIGESTS = "digests"
    COUNTS = "counts"
    EVENTS_WITHOUT_TRANSACTION = "events_without_transaction"
    DOCUMENTS = "documents"
    SIGNATURES = "signatures"
    RAW_BLOCKS = "raw_blocks"


Record: TypeAlias = Callable[[int, DifferenceKind, str], None]
"""Records a difference: the number of its block, its kind, and what it is."""


class CheckedDocuments(Struct):
    """The numbers of documents that were checked.

    `without_digest` counts the blocks that an older program stored, which have no digest.
    """

    blocks: int = 0
    transactions: int = 0
    events: int = 0
    without_digest: int = 0


class ConsistencyChecks:
    """Checks blocks in ascending order; `record` gets each difference."""

    def __init__(
        self, record: Record, start: BlockNumber, previous: RawBSONDocument | None = None
    ) -> None:
        """Begin after the block `previous`, or without one at the lowest block `start`."""
        self._record, self._start, self._previous = record, start, previous
        self.digest = _hex(previous, "digest") if previous is not None else NO_DIGEST
        """The digest of the last block, as it is stored; `NO_DIGEST` if it has none."""
        self.checked = CheckedDocuments()

    @property
    def last(self) -> int | None:
        """The number of the last block that was checked, or of the block before the first one."""
        return self._previous["_id"] if self._previous is not None else None

    def check_keys(self, foreign: Iterable[tuple[str, Any]]) -> None:
        """Record documents whose `_id` is no block number and no position; no block has them."""
        for name, key in foreign:
            what = f"{name}: {key!r} is stored, but is no document of a block"
            self._record(self._start, DifferenceKind.COUNTS, what)

    def check(self, documents: StoredBlockDocuments) -> None:
        """Check all documents of a block."""
        self.checked.transactions += len(documents.transactions.documents)
        self.checked.events += len(documents.events.documents)
        self._check_events(documents)
        block = documents.block
        if block is None:
            self._record_orphans(documents)
            return
        self.checked.blocks += 1
        self._check_chain(block)
        self._check_counts(block, documents.transactions, documents.events)
        self._check_digests(block, documents)
        self._previous = block

    def check_end(self, known_height: int) -> None:
        """Record the blocks that are missing at the end, up to the height that was once stored."""
        height = self._start if self._previous is None else self._previous["_id"] + 1
        if height < known_height:
            self._record(
                height,
                DifferenceKind.CHAIN,
                f"blocks: missing up to block {known_height - 1}, which was stored before",
            )

    def _record_orphans(self, documents: StoredBlockDocuments) -> None:
        """Record the transactions and events of a block that has no block document."""
        number, start = documents.number, self._start
        reason = ", but no block document" if number >= start else f" below the start block {start}"
        for stored in (documents.transactions, documents.events):
            if stored.documents:
                self._record(
                    number,
                    DifferenceKind.COUNTS,
                    f"{stored.collection}: {len(stored.documents)} documents{reason}",
                )

    def _check_chain(self, block: RawBSONDocument) -> None:
        number, previous = block["_id"], self._previous
        record = partial(self._record, number, DifferenceKind.CHAIN)
        if block.get("number") != number:
            record(f"blocks: number is {block.get('number')}")
        stored_hash = block.get("blockHash")
        header_hash = block_hash(number, _hex(block, "previousHash"), _hex(block, "dataHash")).hex()
        if stored_hash != header_hash:
            record(f"blocks: blockHash is {stored_hash}, its header gives {header_hash}")
        if previous is None:
            return
        if number != previous["_id"] + 1:
            self._record(
                previous["_id"] + 1,
                DifferenceKind.CHAIN,
                f"blocks: missing up to block {number - 1}",
            )
        elif block.get("previousHash") != previous.get("blockHash"):
            record(
                f"blocks: previousHash is {block.get('previousHash')}, "
                f"block {number - 1} has {previous.get('blockHash')}"
            )

    def _check_counts(
        self, block: RawBSONDocument, transactions: StoredDocuments, events: StoredDocuments
    ) -> None:
        number, stored_codes = block["_id"], block.get("validationCodes")
        codes = stored_codes if isinstance(stored_codes, bytes) else b""
        record = partial(self._record, number, DifferenceKind.COUNTS)
        name, count = transactions.collection, len(transactions.documents)
        if not count == len(codes) == block.get("transactionCount"):
            record(
                f"{name}: {count} documents, the block counts {block.get('transactionCount')} "
                f"and has {len(codes)} codes"
            )
        by_position = {document["_id"]: document for document in transactions.documents}
        for index, code in enumerate(codes):
            document = by_position.get(pack_position(number, index))
            if document is None:
                record(f"{name}: no document at index {index}")
                continue
            if document["validationCode"] != code or document["status"] != status_name(code):
                record(f"{name}: index {index} has status {document['status']}, not code {code}")
            if document["blockNumber"] != number:
                record(f"{name}: index {index} names block {document['blockNumber']}")
        count = len(events.documents)
        if count != block.get("eventCount"):
            what = f"{count} documents, the block counts {block.get('eventCount')}"
            record(f"{events.collection}: {what}")

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

    def _check_digests(self, block: RawBSONDocument, documents: StoredBlockDocuments) -> None:
        record = partial(self._record, block["_id"], DifferenceKind.DIGESTS)
        previous, self.digest = self.digest, _hex(block, "digest")
        if not self.digest:
            if previous or block.get("format") not in FORMATS_WITHOUT_DIGESTS:
                record("blocks: the block has no digest")
            else:
                self.checked.without_digest += 1
            return
        for stored, field in (
            (documents.transactions, "transactionsDigest"),
            (documents.events, "eventsDigest"),
        ):
            if stored.digest != block.get(field):
                record(f"{stored.collection}: the documents of the block were changed: {_MEANING}")
        before = self._start - 1 if self._previous is None else self._previous["_id"]
        if block["_id"] != before + 1:
            return  # the digest depends on the digest of the block before, which is missing
        digest, of_signers = stored_digests(block, previous)
        if digest != self.digest:
            record(f"blocks: the block's document or its digest was changed: {_MEANING}")
        elif of_signers != block.get("signersDigest"):
            record(f"blocks: the signers or their digest were changed: {_MEANING}")


def _hex(document: RawBSONDocument, field: str) -> bytes:
    """Return the bytes that a field has in hex; none if it is missing or no such text."""
    try:
        return bytes.fromhex(document.get(field, ""))
    except (TypeError, ValueError):
        return b""
