"""A store that crashes at a chosen call, as the process may at any time."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from bson.int64 import Int64

from ledger.documents.encoding import EncodedBlock
from ledger.mongodb.index_builds import IndexModels
from ledger.mongodb.store import LedgerStore, Primaries


class CrashError(BaseException):
    """The crash of the process; no `except Exception` catches it."""


T = TypeVar("T")
Insert: TypeAlias = Callable[[Sequence[EncodedBlock]], Coroutine[Any, Any, T]]


class CrashingStore(LedgerStore):
    """A store that crashes at one of its calls: before it, after it, or half-way through it."""

    _calls, _crash_at, _moment = 0, 0, ""

    def plan_crash(self, at: int, moment: str) -> "CrashingStore":
        """Choose to crash at call number `at`, counted from 1; 0 for no crash. Return the store."""
        self._calls, self._crash_at, self._moment = 0, at, moment
        self._sent: list[asyncio.Task[Any]] = []
        return self

    async def wait_for_sent(self) -> None:
        """Wait for the calls that were sent before the crash: MongoDB carries them out anyway."""
        await asyncio.gather(*self._sent, return_exceptions=True)

    async def insert_transactions(
        self, blocks: Sequence[EncodedBlock], *, wait: bool = True
    ) -> Primaries:
        """Crash, or insert."""
        return await self._step(partial(super().insert_transactions, wait=wait), blocks)

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> Primaries:
        """Crash, or insert."""
        return await self._step(super().insert_events, blocks)

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Crash, or insert. Blocks are inserted in order: half-way, a prefix of them is stored."""
        await self._step(super().insert_blocks, blocks, ordered=True)

    async def owned_ids(self, tx_ids: Iterable[str], below: int) -> set[str]:
        """Crash, or query."""
        self._calls += 1
        if self._calls == self._crash_at:
            raise CrashError
        return await super().owned_ids(tx_ids, below)

    async def owned_ids_at(self, positions: Sequence[Int64]) -> set[str]:
        """Crash, or query."""
        self._calls += 1
        if self._calls == self._crash_at:
            raise CrashError
        return await super().owned_ids_at(positions)

    async def build_indexes(self, indexes: IndexModels) -> None:
        """Crash, or build. Half-way, MongoDB builds the indexes of one collection."""
        self._calls += 1
        crashes = self._calls == self._crash_at
        sent = dict(list(indexes.items())[:1]) if crashes and self._moment == "midway" else indexes
        if not crashes or self._moment != "before":
            await super().build_indexes(sent)
        if crashes:
            raise CrashError

    async def _step(
        self, insert: Insert[T], blocks: Sequence[EncodedBlock], *, ordered: bool = False
    ) -> T:
        self._calls += 1
        if self._calls != self._crash_at:
            return await self._send(insert, blocks)
        if self._moment == "after":
            await self._send(insert, blocks)
        elif self._moment == "midway":
            await self._send(
                insert,
                blocks[: len(blocks) // 2] if ordered else [_half(block) for block in blocks],
            )
        raise CrashError

    async def _send(self, insert: Insert[T], blocks: Sequence[EncodedBlock]) -> T:
        sent = asyncio.ensure_future(insert(blocks))
        self._sent.append(sent)
        return await asyncio.shield(sent)


def _half(block: EncodedBlock) -> EncodedBlock:
    """Return every other document, as an interrupted unordered insert may leave them."""
    return EncodedBlock(
        number=block.number,
        digest=block.digest,
        block=block.block,
        transactions=block.transactions[::2],
        events=block.events[1::2],
        undecodable=block.undecodable,
    )
