"""Limits the time for which a command waits for a block of a source."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from indexer.sources.block_source import BlockSource, DeliveredBlock, SourceUnavailableError


class StallLimit:
    """A source that fails when a block does not come within `stall_s` seconds.

    A peer waits without an end for a block that it does not have yet.
    """

    def __init__(self, source: BlockSource, stall_s: float) -> None:
        self._source, self._stall_s = source, stall_s
        self.name, self.finite, self.seeks = source.name, source.finite, source.seeks

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the blocks of the source; see `BlockSource.blocks`."""
        async with aclosing(self._source.blocks(start, tip)) as blocks:
            while True:
                async with self._limit():
                    delivered = await anext(blocks, None)
                if delivered is None:
                    return
                yield delivered

    async def newest(self) -> DeliveredBlock | None:
        """Return the source's highest block; see `BlockSource.newest`."""
        async with self._limit():
            return await self._source.newest()

    @asynccontextmanager
    async def _limit(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._stall_s):
                yield
        except TimeoutError:
            raise SourceUnavailableError(
                "stalled", f"{self.name} gave no block within {self._stall_s:g} s"
            ) from None
