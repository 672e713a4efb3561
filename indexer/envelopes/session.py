"""Hands the blocks of one peer to a verifier, each of them compared with the stored block first."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from indexer.envelopes.messages import Reply, Request, Task
from indexer.envelopes.process import Verifier
from indexer.envelopes.verifier import VerifiedBlock
from indexer.sources.block_source import BlockSource, DeliveredBlock, SourceUnavailableError
from ledger.decoding.blocks import UndecodedBlock
from ledger.errors import StoreConflictError
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.stored_blocks import StoredBlock
from ledger.mongodb.verdicts import StoredVerdict, VerdictStore
from ledger.trust.acceptance import Judgement
from ledger.trust.verdicts import Member


class VerifierSession:
    """A verifier, and the peer that gives the blocks.

    A block of the peer that is not the stored one raises `SourceUnavailableError`, as a block that
    does not come within `stall_s` seconds does: neither is a verdict.
    """

    def __init__(
        self, store: LedgerStore, source: BlockSource, verifier: Verifier, stall_s: float
    ) -> None:
        self._store, self._source, self._verifier = store, source, verifier
        self._stall_s = stall_s
        self._stored: dict[int, StoredBlock] = {}

    async def restore(self, config: int | None, definitions: Sequence[int]) -> None:
        """Give the verifier the CONFIG block in force, and the blocks that changed definitions."""
        if config is not None:
            await self._send(Task.LEARN, config)
        for number in definitions:
            await self._send(Task.REPLAY, number)

    async def trust(self, anchor: UndecodedBlock) -> None:
        """Give the verifier a CONFIG block that the operator trusts; none is stored to compare."""
        await self._verifier.ask(Request(Task.TRUST, anchor.envelopes[0]))

    async def next_block(
        self, blocks: AsyncGenerator[DeliveredBlock, None], number: int
    ) -> DeliveredBlock:
        """Return the block with this number from the peer's stream."""
        try:
            async with asyncio.timeout(self._stall_s):
                async for delivered in blocks:
                    if delivered.number == number:
                        return delivered
                    if delivered.number > number:
                        break
        except TimeoutError:
            raise SourceUnavailableError(
                "stalled",
                f"{self._source.name} gave no block {number} within {self._stall_s:.0f} s",
            ) from None
        raise SourceUnavailableError(
            "protocol", f"{self._source.name} does not give block {number} where it is due"
        )

    async def verify(
        self, delivered: DeliveredBlock, following: range
    ) -> tuple[StoredBlock, VerifiedBlock]:
        """Return the stored block, and what the verifier found.

        The stored blocks of the numbers `following` are read with it, for the next calls.
        """
        if delivered.number not in self._stored:
            self._stored = await self._store.stored_blocks([delivered.number, *following])
        stored, reply = await self._ask(Task.VERIFY, delivered)
        return stored, reply.verified

    async def judge(self, members: Sequence[Member]) -> Sequence[Judgement]:
        """Return whether the configuration after the last block accepts certificates."""
        reply = await self._verifier.ask(Request(Task.JUDGE, b"", members=tuple(members)))
        return reply.judgements

    async def _send(self, task: Task, number: int) -> None:
        """Read one block again, and hand it to the verifier."""
        async with aclosing(self._source.blocks(number, None)) as blocks:
            delivered = await self.next_block(blocks, number)
        self._stored = await self._store.stored_blocks([number])
        await self._ask(task, delivered)

    async def _ask(self, task: Task, delivered: DeliveredBlock) -> tuple[StoredBlock, Reply]:
        stored = self._stored.get(delivered.number)
        if stored is None:
            raise SourceUnavailableError(
                "store",
                f"block {delivered.number} is missing in the store: run `kindledger verify`",
            )
        request = Request(task, bytes(delivered.data), delivered.name, stored.hash, stored.codes)
        reply = await self._verifier.ask(request)
        if reply.fault:
            raise SourceUnavailableError(
                "differs", f"{self._source.name} does not give the stored block: {reply.fault}"
            )
        return stored, reply


async def definition_blocks(
    verdicts: VerdictStore, last: StoredVerdict | None, start: int
) -> list[int]:
    """Return the blocks up to the verdict `last` that changed definitions, in ascending order.

    The first verdict is on block `start`. Raises `StoreConflictError` if a verdict that leads to
    them is missing or was changed.
    """
    found: list[int] = []
    while last is not None and last.definitions_block is not None:
        number = last.definitions_block
        if not start <= number <= last.number:
            expected = f"a block from {start} to {last.number}"
            raise StoreConflictError("verdicts", last.number, "definitionsBlock", expected, number)
        found.append(number)
        last = await verdicts.find(number - 1)
        if last is None and number > start:
            raise StoreConflictError("verdicts", number - 1, "_id", "a verdict", "none")
    return found[::-1]
