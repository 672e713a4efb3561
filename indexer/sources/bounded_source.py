"""The blocks of another source up to a given one."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from indexer.sources.block_source import BlockSource, DeliveredBlock


class BoundedSource:
    """Delivers the blocks of a source, which may be a peer, up to block `last`, and ends."""

    finite = True

    def __init__(self, source: BlockSource, last: int) -> None:
        self._source, self._last = source, last
        self.name, self.seeks = source.name, source.seeks

    async def newest(self) -> None:
        """Return None: the source ends, as files do."""

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the blocks of the source; raise its errors."""
        if start > self._last:
            return
        async with aclosing(self._source.blocks(start, tip)) as blocks:
            async for delivered in blocks:
                if delivered.number <= self._last:
                    yield delivered
                if delivered.number >= self._last:
                    return
