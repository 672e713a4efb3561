"""Peers with temporary faults, over gRPC with mutual TLS: the stored ledger is right in the end.

They repeat and skip blocks, deliver slowly, stall, and break connections.
"""

import random
from collections.abc import Callable, Sequence
from itertools import chain

import grpc
import pytest

from devnet.peer import block_edits
from devnet.peer.faults import (
    BlockPredicate,
    Fault,
    SendBlock,
    Step,
    abort,
    after,
    at,
    delay,
    duplicate,
    once,
    repeat,
    send_status,
    skip,
    stall,
    swap,
    tamper,
)
from indexer.pipeline.channel_indexer import PeerTimeouts
from ledger.mongodb.store import LedgerStore
from protos.common_pb2 import SERVICE_UNAVAILABLE
from tests.indexer.network import (
    HEIGHT,
    TRUNK,
    Client,
    assert_stored,
    breaking_proxy,
    indexing,
    peer_of,
)

EVERY: BlockPredicate = lambda _: True  # noqa: E731
SHORT_STALL = PeerTimeouts(poll_s=0.05, stall_s=1.0, peer_retry_s=30)


def limited(fault: Fault, times: int) -> Fault:
    """Return a fault that changes so many blocks, then none."""
    remaining = times

    def limited_fault(send: SendBlock) -> Sequence[Step]:
        nonlocal remaining
        steps = list(fault(send)) if remaining else [send]
        remaining -= steps != [send]
        return steps

    return limited_fault


TEMPORARY_FAULTS: dict[str, tuple[Callable[[], list[Fault]], int]] = {
    "every block five times": (lambda: [duplicate(EVERY, 5)], 4 * HEIGHT),
    "old blocks again": (lambda: [repeat(3, after_block=20), repeat(0, after_block=21)], 2),
    "the tip again": (
        lambda: [duplicate(at(HEIGHT - 1), 3), repeat(HEIGHT - 1, after_block=HEIGHT - 1)],
        5,
    ),
    "a block left out": (lambda: [skip(once(at(9)))], 1),
    "a block left out three times": (lambda: [limited(skip(at(9)), 3)], 3),
    "several blocks left out": (lambda: [skip(once(at(n))) for n in (4, 5, 13, 20)], 1),
    "two blocks exchanged": (lambda: [limited(swap(9, 10), 2)], 1),
    "several of these faults": (
        lambda: [duplicate(at(5, 8), 2), skip(once(at(11))), limited(swap(17, 18), 2)],
        3,
    ),
    "a wrong number once": (lambda: [tamper(once(at(12)), block_edits.flip_header("number"))], 1),
    "slow delivery": (lambda: [delay(EVERY, 0.02)], 0),
    "503 in the middle": (
        lambda: [send_status(once(at(n)), SERVICE_UNAVAILABLE) for n in (7, 8)],
        1,
    ),
    "streams that break": (lambda: [abort(once(at(n))) for n in (0, 1, 12, HEIGHT - 1)], 1),
    "a stream that breaks with another status": (
        lambda: [abort(once(at(6)), grpc.StatusCode.INTERNAL)],
        1,
    ),
    "three blocks a stream": (lambda: [limited(abort(after(3)), 4)], 4),
    "streams that stall": (lambda: [stall(once(at(0))), stall(once(at(10)))], 1),
}
"""By name: the faults, and the least number of blocks that are delivered again."""


@pytest.mark.parametrize(("faults", "repeated"), TEMPORARY_FAULTS.values(), ids=TEMPORARY_FAULTS)
async def test_the_stored_ledger_is_right_after_temporary_faults(
    store: LedgerStore, client: Client, faults: Callable[[], list[Fault]], repeated: int
) -> None:
    """Blocks come twice, late, out of order, or only when requested again."""
    async with (
        peer_of(TRUNK, *faults()) as peer,
        indexing(store, client.source(peer), timeouts=SHORT_STALL) as run,
    ):
        await run.wait_for_height(HEIGHT)
        await run.until(lambda progress: progress.redelivered_blocks >= repeated)
        assert (run.progress.blocks, run.progress.committed_height) == (HEIGHT, HEIGHT)
    await assert_stored(store, TRUNK)


@pytest.mark.parametrize("freezes", [False, True], ids=["half-sent", "half-open"])
async def test_connections_that_break_in_the_middle_of_a_message_are_replaced(
    store: LedgerStore, client: Client, *, freezes: bool
) -> None:
    """Connections break at any byte, also in the handshake, or become silent but stay open."""
    draws = random.Random(5)
    longest = 400_000 if freezes else 250_000  # each connection that freezes takes a stall
    limits = chain((3_000,), iter(lambda: draws.randrange(4_000, longest), None))
    async with (
        peer_of(TRUNK) as peer,
        breaking_proxy(peer, lambda: next(limits), freezes=freezes) as address,
        indexing(store, client.source(address), timeouts=SHORT_STALL) as run,
    ):
        await run.wait_until_waiting(address)
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)


async def test_the_next_peer_is_used_when_one_is_silent(store: LedgerStore, client: Client) -> None:
    """The silent peer does not even report its height."""
    async with (
        peer_of(TRUNK, stall(EVERY)) as silent,
        peer_of(TRUNK) as good,
        indexing(store, client.source(silent), client.source(good), timeouts=SHORT_STALL) as run,
    ):
        await run.wait_until_waiting(f"{silent.address} did not report its height")
        await run.wait_for_height(HEIGHT)
    await assert_stored(store, TRUNK)
