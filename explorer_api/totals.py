"""Sums over all blocks of a channel, kept up to date by adding the new ones."""

import asyncio

from ledger.documents import Document
from ledger.reader import LedgerReader, Totals

_BLOCKS_AT_A_TIME = 50_000


class RunningTotals:
    """Counts each block once. Long ledgers are counted in parts, so that a request that runs out of time helps too."""

    def __init__(self, reader: LedgerReader) -> None:
        self._reader = reader
        self._lock = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._next = 0
        self._last_hash: str | None = None
        self._totals = Totals()

    async def up_to(self, head: Document) -> Totals:
        """The sums over all stored blocks up to the head."""
        number = head["number"]
        async with self._lock:
            if not await self._same_chain(head):
                self._forget()
            while self._next <= number:
                last = min(self._next + _BLOCKS_AT_A_TIME - 1, number)
                block = head if last == number else await self._reader.block(last)
                part = await self._reader.totals(self._next, last)
                self._totals = self._totals.plus(part)
                self._next, self._last_hash = last + 1, block["blockHash"] if block is not None else None
            newer = await self._reader.totals(number + 1, self._next - 1) if number < self._next - 1 else Totals()
            return self._totals.minus(newer)

    async def _same_chain(self, head: Document) -> bool:
        """Whether what was counted belongs to this chain; a database can be dropped and indexed anew."""
        if self._last_hash is None:
            return True
        counted = self._next - 1
        block = head if head["number"] == counted else await self._reader.block(counted)
        return block is not None and block["blockHash"] == self._last_hash
