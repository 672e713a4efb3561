"""The totals over ranges of stored blocks, cached in Redis."""

from typing import Final

from explorer_api.live.channel_totals import ChannelTotals
from explorer_api.live.heads import block_id
from explorer_api.live.redis_cache import RedisCache
from ledger.mongodb.reader import LedgerReader
from ledger.position import BlockNumber

_CACHE_S: Final = 30 * 86_400


class RangeTotals:
    """Computes the totals over a range of blocks of one channel.

    Stored blocks never change. So Redis can hold the totals over long ranges for all processes, and
    for later starts.
    """

    def __init__(
        self, reader: LedgerReader, redis_cache: RedisCache | None, max_names: int
    ) -> None:
        self._reader, self._redis_cache, self._max_names = reader, redis_cache, max_names

    async def compute(self, first: int, last: int) -> ChannelTotals:
        """Return the totals over blocks `first` to `last`, read from MongoDB."""
        # The events are counted first: this fails at once while their index is missing.
        events = await self._reader.event_counts(first, BlockNumber(last))
        blocks = await self._reader.totals(first, BlockNumber(last))
        return ChannelTotals(blocks, events).bounded(self._max_names)

    async def get_or_compute(self, first: int, last: int) -> ChannelTotals:
        """Return the totals from Redis, or compute them and store them there."""
        if self._redis_cache is None:
            return await self.compute(first, last)
        name = await self._cache_name(first, last)
        if name is not None:
            cached = await self._redis_cache.get(name, ChannelTotals)
            if cached is not None:
                return cached
        totals = await self.compute(first, last)
        is_complete = totals.blocks.totals.blocks == last - first + 1  # a lost block may come back
        if is_complete and name is not None and name == await self._cache_name(first, last):
            await self._redis_cache.put(name, totals, _CACHE_S)
        return totals

    async def _cache_name(self, first: int, last: int) -> str | None:
        block = await self._reader.block(last)
        return f"totals:{first}:{block_id(block)}" if block is not None else None
