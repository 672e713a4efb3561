"""A hostile chain, the documents of a chain, and a source that delivers by a script."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Any, Literal

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.database import AsyncDatabase

from devnet.forge.forger import Recipe, forge
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.pipeline.pipeline import PipelineLimits
from indexer.progress.agreement import Agreement
from indexer.progress.channel_progress import ChannelProgress
from indexer.sources.block_source import DeliveredBlock, delivered_block
from ledger.decoding.blocks import decode_block, read_block
from ledger.documents.digests import NO_DIGEST
from ledger.documents.encoding import encode_block
from ledger.model import VALID
from ledger.mongodb.collections import BLOCKS, EVENTS, RAW_BLOCKS, TRANSACTIONS
from ledger.mongodb.indexes import ready_indexes
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.position import MAX_BLOCK_NUMBER, unpack_position
from ledger.raw_blocks import RawBlockArchive

CHANNEL = "kindledger"
SMALL = PipelineLimits(
    delivered_bytes=60_000, decode_bytes=20_000, encoded_bytes=60_000, batch_bytes=25_000
)
"""Limits that make many small batches, which are written in parallel."""

Documents = dict[str, dict[int, Any]]
"""The raw documents of each collection, by `_id`; the blocks as delivered, by number."""


@cache
def hostile_chain(blocks: int = 36, seed: int = 4) -> tuple[bytes, ...]:
    """Return a valid chain with many invalid, unparsable and repeated envelopes."""
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
def expected_documents(chain: tuple[bytes, ...]) -> Documents:
    """Return the documents of one run without faults.

    The owners of ids are determined independently of the indexer, from the whole chain at once.
    """
    decoded = [decode_block(read_block(data)) for data in chain]
    owners: dict[str, tuple[int, int]] = {}
    for block in decoded:
        best_in_block: dict[str, tuple[bool, int]] = {}
        for transaction in block.transactions:
            rank = (transaction.code != VALID, transaction.index)
            tx_id = transaction.tx_id
            best_in_block[tx_id] = min(rank, best_in_block.get(tx_id, rank))
        for tx_id, (_, index) in best_in_block.items():
            if tx_id and len(tx_id.encode()) <= 65536:
                owners.setdefault(tx_id, (block.number, index))
    documents: Documents = {BLOCKS: {}, TRANSACTIONS: {}, EVENTS: {}}
    documents[RAW_BLOCKS] = {block.number: data for block, data in zip(decoded, chain, strict=True)}
    digest = NO_DIGEST
    for block in decoded:
        is_owner = [owners.get(t.tx_id) == (block.number, t.index) for t in block.transactions]
        encoded = encode_block(block, is_owner, digest)
        digest = encoded.digest
        documents[BLOCKS][block.number] = encoded.block.raw
        documents[TRANSACTIONS] |= {each["_id"]: each.raw for each in encoded.transactions}
        documents[EVENTS] |= {each["_id"]: each.raw for each in encoded.events}
    return documents


async def stored_documents(database: AsyncDatabase[Any]) -> Documents:
    """Return everything that the database holds, byte for byte.

    A command that was just killed may have sent a last insertion, which MongoDB still carries out.
    So each collection is read before those that are written before it, except the blocks: what
    belongs to a block that is read first must be complete afterwards.
    """
    raw: CodecOptions[RawBSONDocument] = CodecOptions(
        document_class=RawBSONDocument, unicode_decode_error_handler="replace"
    )
    documents = {
        name: {
            d["_id"]: d.raw async for d in database.get_collection(name, codec_options=raw).find()
        }
        for name in (BLOCKS, EVENTS, TRANSACTIONS)
    }
    kept = MongoArchive(database).kept_blocks(0, MAX_BLOCK_NUMBER)
    return documents | {RAW_BLOCKS: {each.number: each.block_bytes() async for each in kept}}


async def delete_all_documents(store: LedgerStore) -> None:
    """Delete every document of the ledger, and keep the indexes."""
    for name in (BLOCKS, TRANSACTIONS, EVENTS, RAW_BLOCKS):
        await store.database[name].delete_many({})


async def delete_everything(store: LedgerStore) -> None:
    """Delete every document and every index of the ledger, except the indexes of `_id`."""
    await delete_all_documents(store)
    existing = await store.database.list_collection_names()
    for name in {BLOCKS, TRANSACTIONS, EVENTS}.intersection(existing):
        await store.database[name].drop_indexes()


async def stored_indexes(database: AsyncDatabase[Any]) -> dict[str, dict[str, Any]]:
    """Return the specifications of the complete indexes of each collection, by name."""
    return {name: await ready_indexes(database, name) for name in (BLOCKS, TRANSACTIONS, EVENTS)}


def assert_equal_documents(stored: Documents, expected: Documents) -> None:
    """Compare in both directions, with a short report of differences."""
    for name, documents in expected.items():
        missing = documents.keys() - stored[name].keys()
        surplus = stored[name].keys() - documents.keys()
        different = [
            key
            for key in documents.keys() & stored[name].keys()
            if documents[key] != stored[name][key]
        ]
        assert (missing, surplus, different) == (set(), set(), []), name


def assert_whole_prefix(stored: Documents, expected: Documents) -> None:
    """Check what readers may see after a crash: contiguous blocks, each with all its documents."""
    numbers = sorted(stored[BLOCKS])
    assert numbers == list(range(len(numbers))), f"blocks are not contiguous: {numbers}"
    height = len(numbers)
    for name in (BLOCKS, TRANSACTIONS, EVENTS, RAW_BLOCKS):
        visible = below(height, name, stored[name])
        assert visible == below(height, name, expected[name]), (
            f"{name}: below height {height} the documents differ from the chain"
        )
    for key, event in stored[EVENTS].items():
        assert key in stored[TRANSACTIONS], (
            f"event without its transaction: {RawBSONDocument(event)['txId']}"
        )


def below(height: int, name: str, documents: dict[int, Any]) -> dict[int, Any]:
    """Return the documents of a collection that belong to blocks below the height."""
    return {
        key: document
        for key, document in documents.items()
        if (key if name in (BLOCKS, RAW_BLOCKS) else unpack_position(key)[0]) < height
    }


class ScriptedSource:
    """A peer that delivers the blocks of one line of its script at each request.

    After this line, and after the last line, it delivers the requested blocks. It calls `ended`
    when it has delivered its highest block; then it waits forever, as a peer does.
    """

    name, finite, seeks = "script", False, True

    def __init__(
        self,
        chain: Sequence[bytes],
        script: Sequence[Sequence[int]] = (),
        *,
        reports_height: bool = False,
    ) -> None:
        self._chain, self._reports_height = chain, reports_height
        self._script = iter(script)
        self.ended: Callable[[], None] = lambda: None

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield the next line of the script, then every block from the tip on."""
        first = start if tip is None else tip
        for number in (*next(self._script, ()), *range(first, len(self._chain))):
            yield delivered_block(self._chain[number], self.name)
        self.ended()
        await asyncio.Event().wait()

    async def newest(self) -> DeliveredBlock | None:
        """Return the highest block, or None if this source does not report its height."""
        return delivered_block(self._chain[-1], self.name) if self._reports_height else None


class EndingSource(ScriptedSource):
    """Files with all blocks of a chain, in order."""

    name, finite, seeks = "files", True, False

    async def blocks(self, start: int, tip: int | None) -> AsyncGenerator[DeliveredBlock, None]:
        """Yield every block, and end."""
        for data in self._chain:
            yield delivered_block(data, self.name)


def new_progress(channel: str = CHANNEL, agreement: Agreement | None = None) -> ChannelProgress:
    """Return a progress with the machine's clocks."""
    return ChannelProgress(channel, time.monotonic, lambda: datetime.now(UTC), agreement)


DEFERRED = IndexPolicy(far_behind_blocks=5, owned_ids_bytes=8 << 20)
"""Indexes are built in the middle of a short chain; the owned ids have room for all its ids."""


async def index(
    store: LedgerStore,
    source: ScriptedSource,
    limits: PipelineLimits = SMALL,
    policy: IndexPolicy = DEFERRED,
    archive: RawBlockArchive | Literal["mongodb"] | None = "mongodb",
) -> ChannelProgress:
    """Index the blocks of the source that the store does not have, in a task that may crash."""
    progress = new_progress()
    indexer = ChannelIndexer(
        store,
        [source],
        progress,
        limits=limits,
        index_policy=policy,
        raw_blocks=MongoArchive(store.database) if archive == "mongodb" else archive,
    )
    source.ended = indexer.stop
    await asyncio.create_task(indexer.run())
    return progress
