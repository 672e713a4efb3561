"""Repairs a stored ledger with the blocks of a source.

First the source is read to find what is wrong, and to prove that its blocks are one chain with the
highest stored block, with the commit hashes and signatures that belong to them. Nothing is changed
before that. Then the blocks that are wrong are read again, and put right in ascending order. A
repair that is killed can be run again.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from enum import StrEnum
from hashlib import sha256
from typing import Final

from msgspec import Struct

from indexer.audit.document_differences import (
    DifferenceOfDocument,
    DocumentDifference,
    compare_block,
)
from indexer.audit.source_checks import SourceChecks
from indexer.audit.verified_source import VerifiedSource, verified_source
from indexer.sources.block_source import BlockSource
from ledger.decoding.blocks import UndecodedBlock, decode_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.errors import ChainMismatchError
from ledger.model import Block
from ledger.mongodb.leftovers import uncommitted_documents
from ledger.mongodb.repairs import Act, Change, RepairStore, block_of
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.verification_queries import digests_begin
from ledger.ownership import decide_owners, ids_to_look_up

_PROGRESS_INTERVAL: Final = 20
_CHANGED_SOURCE: Final = (
    "The source gives another block now than a moment ago. Nothing of this block was changed. Do "
    "not trust this source: repair from another one."
)
_ACTS: Final = {
    DifferenceOfDocument.MISSING: Act.INSERT,
    DifferenceOfDocument.ALTERED: Act.REPLACE,
    DifferenceOfDocument.SURPLUS: Act.REMOVE,
}


class Cause(StrEnum):
    """Why a document is repaired, or why a block cannot be repaired."""

    MISSING = "missing"
    ALTERED = "altered"
    SURPLUS = "surplus"  # at a committed block, which has no such document
    LEFTOVER = "leftover"  # above the highest block, and not of the chain as far as it is known
    MISPLACED = "misplaced"  # at no position of the stored blocks
    UNKNOWN = "unknown"  # the source does not have the block


class Finding(Struct, frozen=True, rename="camel"):
    """A document that must be repaired. `repair` says how; it is null if nothing can be done.

    `field` is the first field that was altered.
    """

    block: int | None
    collection: str
    key: str
    cause: Cause
    field: str | None
    repair: Act | None
    what: str


class _WrongBlock(Struct, frozen=True):
    """The identity of a block of the source that has findings, and the digest before it."""

    identity: bytes
    previous_digest: bytes


class Repairer:
    """Finds what is wrong with one channel's stored ledger, and puts it right.

    Calls `report` with each finding, and `advance` with the number of a block at intervals.
    `checks` are made of each block of the source. Without a source only documents at no position of
    a stored block are found.
    """

    def __init__(
        self,
        store: LedgerStore,
        repairs: RepairStore,
        source: BlockSource | None,
        checks: SourceChecks,
        *,
        report: Callable[[Finding], None],
        advance: Callable[[int], None],
    ) -> None:
        self._store, self._repairs, self._source = store, repairs, source
        self._checks, self._report, self._advance = checks, report, advance
        self._verified: VerifiedSource | None = None
        self._first, self._head, self._end = 0, -1, -1
        self._wrong_blocks: dict[int, _WrongBlock] = {}
        """The blocks of the source that have findings, by number."""
        self._restored_ids: set[str] = set()
        self._removed_ids: set[str] = set()
        """The ids that the repair of lower blocks will give to an owner, or take from one."""
        self.counts: Counter[Cause] = Counter()
        self.repaired = 0
        """The number of findings that were repaired."""
        self.last = -1
        """The highest block that is stored, or that has documents."""

    async def inspect(self, begin: Callable[[int], None] = lambda _: None) -> int:
        """Find everything that is wrong, and return the number of findings; change nothing.

        Calls `begin` with the number of the highest block that is looked at. Raises
        `ChainMismatchError` if source and store are different chains, or if a block of the source
        has a wrong commit hash or wrong signatures.
        """
        stored = await self._repairs.lowest_and_highest()
        if stored is not None:
            self._first, self._head = await self._repairs.first_block(stored[0]), stored[1]
        leftovers = await uncommitted_documents(self._store.database, self._head + 1)
        self.last = max(self._head, leftovers.highest_block or -1)
        self._end = self._head
        begin(self.last)
        if self._source is not None:
            self._verified = await verified_source(self._repairs, self._source, self._head)
            await self._inspect_blocks(self._verified)
        async with aclosing(self._outside()) as chunks:
            async for cause, changes in chunks:
                for change in changes:
                    self._record(_removal_finding(change, cause))
        return self.counts.total()

    async def _inspect_blocks(self, source: VerifiedSource) -> None:
        end = self._first - 1
        digest, begin = NO_DIGEST, await digests_begin(self._store.database)
        async with aclosing(source.blocks(self._first, self.last)) as blocks:
            async for undecoded in blocks:
                block = decode_block(undecoded)
                self._checks.check_signatures(undecoded, block.last_config)
                self._record_unknown(end + 1, block.number)
                if block.number > end + 1:
                    digest = await self._stored_digest(block.number - 1)
                previous = digest if block.number > begin else NO_DIGEST
                encoded = await self._encode(block, previous)
                await self._checks.check_commit_hash(undecoded, encoded.updates)
                differences = await self._differences(encoded)
                for each in differences:
                    self._record(self._finding(block.number, each))
                if differences:
                    wrong = _WrongBlock(_identity(undecoded), previous)
                    self._wrong_blocks[block.number] = wrong
                end, digest = block.number, encoded.digest
                if block.number % _PROGRESS_INTERVAL == 0:
                    self._advance(block.number)
        self._record_unknown(end + 1, self._head + 1)
        self._end = max(end, self._head)

    async def _stored_digest(self, number: int) -> bytes:
        """Return the digest of a block that the source does not have, as it is stored."""
        stored = await self._store.block(number)
        return stored.digest if stored is not None else NO_DIGEST

    def _record_unknown(self, start: int, end: int) -> None:
        """Record that the source does not have the blocks from `start` to `end - 1`."""
        if start < end:
            what = f"the source does not have the blocks {start} to {end - 1}"
            self._record(Finding(start, "", "", Cause.UNKNOWN, None, None, what))

    async def _encode(self, block: Block, previous_digest: bytes) -> EncodedBlock:
        """Return the documents that the chain gives; `previous_digest` is of the block before."""
        ids = ids_to_look_up(block)
        owned = await self._store.owned_ids(ids, block.number) - self._removed_ids
        owners = decide_owners(block, owned | (set(ids) & self._restored_ids))
        return encode_block(block, owners, previous_digest)

    async def _differences(self, encoded: EncodedBlock) -> list[DocumentDifference]:
        """Return what differs; of an uncommitted block only what is not of the chain."""
        found = await compare_block(self._store.database, encoded)
        if encoded.number > self._head:
            found = [each for each in found if each.stored is not None]
        for each in found:
            for document, known in (
                (each.stored, self._removed_ids),
                (each.expected, self._restored_ids),
            ):
                if document is not None and isinstance(document.get("txId"), str):
                    known.add(document["txId"])
        self._removed_ids -= self._restored_ids
        return found

    def _finding(self, number: int, difference: DocumentDifference) -> Finding:
        cause, act = Cause(difference.kind), _ACTS[difference.kind]
        if number > self._head:
            cause, act = Cause.LEFTOVER, Act.REMOVE
        return Finding(
            number,
            difference.collection,
            str(difference.key),
            cause,
            difference.field,
            act,
            difference.what,
        )

    def _record(self, finding: Finding) -> None:
        self.counts[finding.cause] += 1
        self._report(finding)

    async def _outside(self) -> AsyncGenerator[tuple[Cause, list[Change]], None]:
        """Yield the documents at no position of a block that is stored or that the source has."""
        for cause, chunks in (
            (Cause.MISPLACED, self._repairs.misplaced(self._first)),
            (Cause.LEFTOVER, self._repairs.above(self._end + 1)),
        ):
            async with aclosing(chunks):
                async for name, documents in chunks:
                    yield cause, [Change(Act.REMOVE, name, d["_id"], d) for d in documents]

    async def apply(self, *, may_change: bool) -> int:
        """Put right what `inspect` has found, and return the number of findings that remain.

        Without `may_change` only missing documents are inserted. Raises `ChainMismatchError` if the
        source gives other blocks than before.
        """
        found = self.counts.total()
        self._restored_ids.clear()
        self._removed_ids.clear()
        if may_change:
            async with aclosing(self._outside()) as chunks:
                async for _, changes in chunks:
                    await self._repairs.remove(changes)
                    self.repaired += len(changes)
        if self._verified is not None and self._wrong_blocks:
            first, last = min(self._wrong_blocks), max(self._wrong_blocks)
            async with aclosing(self._verified.blocks(first, last)) as blocks:
                async for block in blocks:
                    if block.number in self._wrong_blocks:
                        await self._repair_block(block, may_change=may_change)
                    if block.number % _PROGRESS_INTERVAL == 0:
                        self._advance(block.number)
        return found - self.repaired

    async def _repair_block(self, block: UndecodedBlock, *, may_change: bool) -> None:
        wrong, got = self._wrong_blocks[block.number], _identity(block)
        if got != wrong.identity:
            field = "hash of header and metadata"
            raise ChainMismatchError(
                block.number, field, wrong.identity.hex(), got.hex(), _CHANGED_SOURCE
            )
        encoded = await self._encode(decode_block(block), wrong.previous_digest)
        differences = await self._differences(encoded)
        if block.number > self._head:
            if may_change:
                changes = [Change(Act.REMOVE, d.collection, d.key, d.stored) for d in differences]
                await self._repairs.remove(changes)
                self.repaired += len(changes)
        elif may_change:
            changes = list(_changes(differences))
            await self._repairs.repair_block(changes)
            self.repaired += len(changes)
        else:
            self.repaired += await self._repairs.insert_missing(list(_changes(differences)))


def _identity(block: UndecodedBlock) -> bytes:
    """Return a hash of the block's header and metadata; the header has the envelopes' hash."""
    entries = [sha256(entry).digest() for entry in block.metadata]
    return sha256(b"".join([block.hash, *entries])).digest()


def _changes(differences: Sequence[DocumentDifference]) -> Iterable[Change]:
    for each in differences:
        yield Change(
            _ACTS[each.kind], each.collection, each.key, each.stored, each.expected, each.field
        )


def _removal_finding(change: Change, cause: Cause) -> Finding:
    block, key = block_of(change.collection, change.key), str(change.key)
    where = "above the highest block" if cause is Cause.LEFTOVER else "at no position of the ledger"
    what = f"{change.collection}: {key} is stored {where}"
    return Finding(block, change.collection, key, cause, None, Act.REMOVE, what)
