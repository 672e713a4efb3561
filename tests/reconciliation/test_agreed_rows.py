"""Rows are settled only by blocks that the required number of peers gave."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from devnet.forge.forger import ForgedBlock
from devnet.peer import Ledger, Lie, Peer, lying_ledger
from indexer.agreement.agreed_ledger import AgreedLedger
from indexer.progress.agreement import DivergenceError
from indexer.progress.channel_progress import ChannelProgress
from ledger.decoding.blocks import decode_block, read_block
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState
from tests.eventually import LIMIT_S
from tests.indexer.agreeing import ComparingDaemon, comparing
from tests.indexer.network import Client
from tests.reconciliation.gateway import Gateway
from tests.reconciliation.growing_ledger import SubmittedTransaction, forged_chain, submitted
from tests.reconciliation.running import reconciling

BLOCKS = forged_chain()
HEIGHT = len(BLOCKS)
KNOWN = 20
"""The height that the second peer has at first."""
ENDORSEMENT_POLICY_FAILURE = 10


def flipped() -> tuple[int, str]:
    """Return the block and the id of the transaction that the liar calls VALID."""
    for block in BLOCKS[KNOWN:]:
        codes = read_block(block.data).codes
        if ENDORSEMENT_POLICY_FAILURE in codes:
            index = codes.index(ENDORSEMENT_POLICY_FAILURE)
            return block.number, decode_block(read_block(block.data)).transactions[index].tx_id
    raise AssertionError("the chain has no transaction that lacks endorsements")


FLIPPED, FLIPPED_ID = flipped()


def chain(blocks: Sequence[ForgedBlock]) -> Ledger:
    return Ledger([block.data for block in blocks])


@dataclass(frozen=True)
class FollowedLedger:
    """The ledger that a daemon stores, as reconciliation sees it."""

    store: LedgerStore
    progress: AgreedLedger


@asynccontextmanager
async def settling(
    dsn: str, store: LedgerStore, tmp_path: Path, peers: Sequence[Peer], required: int
) -> AsyncIterator[ComparingDaemon]:
    """Run the daemon of a channel with its reconciliation while the context lasts."""
    client = Client.enrolled(tmp_path / "client", tls=False)
    organisations = {peer: f"Org{number}MSP" for number, peer in enumerate(peers, 1)}
    async with comparing(store, client, organisations, required) as daemon:
        ledger = FollowedLedger(store, AgreedLedger(daemon.progress))
        async with reconciling(dsn, ledger):
            yield daemon


async def write_rows(gateway: Gateway) -> list[SubmittedTransaction]:
    await gateway.open_campaign()
    await gateway.count_settlements()
    donations = submitted(BLOCKS, "Donate")
    await gateway.write_rows(donations)
    return donations


async def settled_ids(gateway: Gateway) -> dict[str, str]:
    rows = await gateway.connection.fetch(
        "SELECT tx_hash, status FROM transactions WHERE status <> 'PENDING'"
    )
    return {row["tx_hash"]: row["status"] for row in rows}


async def test_rows_wait_until_the_second_peer_agrees(
    indexer_dsn: str, store: LedgerStore, gateway: Gateway, tmp_path: Path
) -> None:
    donations = await write_rows(gateway)
    later = [each for each in donations if each.block >= KNOWN]
    behind = chain(BLOCKS[:KNOWN])
    async with (
        Peer({"kindledger": chain(BLOCKS)}) as first,
        Peer({"kindledger": behind}) as second,
        settling(indexer_dsn, store, tmp_path, (first, second), 2) as daemon,
    ):
        await daemon.until(lambda progress: progress.committed_height == HEIGHT)
        await gateway.wait_for_pending_rows(2 * len(later))
        assert await settled_ids(gateway) == {
            each.tx_id: each.state for each in donations if each.block < KNOWN
        }
        for block in BLOCKS[KNOWN:]:
            behind.append(block.data)
        await gateway.wait_until_settled()
    await gateway.assert_settled_once(donations)


@pytest.mark.parametrize(
    ("lie", "required"), [(Lie.FLIP, 1), (Lie.FLIP, 2), (Lie.FLIP_CONSISTENT, 2)]
)
async def test_the_lie_of_the_followed_peer_confirms_no_row(
    indexer_dsn: str, store: LedgerStore, gateway: Gateway, tmp_path: Path, lie: Lie, required: int
) -> None:
    """With one required peer the lie may be settled before it is found, and stops the channel."""
    donations = await write_rows(gateway)
    assert FLIPPED_ID in {each.tx_id for each in donations}
    honest = chain(BLOCKS[:KNOWN])
    async with (
        Peer({"kindledger": lying_ledger(chain(BLOCKS), lie, KNOWN)}) as liar,
        Peer({"kindledger": honest}) as second,
        settling(indexer_dsn, store, tmp_path, (liar, second), required) as daemon,
    ):
        await daemon.until(lambda progress: progress.committed_height == HEIGHT)
        for block in BLOCKS[KNOWN:]:
            honest.append(block.data)
        with pytest.raises(DivergenceError) as caught:
            await asyncio.wait_for(asyncio.shield(daemon.task), LIMIT_S)
        assert_stopped(daemon.progress, caught.value, liar, second)
        if required == 2:
            agreed = {each.tx_id: each.state for each in donations if each.block < FLIPPED}
            await gateway.wait_for_pending_rows(2 * (len(donations) - len(agreed)))
            assert await settled_ids(gateway) == agreed


def assert_stopped(
    progress: ChannelProgress, error: DivergenceError, liar: Peer, honest: Peer
) -> None:
    """Assert that the channel stopped at the lie, with an error that names both peers."""
    assert (progress.state, error.block) == (ChannelState.FAILED, FLIPPED)
    assert progress.agreed_height == FLIPPED
    assert f"{liar.address} (Org1MSP) says VALID" in str(error)
    assert f"{honest.address} (Org2MSP) says ENDORSEMENT_POLICY_FAILURE" in str(error)
