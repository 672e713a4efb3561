"""Reads single blocks from a source of blocks."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from indexer.sources.block_source import BlockSource, DeliveredBlock


async def read_blocks(source: BlockSource, numbers: Sequence[int]) -> dict[int, bytes]:
    """Return the serialized blocks with these numbers, as far as the source has them.

    Files are read once from their beginning to the highest of the blocks. A peer is asked for each
    block. Raises the errors of `BlockSource.blocks`.
    """
    wanted = set(numbers)
    starts = [min(wanted)] if source.finite else sorted(wanted)
    found: dict[int, bytes] = {}
    for start in starts:
        last = max(wanted) if source.finite else start
        async with aclosing(_delivered(source, start, last)) as delivered:
            async for each in delivered:
                if each.number in wanted:
                    found.setdefault(each.number, bytes(each.data))
    return found


async def _delivered(
    source: BlockSource, first: int, last: int
) -> AsyncGenerator[DeliveredBlock, None]:
    """Yield what the source delivers up to block `last`."""
    async with aclosing(source.blocks(first, None)) as blocks:
        async for each in blocks:
            if each.number <= last:
                yield each
            if each.number >= last:
                return
