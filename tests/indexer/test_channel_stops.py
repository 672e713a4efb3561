"""A bad block stops the channel with a message that says what differs."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from devnet.peer import Ledger, block_edits
from devnet.peer.faults import (
    BlockPredicate,
    Edit,
    Fault,
    SendBlock,
    Step,
    at,
    from_block,
    skip,
    substitute,
    tamper,
)
from ledger.decoding.blocks import read_block
from ledger.errors import ChainMismatchError, CorruptBlockError, LedgerError
from ledger.hashes import data_hash
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.store import LedgerStore
from protos.common_pb2 import Block
from tests.indexer.network import (
    BRANCH,
    FORK,
    OTHER,
    TRUNK,
    Client,
    assert_stored,
    channel_error,
    peer_of,
)
from tests.indexer.support import (
    assert_whole_prefix,
    expected_documents,
    stored_documents,
)

EVERY: BlockPredicate = lambda _: True  # noqa: E731


class Stop(NamedTuple):
    """The parts of the error that stops the channel, and the height that is stored then."""

    error: type[LedgerError]
    height: int
    block: int
    field: str
    expected: str
    got: str


def flipped(value: str) -> str:
    """Return the hash with the lowest bit of its first byte flipped, as `block_edits` does."""
    return f"{int(value[:2], 16) ^ 1:02x}{value[2:]}"


BAD = 14
GOOD = read_block(TRUNK[BAD])
PREVIOUS, DATA = GOOD.previous_hash.hex(), GOOD.data_hash.hex()
ENVELOPES = len(GOOD.codes)
CODES = f"one validation code for each of {ENVELOPES} envelopes"
FILTER = "metadata.TRANSACTIONS_FILTER"


def damaged(edit: Edit, number: int = BAD) -> list[Fault]:
    return [tamper(at(number), edit)]


def after_edit(edit: Edit, number: int = BAD) -> str:
    """Return the data hash of the envelopes after the edit."""
    return data_hash(list(Block.FromString(edit(TRUNK[number])).data.data)).hex()


STOPS: dict[str, tuple[list[Fault], Stop]] = {
    "a block that is always left out": (
        [skip(at(9))],
        Stop(ChainMismatchError, 9, 10, "number", "9", "10"),
    ),
    "a number too high": (
        damaged(block_edits.flip_header("number")),
        Stop(ChainMismatchError, BAD, BAD + 1, "number", f"{BAD}", f"{BAD + 1}"),
    ),
    "a number too low": (
        damaged(block_edits.flip_header("number"), BAD + 1),
        Stop(ChainMismatchError, BAD + 1, BAD, "hash", GOOD.hash.hex(), ""),
    ),
    "a wrong previous hash": (
        damaged(block_edits.flip_header("previous_hash")),
        Stop(ChainMismatchError, BAD, BAD, "previous_hash", PREVIOUS, flipped(PREVIOUS)),
    ),
    "a genesis block with a previous hash": (
        damaged(block_edits.flip_header("previous_hash"), 0),
        Stop(ChainMismatchError, 0, 0, "previous_hash", "none, as in a genesis block", "00"),
    ),
    "a wrong data hash": (
        damaged(block_edits.flip_header("data_hash")),
        Stop(CorruptBlockError, BAD, BAD, "header.data_hash", DATA, flipped(DATA)),
    ),
    "a changed envelope": (
        damaged(block_edits.flip_envelope(0)),
        Stop(
            CorruptBlockError,
            BAD,
            BAD,
            "header.data_hash",
            after_edit(block_edits.flip_envelope(0)),
            DATA,
        ),
    ),
    "a changed envelope of the genesis block": (
        damaged(block_edits.flip_envelope(0), 0),
        Stop(
            CorruptBlockError,
            0,
            0,
            "header.data_hash",
            after_edit(block_edits.flip_envelope(0), 0),
            "",
        ),
    ),
    "an envelope left out": (
        damaged(block_edits.drop_envelope(0)),
        Stop(
            CorruptBlockError,
            BAD,
            BAD,
            "header.data_hash",
            after_edit(block_edits.drop_envelope(0)),
            DATA,
        ),
    ),
    "too many validation codes": (
        damaged(block_edits.resize_filter(1)),
        Stop(CorruptBlockError, BAD, BAD, FILTER, CODES, f"{ENVELOPES + 1} codes"),
    ),
    "too few validation codes": (
        damaged(block_edits.resize_filter(-1)),
        Stop(CorruptBlockError, BAD, BAD, FILTER, CODES, f"{ENVELOPES - 1} codes"),
    ),
    "no metadata": (
        damaged(block_edits.without_metadata),
        Stop(CorruptBlockError, BAD, BAD, FILTER, CODES, "none"),
    ),
    "a fork": (
        [substitute(from_block(FORK + 3), Ledger(BRANCH))],
        Stop(
            ChainMismatchError,
            FORK + 3,
            FORK + 3,
            "previous_hash",
            read_block(TRUNK[FORK + 2]).hash.hex(),
            read_block(BRANCH[FORK + 2]).hash.hex(),
        ),
    ),
    "another channel's blocks": (
        [substitute(from_block(5), Ledger(OTHER))],
        Stop(ChainMismatchError, 5, 5, "channel_id", "'kindledger'", "'bystander'"),
    ),
    "another channel from the start": (
        [substitute(EVERY, Ledger(OTHER))],
        Stop(ChainMismatchError, 0, 0, "channel_id", "'kindledger'", "'bystander'"),
    ),
}


@pytest.mark.parametrize(("faults", "stop"), STOPS.values(), ids=STOPS)
async def test_the_channel_stops_before_the_block(
    store: LedgerStore, client: Client, faults: list[Fault], stop: Stop
) -> None:
    """All blocks below are stored, nothing of this block, and the message says why.

    A restarted channel stops at the same block.
    """
    async with peer_of(TRUNK, *faults) as peer:
        for _ in range(2):
            error = await channel_error(store, client.source(peer))
            assert type(error) is stop.error
            assert f"block {stop.block}: {stop.field}: expected {stop.expected}" in str(error)
            assert f"got {stop.got}" in str(error)
            await assert_stored(store, TRUNK[: stop.height])


async def test_a_response_that_does_not_parse_stops_the_channel(
    store: LedgerStore, client: Client
) -> None:
    async with peer_of(TRUNK, *damaged(block_edits.truncate(5))) as peer:
        error = await channel_error(store, client.source(peer))
        assert isinstance(error, CorruptBlockError)
        assert (
            f"bytes from {peer.address} after block {BAD - 1}: expected a serialized common.Block"
            in str(error)
        )
    await assert_stored(store, TRUNK[:BAD])


async def test_an_old_block_of_another_chain_stops_the_channel(
    store: LedgerStore, client: Client
) -> None:
    """Blocks that are stored already are compared."""

    def forked(send: SendBlock) -> Sequence[Step]:
        return (
            (send, SendBlock(FORK + 1, Ledger(BRANCH), send.position))
            if send.number == FORK + 5
            else (send,)
        )

    async with peer_of(TRUNK, forked) as peer:
        error = await channel_error(store, client.source(peer))
    stored_hash, delivered_hash = (
        read_block(chain[FORK + 1]).hash.hex() for chain in (TRUNK, BRANCH)
    )
    assert f"block {FORK + 1}: hash: expected {stored_hash}, got {delivered_hash}" in str(error)
    stored = await stored_documents(store.database)
    assert FORK + 2 <= len(stored[BLOCKS]) <= FORK + 6
    assert_whole_prefix(stored, expected_documents(TRUNK))
