"""No block is stored whose orderers' signatures do not satisfy the channel's policy."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from devnet.peer.lies import Lie, lying_ledger
from devnet.peer.peer_ledger import Ledger
from indexer.pipeline.block_signatures import BlockSignatures
from indexer.pipeline.chain import Chain, identify
from indexer.pipeline.channel_indexer import ChannelIndexer
from indexer.pipeline.commit_hashes import CommitHashes
from indexer.progress.channel_progress import ChannelProgress
from ledger.block_encoder import PythonEncoder
from ledger.decoding.blocks import read_block
from ledger.documents.encoding import EncodedBlock
from ledger.errors import ChainMismatchError, LedgerError, UnsignedBlockError
from ledger.mongodb.raw_block_archive import MongoArchive
from ledger.mongodb.store import LedgerStore
from ledger.ownership import decide_owners
from ledger.position import BlockNumber
from protos.common_pb2 import COMMIT_HASH, SIGNATURES, Block, Metadata
from tests.block_files import write_block_files
from tests.indexer.processes import result
from tests.indexer.support import (
    CHANNEL,
    DEFERRED,
    SMALL,
    EndingSource,
    ScriptedSource,
    assert_equal_documents,
    expected_documents,
    hostile_chain,
    new_progress,
    stored_documents,
)
from tests.ledger.recorded import NAMES, Name, recorded

CHAIN = hostile_chain()
MIDDLE = 20
CONFIGS = (0, 1, 2)
"""The numbers of the CONFIG blocks of the forged chain, and of the recorded ones as far as used."""


async def index(
    store: LedgerStore, source: ScriptedSource, first: int = 0, **trusted: object
) -> ChannelProgress:
    """Index with verified signatures, trusting what `BlockSignatures` takes."""
    progress = new_progress()
    signatures = BlockSignatures(progress, **trusted)  # type: ignore[arg-type]
    indexer = ChannelIndexer(
        store,
        [source],
        progress,
        first=first,
        limits=SMALL,
        index_policy=DEFERRED,
        signatures=signatures,
        raw_blocks=MongoArchive(store.database),
    )
    source.ended = indexer.stop
    await indexer.run()
    return progress


@pytest.mark.parametrize("source", [ScriptedSource, EndingSource])
async def test_a_signed_chain_is_stored_also_after_a_restart(
    store: LedgerStore, source: type[ScriptedSource]
) -> None:
    """After the restart the CONFIG block in force is read again."""
    first = await index(store, source(CHAIN[:MIDDLE]))
    second = await index(store, source(CHAIN))
    assert (first.unchecked_signatures, second.unchecked_signatures) == (0, 0)
    assert_equal_documents(await stored_documents(store.database), expected_documents(CHAIN))


def without_signatures(raw: bytes) -> bytes:
    block = Block.FromString(raw)
    block.metadata.metadata[SIGNATURES] = b""
    return block.SerializeToString()


def with_another_signature(raw: bytes) -> bytes:
    """Return the block with a signature that its orderer made for another block."""
    block = Block.FromString(raw)
    metadata = Metadata.FromString(block.metadata.metadata[SIGNATURES])
    other = Metadata.FromString(Block.FromString(CHAIN[MIDDLE - 1]).metadata.metadata[SIGNATURES])
    metadata.signatures[0].signature = other.signatures[0].signature
    block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()
    return block.SerializeToString()


def with_many_signatures(raw: bytes) -> bytes:
    block = Block.FromString(raw)
    metadata = Metadata.FromString(block.metadata.metadata[SIGNATURES])
    metadata.signatures.extend([metadata.signatures[0]] * 1000)
    block.metadata.metadata[SIGNATURES] = metadata.SerializeToString()
    return block.SerializeToString()


def lie(kind: Lie) -> bytes:
    """Return the block that a lying peer made up, without the commit hash that would tell."""
    block = Block.FromString(lying_ledger(Ledger(CHAIN), kind, MIDDLE).block(MIDDLE))
    block.metadata.metadata[COMMIT_HASH] = b""
    return block.SerializeToString()


@pytest.mark.parametrize(
    "forged",
    [
        without_signatures(CHAIN[MIDDLE]),
        with_another_signature(CHAIN[MIDDLE]),
        with_many_signatures(CHAIN[MIDDLE]),
        lie(Lie.FORGE),
        lie(Lie.SURPLUS),
    ],
    ids=["no signature", "signature of another block", "many signatures", "forged", "surplus"],
)
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_forged_block_stops_the_channel_before_anything_is_stored(
    store: LedgerStore, forged: bytes, *, restarted: bool
) -> None:
    if restarted:
        await index(store, ScriptedSource(CHAIN[:MIDDLE]))
    with pytest.raises(UnsignedBlockError, match=f"block {MIDDLE}: the orderers' signatures do"):
        await index(store, ScriptedSource((*CHAIN[:MIDDLE], forged)))
    expected = expected_documents(CHAIN[:MIDDLE])
    assert_equal_documents(await stored_documents(store.database), expected)


async def test_an_anchor_replaces_the_blocks_below_the_start_block(store: LedgerStore) -> None:
    """Without an anchor nothing is known before the next CONFIG block, which then is the anchor."""
    start, anchor = 3, read_block(CHAIN[2])
    for first, unchecked in ((start, 4), (start - 1, 1)):
        unanchored = await index(store, ScriptedSource(CHAIN[: start + 4]), first=first)
        assert unanchored.unchecked_signatures == unchecked
        await store.database.client.drop_database(store.database)
    anchored = await index(store, ScriptedSource(CHAIN), first=start, anchor=anchor)
    assert anchored.unchecked_signatures == 0
    await store.database.client.drop_database(store.database)
    forged = (*CHAIN[:start], without_signatures(CHAIN[start]))
    with pytest.raises(UnsignedBlockError):
        await index(store, ScriptedSource(forged), first=start, anchor=anchor)


async def test_another_genesis_block_is_refused(store: LedgerStore) -> None:
    await index(store, ScriptedSource(CHAIN[:2]), genesis_hash=read_block(CHAIN[0]).hash)
    await store.database.client.drop_database(store.database)
    with pytest.raises(ChainMismatchError, match="genesis hash is configured"):
        await index(store, ScriptedSource(CHAIN[:2]), genesis_hash=bytes(32))


async def test_the_import_of_a_forged_file_exits_with_65_unless_configured_otherwise(
    mongo_uri: str, store: LedgerStore, tmp_path: Path
) -> None:
    folder = write_block_files(
        tmp_path / "blocks", (*CHAIN[:MIDDLE], without_signatures(CHAIN[MIDDLE]))
    )
    environment = {
        "KINDLEDGER_MONGO__URI": mongo_uri,
        "KINDLEDGER_CHANNELS": json.dumps({CHANNEL: {"database": store.database.name}}),
    }
    refused = await result("import", folder, **environment)
    assert (refused.code, f"block {MIDDLE}: the orderers' signatures" in refused.stderr) == (
        65,
        True,
    )
    unchecked = {**environment, "KINDLEDGER_VERIFICATION__BLOCK_SIGNATURES": "false"}
    assert (await result("import", folder, **unchecked)).code == 0


@pytest.mark.parametrize("name", NAMES)
async def test_a_flipped_bit_in_a_recorded_block_is_refused_or_harmless(name: Name) -> None:
    """One of 400 random bits is flipped: the block is refused, or gives the same documents.

    The signers may differ, because another quorum of orderers is as good.
    """
    blocks, random = recorded(name).blocks[:12], Random(3)
    expected = {number: await accepted(blocks, number) for number in range(1, len(blocks))}
    harmless = 0
    for _ in range(400):
        number = random.randrange(1, len(blocks))
        flipped = bytearray(blocks[number])
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        try:
            encoded = await accepted((*blocks[:number], bytes(flipped)), number)
        except LedgerError:
            continue
        harmless += 1
        assert content(encoded) == content(expected[number]), (number, flipped.hex())
    assert harmless < 40


async def accepted(chain: Sequence[bytes], number: int) -> EncodedBlock:
    """Return the documents of the last block of a chain, after all checks before its storage."""
    encoder, signatures = PythonEncoder(), BlockSignatures(new_progress())
    config = max(each for each in CONFIGS if each < number)
    signatures.resume(0, config)
    signatures.recognize(read_block(chain[config]))
    previous = identify(read_block(chain[number - 1]))
    claimed = encoder.claims(encoder.read(chain[number]))
    channel = encoder.claims(read_block(chain[0])).claims[0].channel_id or ""
    Chain(channel, BlockNumber(0), previous).extend(claimed)
    signatures.check(claimed.undecoded)
    encoded = encoder.encode(claimed, decide_owners(claimed, set()))

    async def no_value(*_: object) -> None:
        """Say that the value of a key is not known."""

    await CommitHashes(no_value, previous).check(identify(claimed.undecoded), encoded.updates)
    return encoded


def content(encoded: EncodedBlock) -> tuple[bytes, bytes, bytes]:
    """Return all documents without the signers, on which the digest does not depend."""
    return encoded.digest, encoded.transactions.raw, encoded.events.raw
