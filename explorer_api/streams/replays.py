"""History for streams that are resumed: read in turns, and once for all that ask for the same."""

import asyncio
import time
from collections import OrderedDict
from typing import Final

from explorer_api.live.mongo_calls import MongoCalls
from explorer_api.streams.chunk_reader import read_chunk
from explorer_api.streams.messages import Chunk, Limits, Selection
from ledger.mongodb.reader import LedgerReader
from runtime.cancellation import raise_if_cancelled

_KEPT: Final = 64


class Replays:
    """Reads for one stream at a time, and no more than half of the time, so that other requests are served as well.

    What was read last is kept for a while: after a restart many clients come back that miss the same.
    """

    def __init__(self, database: MongoCalls) -> None:
        self._database = database
        self._turn = asyncio.Lock()
        self._rests_until = 0.0
        self._kept: OrderedDict[tuple[LedgerReader, str, Selection, int], Chunk] = OrderedDict()

    async def chunk(
        self,
        reader: LedgerReader,
        chain: str,
        selection: Selection,
        *,
        start: int,
        height: int,
        limits: Limits,
    ) -> Chunk:
        """As `read_chunk`. Raises `ProblemError` where MongoDB cannot answer."""
        key = (reader, chain, selection, start)
        async with self._turn:
            if key not in self._kept:
                await asyncio.sleep(self._rests_until - time.monotonic())
                began = time.monotonic()
                try:
                    with self._database.bounded():
                        self._kept[key] = await read_chunk(reader, selection, start, height, limits)
                    raise_if_cancelled()
                finally:
                    ended = time.monotonic()
                    self._rests_until = ended + (ended - began)
                if len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
            return self._kept[key]
