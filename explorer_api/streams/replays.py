"""Reads the messages of earlier blocks for streams that are resumed."""

import asyncio
import time
from collections import OrderedDict
from typing import Final

from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.options import ChunkLimits
from explorer_api.streams.chunks import Chunk, DocumentCounts, read_chunk
from explorer_api.streams.messages import Selection
from ledger.mongodb.reader import LedgerReader
from runtime.cancellation import raise_if_cancelled

_MAX_CHUNKS: Final = 64


class Replays:
    """Reads for one stream at a time, and at most half of the time, so that other requests run.

    The last chunks are kept: after a restart, many clients reconnect and need the same messages.
    """

    def __init__(self, mongo_calls: MongoCalls, limits: ChunkLimits) -> None:
        self._mongo_calls, self._limits = mongo_calls, limits
        self._reading = asyncio.Lock()
        self._pause_until = 0.0
        self._chunks: OrderedDict[tuple[LedgerReader, str, Selection, int], Chunk] = OrderedDict()

    async def chunk(
        self,
        reader: LedgerReader,
        chain: str,
        selection: Selection,
        *,
        start: int,
        height: int,
        counts: DocumentCounts,
    ) -> Chunk:
        """Return a chunk as `read_chunk` does. Raises `ProblemError` when MongoDB cannot answer."""
        key = (reader, chain, selection, start)
        async with self._reading:
            if key not in self._chunks:
                await asyncio.sleep(self._pause_until - time.monotonic())
                started_at = time.monotonic()
                try:
                    with self._mongo_calls.bounded():
                        self._chunks[key] = await read_chunk(
                            reader, selection, start, height, counts=counts, limits=self._limits
                        )
                    raise_if_cancelled()
                finally:
                    ended_at = time.monotonic()
                    self._pause_until = ended_at + (ended_at - started_at)
                if len(self._chunks) > _MAX_CHUNKS:
                    self._chunks.popitem(last=False)
            return self._chunks[key]
