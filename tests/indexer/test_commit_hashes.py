"""Blocks whose commit hash does not follow from their codes, their writes and their chain."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from devnet.forge.chain import Chain
from devnet.forge.chaincodes import KINDLEDGER
from devnet.forge.envelopes import EndorserTransaction
from indexer.audit.verification import Difference, Verifier
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.pipeline.deferred_indexes import IndexPolicy
from indexer.pipeline.pipeline import PipelineLimits
from ledger.decoding.blocks import read_block
from ledger.decoding.parsing import MAX_ELEMENTS
from ledger.errors import ChainMismatchError, LedgerError
from ledger.model import VALID
from ledger.mongodb.indexes import IndexOptions
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.state_changes import StateKey, Unchecked
from protos.common_pb2 import COMMIT_HASH, Block
from protos.transaction_pb2 import BAD_PROPOSAL_TXID
from tests.block_files import write_block_files
from tests.indexer.network import NETWORK, TRUNK, RunningIndexer, assert_stored
from tests.indexer.processes import result
from tests.indexer.support import EndingSource, delete_everything, index, new_progress
from tests.ledger import forging
from tests.ledger.commit_hash_blocks import add_write, with_changed_writes, with_code
from tests.ledger.recorded import recorded
from tests.ledger.wire_format import field

NOW = IndexPolicy(deferred=False)
VALID_IN_14 = read_block(TRUNK[14]).codes.index(VALID)


def without_commit_hash(serialized: bytes) -> bytes:
    block = Block.FromString(serialized)
    block.metadata.metadata[COMMIT_HASH] = b""
    return block.SerializeToString()


async def test_one_flipped_code_in_a_file_ends_the_import(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    blocks = list(recorded("raft-2.5").blocks[:40])
    index_of_valid = read_block(blocks[33]).codes.index(VALID)
    blocks[33] = with_code(blocks[33], index_of_valid, BAD_PROPOSAL_TXID)
    folder = write_block_files(tmp_path, blocks)
    database = ("--database", store.database.name)
    ended = await result("import", folder, *database, KINDLEDGER_MONGO__URI=mongo_uri)
    assert ended.code == 65
    message = ended.stderr.splitlines()[-1]
    assert message.startswith("kindledger: block 33: commit hash: expected ")
    assert "does not follow from the block's validation codes, its writes" in message
    await assert_stored(store, blocks[:33])


def _other_writes(raw: bytes) -> bytes:
    """Return block 14 with another write, and the header that belongs to it."""
    changed = with_changed_writes(raw, VALID_IN_14, add_write)
    assert changed is not None
    return changed


@pytest.mark.parametrize("stored", [0, 14], ids=["in one run", "after a start"])
@pytest.mark.parametrize(
    "change", [lambda raw: with_code(raw, VALID_IN_14, 11), _other_writes], ids=["code", "writes"]
)
async def test_a_changed_block_is_not_stored(
    store: LedgerStore, change: Callable[[bytes], bytes], stored: int
) -> None:
    """After a start, the commit hash of the block before comes from the store."""
    await index(store, EndingSource(TRUNK[:stored])) if stored else None
    source = EndingSource([*TRUNK[:14], change(TRUNK[14]), *TRUNK[15:]])
    with pytest.raises(ChainMismatchError, match="block 14: commit hash: expected"):
        await index(store, source)
    await assert_stored(store, TRUNK[:14])


async def test_a_stored_block_has_one_commit_hash(store: LedgerStore) -> None:
    await index(store, EndingSource(TRUNK))
    block = Block.FromString(TRUNK[14])
    block.metadata.metadata[COMMIT_HASH] = field(1, b"x" * 32)
    with pytest.raises(ChainMismatchError, match="block 14: commit hash: expected"):
        await index(store, EndingSource([*TRUNK[:14], block.SerializeToString()]))


async def test_blocks_without_a_commit_hash_are_stored_and_counted(store: LedgerStore) -> None:
    """A peer that was upgraded from Fabric 1 has none, or only some that it copied.

    A block without one after a block with one is counted apart.
    """
    chain = [*map(without_commit_hash, TRUNK[:10]), *TRUNK[10:14], without_commit_hash(TRUNK[14])]
    chain += TRUNK[15:]
    progress = await index(store, EndingSource(chain))
    await assert_stored(store, chain)
    counts = {reason: n for reason, n in progress.unchecked_commit_hashes.items() if n}
    assert counts == {Unchecked.ABSENT: 9, Unchecked.PREVIOUS_UNKNOWN: 2, Unchecked.LEFT_OUT: 1}


@pytest.mark.parametrize("has_hashes", [True, False])
@pytest.mark.parametrize("first", [0, 5])
async def test_a_commit_hash_that_is_left_out_is_counted_apart_after_each_start(
    store: LedgerStore, first: int, has_hashes: bool
) -> None:
    """The lowest stored block tells whether the ledger has commit hashes."""
    stored = [*TRUNK[first:14]] if has_hashes else [*map(without_commit_hash, TRUNK[first:14])]
    chain = [*stored, *map(without_commit_hash, TRUNK[14:])]
    reason = Unchecked.LEFT_OUT if has_hashes else Unchecked.ABSENT
    for height, new_blocks in ((14, 0), (20, 6), (len(TRUNK), len(TRUNK) - 20)):
        run = RunningIndexer(store, [EndingSource(chain[: height - first])], first=first)
        await run.task
        counts = {r: n for r, n in run.progress.unchecked_commit_hashes.items() if n}
        if height > 14:
            assert counts == {reason: new_blocks}


class MetadataChain:
    """A chain with writes of the key `k`, and with writes of its metadata only."""

    def __init__(self) -> None:
        self._chain = Chain(NETWORK)
        self._nonces: Iterator[bytes] = (sha256(b"%d" % n).digest()[:24] for n in count())
        self.blocks = [self._chain.genesis(1_800_000_000)]

    def cut(self, *sets: bytes, earlier: Mapping[StateKey, bytes | None]) -> None:
        transactions = [(self._envelope(each), VALID) for each in sets]
        self.blocks.append(self._chain.cut(transactions, earlier))

    def _envelope(self, results: bytes) -> bytes:
        return EndorserTransaction(
            channel=NETWORK.channel,
            chaincode=KINDLEDGER,
            args=[b"f"],
            creator=NETWORK.clients[0],
            endorsers=NETWORK.endorsers,
            nonce=next(self._nonces),
            timestamp=Timestamp(seconds=1_800_000_000),
            results=results,
        ).seal()


KEY: StateKey = ("ns", "", b"k")
PRIVATE: StateKey = ("ns", "c", b"h")
POLICY = field(4, field(1, b"k") + field(2, field(1, b"POLICY")))
METADATA = forging.namespace(POLICY)
PRIVATE_METADATA = forging.namespace(
    collections=field(3, field(1, b"c") + field(2, field(3, field(1, b"h"))))
)
OTHER = forging.namespace(field(3, field(1, b"other") + field(3, b"1")))


def written(value: bytes, *, delete: bool = False, omitted: int = 0) -> bytes:
    writes = field(3, field(1, b"k") + (field(2, 1) if delete else b"") + field(3, value))
    return forging.namespace(writes + field(1, field(1, b"r" * 900)) * omitted)


LARGE = b"\xff" * (16 << 20)
MANY_READS = 18_000
READS = field(1, field(1, b"r")) * (MAX_ELEMENTS + 1)
TOO_LONG = forging.namespace(READS)
ELSEWHERE = forging.namespace(READS, name=b"elsewhere")
TOO_MANY = forging.namespace(b"") * (MAX_ELEMENTS + 1)
"""Of these sets, and of those after them, no list is stored; of too many sets, none is."""

EARLIER: dict[str, tuple[Sequence[bytes], bytes | None, bool]] = {
    "written": ([written(b"1"), written(b"v"), OTHER], b"v", True),
    "not text": ([written(b"\xff\0")], b"\xff\0", True),
    "deleted": ([written(b"v"), written(b"", delete=True)], None, True),
    "never written": ([OTHER], None, True),
    "written twice at once": ([written(b"1"), written(b"v") + written(b"w")], b"1", False),
    "omitted": ([written(b"1"), written(LARGE)], LARGE, False),
    "omitted with all sets": (
        [written(b"1"), written(b"v", omitted=MANY_READS)],
        b"v",
        False,
    ),
    "in a list that is too long": ([written(b"1"), TOO_LONG + written(b"v")], b"v", False),
    "in too many sets": ([written(b"1"), TOO_MANY + written(b"v")], b"v", False),
    "first in a list that is too long": ([OTHER, TOO_LONG + written(b"v")], b"v", False),
    "before a long list elsewhere": ([written(b"v"), ELSEWHERE], b"v", True),
}


def metadata_chain(earlier: Sequence[bytes], value: bytes | None) -> list[bytes]:
    """Return a chain whose last block but one writes only the metadata of the key."""
    chain = MetadataChain()
    for each in earlier:
        chain.cut(each, earlier={KEY: b"1"})
    chain.cut(OTHER, METADATA, earlier={KEY: value})
    chain.cut(OTHER, earlier={})
    return chain.blocks


@pytest.mark.parametrize(("earlier", "value", "known"), EARLIER.values(), ids=EARLIER)
async def test_metadata_alone_needs_the_earlier_value(
    store: LedgerStore, earlier: Sequence[bytes], value: bytes | None, known: bool
) -> None:
    chain = metadata_chain(earlier, value)
    progress = await index(store, EndingSource(chain), policy=NOW)
    assert progress.unchecked_commit_hashes[Unchecked.VALUE_UNKNOWN] == (not known)
    await assert_stored(store, chain)


@pytest.mark.parametrize("existing", [b"v", None])
async def test_a_wrong_earlier_value_is_noticed(store: LedgerStore, existing: bytes | None) -> None:
    chain = metadata_chain([written(existing or b"", delete=existing is None)], b"another")
    with pytest.raises(ChainMismatchError, match="block 2: commit hash: expected"):
        await index(store, EndingSource(chain), policy=NOW)
    await assert_stored(store, chain[:2])


async def test_a_peer_with_couchdb_may_have_the_value_in_another_form(store: LedgerStore) -> None:
    chain = metadata_chain([written(b'{"b": 1, "a": 2}')], b'{"a":2,"b":1}')
    progress = await index(store, EndingSource(chain), policy=NOW)
    assert progress.unchecked_commit_hashes[Unchecked.CONVERTED_VALUE] == 1
    await assert_stored(store, chain)


async def test_without_the_key_history_the_value_is_unknown(store: LedgerStore) -> None:
    chain = metadata_chain([written(b"v")] * 4, b"v")
    progress = new_progress()
    without = IndexOptions(key_history=False)
    await delete_everything(store)
    raw_blocks = MongoArchive(store.database)
    await ChannelIndexer(
        store, [EndingSource(chain)], progress, indexes=without, raw_blocks=raw_blocks
    ).run()
    assert progress.unchecked_commit_hashes[Unchecked.VALUE_UNKNOWN] == 1
    await assert_stored(store, chain)


async def test_the_value_of_a_private_key_is_unknown(store: LedgerStore) -> None:
    chain = MetadataChain()
    chain.cut(PRIVATE_METADATA, earlier={PRIVATE: b"x" * 32})
    progress = await index(store, EndingSource(chain.blocks), policy=NOW)
    assert progress.unchecked_commit_hashes[Unchecked.VALUE_UNKNOWN] == 1


async def test_a_key_may_be_older_than_the_start_block(store: LedgerStore) -> None:
    chain = metadata_chain([written(b"v"), OTHER, OTHER], b"v")[2:]
    run = RunningIndexer(store, [EndingSource(chain)], first=2, index_policy=NOW)
    await run.task
    counts = {reason: n for reason, n in run.progress.unchecked_commit_hashes.items() if n}
    assert counts == {Unchecked.PREVIOUS_UNKNOWN: 1, Unchecked.VALUE_UNKNOWN: 1}


@pytest.mark.parametrize("value", ["no hash", 5])
async def test_an_altered_commit_hash_in_the_store_is_an_error(
    store: LedgerStore, value: object
) -> None:
    await index(store, EndingSource(TRUNK[:14]))
    await store.database["blocks"].update_one({"_id": 13}, {"$set": {"commitHash": value}})
    with pytest.raises(LedgerError, match=r"blocks 13: .*commitHash.*: the chain says"):
        await index(store, EndingSource(TRUNK))


async def differences_from(store: LedgerStore, chain: list[bytes]) -> list[Difference]:
    differences: list[Difference] = []
    verifier = Verifier(store, differences.append, lambda _: None)
    async with aclosing(EndingSource(chain).blocks(0, None)) as blocks:
        await verifier.compare(blocks, 0, len(TRUNK))
    return differences


async def test_verification_checks_the_commit_hashes_of_the_source(store: LedgerStore) -> None:
    await index(store, EndingSource(TRUNK))
    changed = [*TRUNK[:14], with_code(TRUNK[14], VALID_IN_14, 11), *TRUNK[15:]]
    differences = await differences_from(store, changed)
    assert {each.block for each in differences} == {14}
    assert any("the source's commit hash is" in each.what for each in differences)


async def test_a_block_that_the_source_lacks_makes_no_other_hash_wrong(store: LedgerStore) -> None:
    await index(store, EndingSource(TRUNK))
    (difference,) = await differences_from(store, [*TRUNK[:14], *TRUNK[15:]])
    assert difference.what == "the source has no blocks up to 14"


async def test_of_two_wrong_blocks_the_lower_one_is_named(store: LedgerStore) -> None:
    """Both are in one chunk, and the higher one is found to be wrong first."""
    corrupt = Block.FromString(TRUNK[15])
    corrupt.header.data_hash = b"x" * 32
    chain = [*TRUNK[:14], with_code(TRUNK[14], VALID_IN_14, 11), corrupt.SerializeToString()]
    with pytest.raises(ChainMismatchError, match="block 14: commit hash: expected"):
        await index(store, EndingSource(chain), PipelineLimits())
    await assert_stored(store, TRUNK[:14])
