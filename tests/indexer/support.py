"""What the fault tests share: a hostile chain, the documents it must give, and ways to crash on the way."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase

from devnet.forge.forger import Recipe, forge
from indexer.block_source import DeliveredBlock, parse_delivered
from indexer.channel_indexer import ChannelIndexer
from indexer.channel_progress import ChannelProgress
from indexer.pipeline import PipelineLimits
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.encoding import EncodedBlock, encode_block
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, TRANSACTIONS
from ledger.mongodb.store import LedgerStore

CHANNEL = "kindledger"
SMALL = PipelineLimits(
    delivered_bytes=60_000, decode_bytes=20_000, encoded_bytes=60_000, batch_bytes=25_000
)
"""Bounds that make many small batches, written in parallel."""

Dump = dict[str, dict[int, Any]]


@cache
def hostile_chain(blocks: int = 36, seed: int = 4) -> tuple[bytes, ...]:
    """A valid chain full of invalid, unparsable and repeated envelopes."""
    recipe = Recipe(
        seed=seed,
        channel=CHANNEL,
        transactions_per_block=range(1, 9),
        invalid_share=0.25,
        hostile_share=0.35,
        signed=False,
    )
    return tuple(block.data for block in islice(forge(recipe), blocks))


@cache
def expected_documents(chain: tuple[bytes, ...]) -> Dump:
    """What one clean pass leaves, with the ownership of ids decided naively over the whole chain."""
    decoded = [decode_block(read_block(data)) for data in chain]
    owner: dict[str, tuple[int, int]] = {}
    for block in decoded:
        here: dict[str, tuple[bool, int]] = {}
        for transaction in block.transactions:
            claim = (transaction.code != VALID, transaction.index)
            here[transaction.tx_id] = min(claim, here.get(transaction.tx_id, claim))
        for tx_id, (_, index) in here.items():
            if tx_id and len(tx_id.encode()) <= 65536:
                owner.setdefault(tx_id, (block.number, index))
    dump: Dump = {BLOCKS: {}, TRANSACTIONS: {}, EVENTS: {}}
    for block in decoded:
        owns = [owner.get(t.tx_id) == (block.number, t.index) for t in block.transactions]
        encoded = encode_block(block, owns)
        dump[BLOCKS][block.number] = encoded.block.raw
        dump[TRANSACTIONS] |= {document["_id"]: document.raw for document in encoded.transactions}
        dump[EVENTS] |= {document["_id"]: document.raw for document in encoded.events}
    return dump


async def stored_documents(database: AsyncDatabase[Any]) -> Dump:
    """Everything that the database holds, byte for byte."""
    raw: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
    return {
        name: {
            d["_id"]: d.raw async for d in database.get_collection(name, codec_options=raw).find()
        }
        for name in (BLOCKS, TRANSACTIONS, EVENTS)
    }


def assert_equal_documents(stored: Dump, expected: Dump) -> None:
    """A two-way difference that is short to read."""
    for name, documents in expected.items():
        missing = documents.keys() - stored[name].keys()
        surplus = stored[name].keys() - documents.keys()
        different = [
            key
            for key in documents.keys() & stored[name].keys()
            if documents[key] != stored[name][key]
        ]
        assert (missing, surplus, different) == (set(), set(), []), name


def assert_whole_prefix(stored: Dump, expected: Dump) -> None:
    """What readers may see after a crash: contiguous blocks, each with all of its documents, and nothing wrong."""
    numbers = sorted(stored[BLOCKS])
    assert numbers == list(range(len(numbers))), f"blocks are not contiguous: {numbers}"
    height = len(numbers)
    for name in (BLOCKS, TRANSACTIONS, EVENTS):
        shift = 0 if name == BLOCKS else 20
        visible = {key: value for key, value in stored[name].items() if key >> shift < height}
        due = {key: value for key, value in expected[name].items() if key >> shift < height}
        assert visible == due, f"{name}: below height {height} not as the chain has it"
    for key, event in stored[EVENTS].items():
        assert key in stored[TRANSACTIONS], (
            f"event without its transaction: {RawBSONDocument(event)['txId']}"
        )


class ScriptedSource:
    """A peer that delivers what the script says, a line at each seek, and after the last line all that is wanted.

    `ended` is called when it has delivered its highest block; then it waits for ever, as a peer does.
    """

    name, finite = "script", False

    def __init__(self, chain: Sequence[bytes], script: Sequence[Sequence[int]] = ()) -> None:
        self._chain = chain
        self._script = iter(script)
        self.ended: Callable[[], None] = lambda: None

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """The next line of the script, then everything from the tip on."""
        first = start if tip is None else tip
        for number in (*next(self._script, ()), *range(first, len(self._chain))):
            yield parse_delivered(self._chain[number], self.name)
        self.ended()
        await asyncio.Event().wait()

    async def newest(self) -> DeliveredBlock | None:
        """Not told."""
        return None


class CrashError(BaseException):
    """The process is gone: nothing in it may catch this."""


Insert = Callable[[Sequence[EncodedBlock]], Coroutine[Any, Any, None]]


class CrashingStore(LedgerStore):
    """Dies at the k-th call: before it, after it, or with only some of its documents written."""

    def crash(self, at: int, moment: str) -> "CrashingStore":
        """Plans the crash; returns the store."""
        self._calls, self._crash_at, self._moment = 0, at, moment
        self._sent: list[asyncio.Task[None]] = []
        return self

    async def quiet(self) -> None:
        """Waits for what was sent before the crash: MongoDB carries it out, whoever asked for it is gone or not."""
        await asyncio.gather(*self._sent, return_exceptions=True)

    async def insert_transactions(self, blocks: Sequence[EncodedBlock]) -> None:
        """Dies, or inserts."""
        await self._step(super().insert_transactions, blocks)

    async def insert_events(self, blocks: Sequence[EncodedBlock]) -> None:
        """Dies, or inserts."""
        await self._step(super().insert_events, blocks)

    async def insert_blocks(self, blocks: Sequence[EncodedBlock]) -> None:
        """Dies, or inserts; of blocks only a prefix can be written, because they are inserted in order."""
        await self._step(super().insert_blocks, blocks, ordered=True)

    async def owned_ids(self, tx_ids: Iterable[str], below: int) -> set[str]:
        """Dies, or asks."""
        self._calls += 1
        if self._calls == self._crash_at:
            raise CrashError
        return await super().owned_ids(tx_ids, below)

    async def _step(
        self, insert: Insert, blocks: Sequence[EncodedBlock], *, ordered: bool = False
    ) -> None:
        self._calls += 1
        crashes = self._calls == self._crash_at
        if not crashes or self._moment == "after":
            await self._send(insert, blocks)
        elif self._moment == "midway":
            await self._send(
                insert,
                blocks[: len(blocks) // 2] if ordered else [_half(block) for block in blocks],
            )
        if crashes:
            raise CrashError

    async def _send(self, insert: Insert, blocks: Sequence[EncodedBlock]) -> None:
        sent = asyncio.ensure_future(insert(blocks))
        self._sent.append(sent)
        await asyncio.shield(sent)


def _half(block: EncodedBlock) -> EncodedBlock:
    """Every other document, as an unordered insert that was cut off may leave them."""
    return EncodedBlock(
        number=block.number,
        block=block.block,
        transactions=block.transactions[::2],
        events=block.events[1::2],
        size=block.size,
        undecodable=block.undecodable,
    )


def new_progress() -> ChannelProgress:
    """Progress by the machine's clocks."""
    return ChannelProgress(CHANNEL, time.monotonic, lambda: datetime.now(UTC))


async def index(
    store: LedgerStore, source: ScriptedSource, limits: PipelineLimits = SMALL
) -> ChannelProgress:
    """Indexes what the source delivers, from wherever the store stands, in a task that a crash may spoil."""
    progress = new_progress()
    indexer = ChannelIndexer(store, [source], progress, limits=limits)
    source.ended = indexer.stop
    await asyncio.create_task(indexer.run())
    return progress
