"""Blocks from an archive of raw blocks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from pymongo.asynchronous.database import AsyncDatabase

from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.decoding.block_identities import BlockIdentity
from ledger.errors import DamagedRawBlockError
from ledger.mongodb.block_identities import StoredIdentities
from ledger.position import MAX_BLOCK_NUMBER
from ledger.raw_blocks import KeptBlock, RawBlocks, check_raw_block

_SMALL_BYTES: Final = 1 << 16
"""The size of frames up to which they are decompressed without a thread."""


class ArchiveSource:
    """Delivers the kept blocks in ascending order. If one is missing, the next one follows.

    With a database each block is compared with the stored block of its number, as far as there is
    one, before it is delivered.
    """

    finite, seeks = True, True

    def __init__(self, archive: RawBlocks, stored: AsyncDatabase[Any] | None = None) -> None:
        self._archive, self._stored = archive, stored
        self.name = f"archive {archive.name}"

    async def newest(self) -> None:
        """Return None: an archive ends, as files do."""

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the kept blocks from `start` on, or from `tip` on.

        Raises `DamagedRawBlockError` for a block that was damaged, or is not the stored one.
        """
        first = start if tip is None else tip
        stored = StoredIdentities(self._stored) if self._stored is not None else None
        async with aclosing(self._archive.kept_blocks(first, MAX_BLOCK_NUMBER)) as kept:
            async for block in kept:
                identity = await stored.find(block.number) if stored is not None else None
                if len(block.frame) <= _SMALL_BYTES:
                    yield _delivered(block, identity)
                else:
                    yield await asyncio.to_thread(_delivered, block, identity)


def _delivered(kept: KeptBlock, stored: BlockIdentity | None) -> DeliveredBlock:
    data = kept.block_bytes()
    if stored is not None:
        check_raw_block(data, stored, kept.place)
    delivered = delivered_block(data, kept.place)
    if delivered.number != kept.number:
        what = f"block {delivered.number} is kept in its place"
        raise DamagedRawBlockError(kept.number, kept.place, what, is_other_block=True)
    return delivered
