"""Verifies a stored ledger: its own consistency, and its equality with the blocks of a source.

In a consistent ledger blocks are contiguous and chained by their hashes, each block's hash follows
from its header, each block has the transactions and events that it counts, each event has its
VALID transaction, and each block's digest is that of its documents. For equality, the stored
documents are compared byte for byte with the documents of the source's blocks, and neither side may
have more documents.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Final

from bson.raw_bson import RawBSONDocument
from msgspec import Struct

from indexer.audit.consistency import CheckedDocuments, ConsistencyChecks, DifferenceKind
from indexer.audit.document_differences import compare_block
from indexer.audit.raw_block_checks import raw_block_faults
from indexer.audit.signature_checks import SignatureChecks
from indexer.pipeline.chain import identify
from indexer.pipeline.commit_hashes import CommitHashes
from indexer.sources.block_source import DeliveredBlock
from ledger.decoding.blocks import UndecodedBlock, decode_block, read_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.errors import ChainMismatchError, StoreConflictError
from ledger.mongodb.block_range import BlockRange, stored_range
from ledger.mongodb.earlier_values import earlier_values
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.mongodb.sync_state import ArchiveReport, DifferenceCounts
from ledger.mongodb.verdicts import read_verdict
from ledger.mongodb.verification_queries import (
    foreign_keys,
    stored_block,
    stored_documents_by_block,
)
from ledger.ownership import decide_owners, ids_to_look_up
from ledger.position import BlockNumber, Height
from ledger.raw_blocks import RawBlocks
from ledger.state_changes import Unchecked

_PROGRESS_INTERVAL: Final = 100
"""The number of blocks between two reports of the progress."""


class Difference(Struct, frozen=True, rename="camel"):
    """A difference between the stored ledger and the chain; `what` describes it.

    `tx_id` is the id of the transaction that it is about, if it is about one that owns an id.
    """

    block: int
    kind: DifferenceKind
    what: str
    tx_id: str | None = None


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
        self._compared = self._checks_signatures = self._checks_raw_blocks = False
        self.head_digest = NO_DIGEST
        """The digest of the highest block, computed again; `NO_DIGEST` if it has none."""
        self.checked = CheckedDocuments()
        """What `check_consistency` checked."""
        self.unchecked_hashes: Counter[Unchecked] = Counter()
        """The blocks whose commit hashes `compare` could not check, by the reason."""

    @property
    def difference_count(self) -> int:
        """The number of differences that were found."""
        return self._counts.total()

    @property
    def counts_by_kind(self) -> DifferenceCounts:
        """The number of differences of each kind."""
        documents = self._counts[DifferenceKind.DOCUMENTS] if self._compared else None
        signatures = self._counts[DifferenceKind.SIGNATURES] if self._checks_signatures else None
        raw_blocks = self._counts[DifferenceKind.RAW_BLOCKS] if self._checks_raw_blocks else None
        return DifferenceCounts(
            chain=self._counts[DifferenceKind.CHAIN],
            digests=self._counts[DifferenceKind.DIGESTS],
            counts=self._counts[DifferenceKind.COUNTS],
            events_without_transaction=self._counts[DifferenceKind.EVENTS_WITHOUT_TRANSACTION],
            documents=documents,
            signatures=signatures,
            raw_blocks=raw_blocks,
        )

    def _record(
        self, block: int, kind: DifferenceKind, what: str, tx_id: str | None = None
    ) -> None:
        self._counts[kind] += 1
        self._report(Difference(block, kind, what, tx_id))

    async def check_consistency(
        self, known_height: int = 0, part: BlockRange | None = None
    ) -> Height:
        """Check all blocks that are stored now, or those of a part of the ledger.

        `known_height` is the height that the daemon has recorded: up to it all blocks must exist.
        All blocks of a part must exist, and so must the block before it, with which it begins.
        Return the height that was checked.
        """
        stored = await stored_range(self._database)
        if stored is None:
            checks = ConsistencyChecks(self._record, BlockNumber(0))
            checks.check_keys(await foreign_keys(self._database))
            return Height(0)
        blocks = part or stored
        checks = ConsistencyChecks(
            self._record, stored.lowest, await self._block_before(blocks.lowest, stored.lowest)
        )
        checks.check_keys(await foreign_keys(self._database))
        first = blocks.lowest if blocks.lowest > stored.lowest else None
        async with aclosing(
            stored_documents_by_block(self._database, blocks.highest, first)
        ) as documents_by_block:
            async for documents in documents_by_block:
                checks.check(documents)
                if documents.number % _PROGRESS_INTERVAL == 0:
                    self._advance(documents.number + 1)
        checks.check_end(known_height if part is None else part.height)
        self.head_digest = checks.digest if checks.last == blocks.highest else NO_DIGEST
        self.checked = checks.checked
        return blocks.height

    async def _block_before(self, first: BlockNumber, start: BlockNumber) -> RawBSONDocument | None:
        """Return the stored block before `first`; None if `first` is the start block."""
        if first <= start:
            return None
        before = await stored_block(self._database, first - 1)
        if before is None:
            what = f"blocks: missing, so block {first} cannot be checked against it"
            self._record(first - 1, DifferenceKind.CHAIN, what)
        return before

    async def check_raw_blocks(
        self, archive: RawBlocks, known: ArchiveReport | None, height: Height
    ) -> None:
        """Compare the raw blocks below `height` with the stored blocks, as far as they are kept.

        `known` is what the daemon has reported: these blocks must be kept.
        """
        kept = await archive.kept_range()
        ends = [(kept.first, kept.last + 1)] if kept is not None else []
        if known is not None and known.first is not None and known.height is not None:
            ends.append((known.first, known.height))
        if not ends:
            return
        self._checks_raw_blocks = True
        first = min(first for first, _ in ends)
        end = min(max(end for _, end in ends), height)
        faults = raw_block_faults(self._database, archive, first, end, self._advance)
        async with aclosing(faults):
            async for fault in faults:
                self._record(fault.first, DifferenceKind.RAW_BLOCKS, fault.what)

    async def compare(
        self,
        blocks: AsyncIterator[DeliveredBlock],
        start: int,
        height: int,
        signatures: SignatureChecks | None = None,
        *,
        first: int | None = None,
    ) -> int:
        """Compare the blocks of a source up to block `height - 1` with the stored documents.

        The comparison begins with block `first`, or else with the start block of the ledger,
        `start`. `blocks` must come in ascending order. With `signatures` their signatures are
        verified too. Return the height that was compared.
        """
        self._checks_signatures = signatures is not None
        compared, self._compared = start if first is None else first, True
        digest = NO_DIGEST
        before = await self._stored(compared - 1) if compared > start else None
        hashes = CommitHashes(partial(earlier_values, self._database, start), before)
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
            previous = await self._stored_digest(block.number - 1, digest)
            encoded = encode_block(block, decide_owners(block, owned_below), previous)
            digest = encoded.digest
            await self._check_commit_hash(hashes, undecoded, encoded)
            await self._compare_block(encoded)
            if signatures is not None:
                stored = await read_verdict(self._database, undecoded.number)
                for what in signatures.check(undecoded, stored):
                    self._record(undecoded.number, DifferenceKind.SIGNATURES, what)
            compared = undecoded.number + 1
            if compared % _PROGRESS_INTERVAL == 0:
                self._advance(compared)
            if compared == height:
                break
        if compared < height:
            self._record(
                compared,
                DifferenceKind.DOCUMENTS,
                f"the source ends here, the blocks up to {height - 1} are stored",
            )
        return compared

    async def _stored_digest(self, number: int, of_chain: bytes) -> bytes:
        """Return the digest of a stored block, so that a wrong one is one difference, not many.

        Return the digest that the chain gives if the block is not stored or cannot be read.
        """
        stored = await self._stored(number)
        return stored.digest if stored is not None else of_chain

    async def _stored(self, number: int) -> StoredBlock | None:
        """Return a stored block; None if it is not stored or cannot be read."""
        try:
            return await self._store.block(number)
        except StoreConflictError:
            return None

    async def _check_commit_hash(
        self, hashes: CommitHashes, undecoded: UndecodedBlock, encoded: EncodedBlock
    ) -> None:
        try:
            unchecked = await hashes.check(identify(undecoded), encoded.updates)
            if unchecked is not None:
                self.unchecked_hashes[unchecked] += 1
        except ChainMismatchError as error:
            what = f"the source's {error.field} is {error.got}, the block gives {error.expected}"
            self._record(undecoded.number, DifferenceKind.DOCUMENTS, what)

    async def _compare_block(self, encoded: EncodedBlock) -> None:
        for difference in await compare_block(self._database, encoded):
            kind, tx_id = DifferenceKind.DOCUMENTS, difference.tx_id
            self._record(encoded.number, kind, difference.what, tx_id)
