"""Writes the raw blocks of a channel to its archive, before the blocks are committed."""

from collections.abc import Sequence
from typing import Final

import structlog

from indexer.pipeline.block_steps import PreparedBlock
from indexer.pipeline.chain import Chain
from indexer.pipeline.store_retry import StoreRetry
from indexer.progress.channel_progress import ChannelProgress
from ledger.archive.frames import BlockCompressor
from ledger.decoding.block_identities import BlockIdentity
from ledger.errors import ChainMismatchError, DamagedRawBlockError
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ArchiveReport
from ledger.position import BlockNumber, height_above
from ledger.raw_blocks import CompressedBlock, KeptRange, RawBlockArchive, check_raw_block

log = structlog.get_logger()

_OTHER_CHAIN: Final = (
    "The archive of raw blocks and the stored ledger are of different chains, or one of both was "
    "altered. Nothing was stored. Check archive.folder and the database of the channel, and "
    "compare both with a peer: `kindledger verify --source peer`."
)


class RawBlockKeeper:
    """Compresses blocks, and writes them to the archive of one channel."""

    def __init__(
        self, archive: RawBlockArchive, retry: StoreRetry, progress: ChannelProgress
    ) -> None:
        self._archive, self._retry, self._progress = archive, retry, progress
        self._compressor = BlockCompressor()

    def compress(self, block_bytes: bytes | memoryview) -> bytes:
        """Return the block as one frame; calls must not overlap."""
        return self._compressor.compress(block_bytes)

    async def begin(self, store: LedgerStore, chain: Chain) -> None:
        """Compare the archive's highest block that is also stored, and report what is kept.

        Raises `ChainMismatchError` if the archive is of another chain.
        """
        kept = await self._retry.run(self._archive.kept_range)
        self._report(kept)
        if kept is None or chain.tip is None:
            return
        number = min(kept.last, chain.tip.number)
        stored = await self._retry.run(lambda: store.block(number))
        if stored is None:
            return
        try:
            data = await self._retry.run(lambda: self._archive.raw_block(number))
            if data is None:
                return
            identity = BlockIdentity(
                number, stored.hash.hex(), stored.codes, stored.commit_hash.hex() or None
            )
            check_raw_block(data, identity, self._archive.name)
        except DamagedRawBlockError as error:
            if not error.is_other_block:
                log.warning("raw_block_damaged", channel=self._progress.channel, error=str(error))
                return
            raise ChainMismatchError(
                number, "raw block", "the stored block", error.what, _OTHER_CHAIN
            ) from error

    async def keep(self, blocks: Sequence[PreparedBlock]) -> None:
        """Write a batch of blocks to the archive; they are durable when this returns.

        Raises `StoreConflictError` if another block is kept with one of their numbers.
        """
        compressed = [
            CompressedBlock(each.documents.number, each.frame)
            for each in blocks
            if each.frame is not None
        ]
        await self._retry.run(lambda: self._archive.append(compressed))
        before = self._progress.archive
        size = sum(len(each.frame) for each in compressed)
        first, last = compressed[0].number, compressed[-1].number
        if before is None or before.first is None or before.height is None:
            self._report(KeptRange(first, last, size))
        else:
            total = before.bytes + size if before.bytes is not None else None
            highest = max(before.height - 1, last)
            self._report(KeptRange(min(before.first, first), highest, total))

    def _report(self, kept: KeptRange | None) -> None:
        first = BlockNumber(kept.first) if kept is not None else None
        height = height_above(kept.last) if kept is not None else None
        size = kept.bytes if kept is not None else 0
        self._progress.archive = ArchiveReport(self._archive.name, first, height, size)
