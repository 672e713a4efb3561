"""Peers that repeat, skip, damage, fork, fall behind, trickle and break off, over gRPC with mutual TLS.

The copy is right in the end, or the channel stops with a message that says what differs, and holds what came before.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import grpc
import pytest

from devnet.peer import Ledger, Peer, block_edits
from devnet.peer.faults import (
    BlockPredicate,
    Edit,
    Fault,
    SendBlock,
    Step,
    abort,
    after,
    at,
    delay,
    duplicate,
    from_block,
    once,
    repeat,
    send_status,
    skip,
    stall,
    substitute,
    swap,
    tamper,
)
from indexer.channel_indexer import PeerTimeouts
from ledger.decoding.blocks import read_block
from ledger.errors import ChainMismatchError, CorruptBlockError, LedgerError
from ledger.hashes import data_hash
from ledger.mongodb.collections import BLOCKS
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from protos.common_pb2 import SERVICE_UNAVAILABLE, TRANSACTIONS_FILTER, Block
from tests.indexer.network import (
    BRANCH,
    FORK,
    HEIGHT,
    OTHER,
    REBUILT,
    TRUNK,
    WITHIN_S,
    Client,
    Run,
    assert_stored,
    cutting,
    error_of,
    failure_of,
    filled,
    indexing,
    peer_of,
)
from tests.indexer.support import (
    assert_equal_documents,
    assert_whole_prefix,
    expected_documents,
    stored_documents,
)

EVERY: BlockPredicate = lambda _: True  # noqa: E731
HASTY = PeerTimeouts(poll_s=0.05, stall_s=0.5, peer_retry_s=30)


def for_a_while(fault: Fault, times: int) -> Fault:
    """The fault for so many of the blocks that it would change, then honesty."""
    left = times

    def wearing_off(send: SendBlock) -> Sequence[Step]:
        nonlocal left
        steps = list(fault(send)) if left else [send]
        left -= steps != [send]
        return steps

    return wearing_off


OVERCOME: dict[str, tuple[Callable[[], list[Fault]], int]] = {
    "every block five times": (lambda: [duplicate(EVERY, 5)], 4 * HEIGHT),
    "old blocks again": (lambda: [repeat(3, after_block=20), repeat(0, after_block=21)], 2),
    "the tip again": (
        lambda: [duplicate(at(HEIGHT - 1), 3), repeat(HEIGHT - 1, after_block=HEIGHT - 1)],
        5,
    ),
    "a block left out": (lambda: [skip(once(at(9)))], 1),
    "a block left out three times": (lambda: [for_a_while(skip(at(9)), 3)], 3),
    "several left out": (lambda: [skip(once(at(n))) for n in (4, 5, 13, 20)], 1),
    "two in each other's place": (lambda: [for_a_while(swap(9, 10), 2)], 1),
    "all that": (
        lambda: [duplicate(at(5, 8), 2), skip(once(at(11))), for_a_while(swap(17, 18), 2)],
        3,
    ),
    "a number flipped": (lambda: [tamper(once(at(12)), block_edits.flip_header("number"))], 1),
    "trickling": (lambda: [delay(EVERY, 0.02)], 0),
    "503 in the middle": (
        lambda: [send_status(once(at(n)), SERVICE_UNAVAILABLE) for n in (7, 8)],
        1,
    ),
    "broken off": (lambda: [abort(once(at(n))) for n in (0, 1, 12, HEIGHT - 1)], 1),
    "broken off for another reason": (lambda: [abort(once(at(6)), grpc.StatusCode.INTERNAL)], 1),
    "three blocks a stream": (lambda: [for_a_while(abort(after(3)), 4)], 4),
    "stalled": (lambda: [stall(once(at(0))), stall(once(at(10)))], 1),
}
"""The faults, and how many blocks at least must have come twice."""


@pytest.mark.parametrize(("faults", "repeated"), OVERCOME.values(), ids=OVERCOME)
async def test_the_copy_is_right_in_the_end(
    store: LedgerStore, client: Client, faults: Callable[[], list[Fault]], repeated: int
) -> None:
    """F10, F11, F20: whatever comes twice, late, out of order or not at all, once it is sought again."""
    async with (
        peer_of(TRUNK, *faults()) as peer,
        indexing(store, client.source(peer), timeouts=HASTY) as run,
    ):
        await run.wait_for_height(HEIGHT)
        await run.until(lambda progress: progress.redelivered_blocks >= repeated)
        assert (run.progress.blocks, run.progress.committed_height) == (HEIGHT, HEIGHT)
    await assert_stored(store, TRUNK)


@pytest.mark.parametrize("freezes", [False, True], ids=["half-sent", "half-open"])
async def test_connections_that_break_in_the_middle_of_a_message(
    store: LedgerStore, client: Client, *, freezes: bool
) -> None:
    """F20: cut at any byte, in the handshake too, or silent from there on with the connection open."""
    limits = random.Random(5)
    async with (
        peer_of(TRUNK) as peer,
        cutting(peer, lambda: limits.randrange(4_000, 250_000), freezes=freezes) as address,
        indexing(store, client.source(address), timeouts=HASTY) as run,
    ):
        await run.waits_for(address)
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


# --- F12, F13, F16: the channel stops, and says why -------------------------------------------------------------------


class Stop(NamedTuple):
    """What stops the channel: `block`, `field`, `expected` and `got` of its message, and the height that is stored."""

    kind: type[LedgerError]
    height: int
    block: int
    field: str
    expected: str
    got: str


def flipped(value: str) -> str:
    """As `edits` flips a hash: the lowest bit of its first byte."""
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
    """The data hash that the envelopes have then."""
    return data_hash(list(Block.FromString(edit(TRUNK[number])).data.data)).hex()


STOPPED: dict[str, tuple[list[Fault], Stop]] = {
    "a block always left out": (
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
    "a previous hash": (
        damaged(block_edits.flip_header("previous_hash")),
        Stop(ChainMismatchError, BAD, BAD, "previous_hash", PREVIOUS, flipped(PREVIOUS)),
    ),
    "a genesis block with a past": (
        damaged(block_edits.flip_header("previous_hash"), 0),
        Stop(ChainMismatchError, 0, 0, "previous_hash", "none, as in a genesis block", "00"),
    ),
    "a data hash": (
        damaged(block_edits.flip_header("data_hash")),
        Stop(CorruptBlockError, BAD, BAD, "header.data_hash", DATA, flipped(DATA)),
    ),
    "an envelope": (
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
    "the genesis block's envelope": (
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
    "a filter too long": (
        damaged(block_edits.resize_filter(1)),
        Stop(CorruptBlockError, BAD, BAD, FILTER, CODES, f"{ENVELOPES + 1} codes"),
    ),
    "a filter too short": (
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


@pytest.mark.parametrize(("faults", "stop"), STOPPED.values(), ids=STOPPED)
async def test_the_channel_stops_before_the_block(
    store: LedgerStore, client: Client, faults: list[Fault], stop: Stop
) -> None:
    """F11, F12, F13: everything below is stored and whole, nothing of the block is, and the message says what differs.

    It stops again when it is started again.
    """
    async with peer_of(TRUNK, *faults) as peer:
        for _ in range(2):
            error = await failure_of(store, client.source(peer))
            assert type(error) is stop.kind
            assert f"block {stop.block}: {stop.field}: expected {stop.expected}" in str(error)
            assert f"got {stop.got}" in str(error)
            await assert_stored(store, TRUNK[: stop.height])


async def test_an_answer_that_does_not_parse_stops_the_channel(
    store: LedgerStore, client: Client
) -> None:
    async with peer_of(TRUNK, *damaged(block_edits.truncate(5))) as peer:
        error = await failure_of(store, client.source(peer))
        assert isinstance(error, CorruptBlockError)
        assert (
            f"response of {peer.address} after block {BAD - 1}: expected a DeliverResponse, got"
            in str(error)
        )
    await assert_stored(store, TRUNK[:BAD])


async def test_an_old_block_of_another_chain_stops_the_channel(
    store: LedgerStore, client: Client
) -> None:
    """It is compared even though it is there already."""

    def forked(send: SendBlock) -> Sequence[Step]:
        return (
            (send, SendBlock(FORK + 1, Ledger(BRANCH), send.position))
            if send.number == FORK + 5
            else (send,)
        )

    async with peer_of(TRUNK, forked) as peer:
        error = await failure_of(store, client.source(peer))
    here, there = (read_block(chain[FORK + 1]).hash.hex() for chain in (TRUNK, BRANCH))
    assert f"block {FORK + 1}: hash: expected {here}, got {there}" in str(error)
    stored = await stored_documents(store.database)
    assert FORK + 2 <= len(stored[BLOCKS]) <= FORK + 6
    assert_whole_prefix(stored, expected_documents(TRUNK))


# --- F13, F14, F15, F16: the stored head and the peer's chain ---------------------------------------------------------

HEAD = 20
"""Height of the stored chain."""


def recoded(serialized: bytes) -> bytes:
    """The block with another opinion on its first transaction."""
    block = Block.FromString(serialized)
    codes = block.metadata.metadata[TRANSACTIONS_FILTER]
    block.metadata.metadata[TRANSACTIONS_FILTER] = bytes((codes[0] ^ 1,)) + codes[1:]
    return block.SerializeToString()


CONTRADICTIONS: dict[str, tuple[Callable[[], Peer], int, str]] = {
    "a fork": (lambda: peer_of(BRANCH), HEAD - 1, "hash"),
    "a fork of the same height": (lambda: peer_of(BRANCH[:HEAD]), HEAD - 1, "hash"),
    "a shorter fork": (lambda: peer_of(BRANCH[: HEAD - 2]), HEAD - 3, "hash"),
    "a channel set up anew": (lambda: peer_of(REBUILT), HEAD - 1, "hash"),
    "a channel set up anew, shorter": (lambda: peer_of(REBUILT[:4]), 3, "hash"),
    "other validation codes": (
        lambda: peer_of(TRUNK, tamper(at(HEAD - 1), recoded)),
        HEAD - 1,
        "validation codes",
    ),
}


@pytest.mark.parametrize(
    ("contradicting", "block", "field"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
async def test_a_peer_that_contradicts_what_is_stored_stops_the_channel(
    store: LedgerStore, client: Client, contradicting: Callable[[], Peer], block: int, field: str
) -> None:
    """F13, F14: at the start."""
    await filled(store, client, TRUNK[:HEAD])
    async with contradicting() as peer:
        error = await failure_of(store, client.source(peer))
    assert isinstance(error, ChainMismatchError)
    assert f"block {block}: {field}: expected " in str(error)
    assert "different chains" in str(error)
    await assert_stored(store, TRUNK[:HEAD])


@pytest.mark.parametrize(
    ("contradicting", "block", "field"), CONTRADICTIONS.values(), ids=CONTRADICTIONS
)
async def test_a_second_peer_that_contradicts_the_first_stops_the_channel(
    store: LedgerStore, client: Client, contradicting: Callable[[], Peer], block: int, field: str
) -> None:
    """F16: at a reconnect."""
    first = peer_of(TRUNK[:HEAD])
    async with first, contradicting() as second, asyncio.timeout(WITHIN_S):
        run = Run(store, [client.source(first), client.source(second)])
        await run.wait_for_height(HEAD)
        await first.stop()
        with pytest.raises(ChainMismatchError, match=f"block {block}: {field}: expected "):
            await run.task
    await assert_stored(store, TRUNK[:HEAD])


async def test_a_peer_behind_is_waited_for(store: LedgerStore, client: Client) -> None:
    """F14: the same chain, but shorter than what is stored."""
    await filled(store, client, TRUNK[:HEAD])
    ledger = Ledger(TRUNK[:10])
    async with peer_of(ledger) as peer, indexing(store, client.source(peer)) as run:
        await run.waits_for(f"{peer.address} has 10 blocks, but block {HEAD} is needed: waiting for it")
        assert (run.progress.peer_height, run.progress.committed_height) == (10, HEAD)
        for block in TRUNK[10:HEAD]:
            ledger.append(block)
        await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
        assert run.progress.blocks == 0
        for block in TRUNK[HEAD:]:
            ledger.append(block)
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


async def test_a_peer_from_a_snapshot_serves_a_store_that_begins_there(
    store: LedgerStore, client: Client
) -> None:
    """F15."""
    async with peer_of(Ledger(TRUNK).part(first=11)) as peer:
        async with indexing(store, client.source(peer), first=11) as run:
            await run.wait_for_height(HEIGHT)
        async with indexing(store, client.source(peer)) as run:
            await run.until(lambda progress: progress.state is ChannelState.FOLLOWING)
            assert (run.progress.start_block, run.progress.redelivered_blocks) == (11, 1)
    stored = await stored_documents(store.database)
    assert_equal_documents(stored, expected_documents(TRUNK[11:]))


async def test_a_peer_from_a_snapshot_cannot_fill_an_empty_store(
    store: LedgerStore, client: Client
) -> None:
    """F15: the error says why; once another peer has the blocks, the daemon goes on."""
    ledger = Ledger(TRUNK)
    async with peer_of(ledger.part(first=11)) as young, peer_of(ledger) as old:
        await old.stop()
        async with indexing(store, client.source(young), client.source(old)) as run:
            await run.waits_for(f"{young.address} has no block 0 of channel kindledger: it joined")
            assert "start_block" in error_of(run.progress)
            assert await store.database[BLOCKS].count_documents({}) == 0
            await old.start()
            await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


async def test_a_peer_that_says_nothing_is_left_for_the_next_one(
    store: LedgerStore, client: Client
) -> None:
    """F20: it does not even tell its height."""
    async with (
        peer_of(TRUNK, stall(EVERY)) as silent,
        peer_of(TRUNK) as good,
        indexing(store, client.source(silent), client.source(good), timeouts=HASTY) as run,
    ):
        await run.waits_for(f"{silent.address} did not tell its height")
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)
