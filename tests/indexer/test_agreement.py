"""Every configured peer is compared with the stored blocks while the daemon runs."""

import asyncio
from pathlib import Path

import pytest

from devnet.peer import Ledger, Lie, Peer, lying_ledger
from devnet.peer.faults import Fault, SendBlock, at, send_status, stall, substitute, tamper
from indexer.progress.agreement import DivergenceError
from ledger.decoding.blocks import read_block
from ledger.mongodb.store import LedgerStore
from ledger.mongodb.sync_state import ChannelState, PeerState, read_sync_state
from protos.common_pb2 import COMMIT_HASH, TRANSACTIONS_FILTER, Block, Status
from tests.indexer.agreeing import Peers, comparing
from tests.indexer.network import (
    BRANCH,
    FORK,
    HEIGHT,
    MUTUAL_TLS,
    ORGANISATIONS,
    TRUNK,
    WITHIN_S,
    Client,
    fill,
    peer_of,
)
from tests.indexer.processes import configuration, result
from tests.indexer.support import CHANNEL

ORG1, ORG2 = "Org1MSP", "Org2MSP"
LIE_FROM = 12
FLIPPED = next(
    number for number in range(LIE_FROM, HEIGHT) if 10 in read_block(TRUNK[number]).codes
)
"""The block in which a peer that flips a code from block LIE_FROM on does it."""


def liar(lie: Lie, first: int = LIE_FROM) -> Peer:
    """Return a peer that lies from a block on."""
    return peer_of(lying_ledger(Ledger(TRUNK), lie, first))


async def divergence(
    store: LedgerStore, client: Client, peers: Peers, required: int = 1
) -> DivergenceError:
    """Return the divergence that stops the channel."""
    async with comparing(store, client, peers, required) as daemon:
        with pytest.raises(DivergenceError) as caught:
            await asyncio.wait_for(asyncio.shield(daemon.task), WITHIN_S)
        assert daemon.progress.state is ChannelState.FAILED
        assert daemon.progress.agreed_height <= caught.value.block
    return caught.value


@pytest.mark.parametrize("knows_headers", [True, False])
async def test_two_organisations_agree_on_every_block(
    store: LedgerStore, client: Client, *, knows_headers: bool
) -> None:
    """The second peer may be older than Fabric 3.0, and send whole blocks."""
    second = Peer(
        {CHANNEL: Ledger(TRUNK)},
        tls=MUTUAL_TLS,
        organisations=ORGANISATIONS,
        knows_headers=knows_headers,
    )
    async with (
        peer_of(TRUNK) as first,
        second,
        comparing(store, client, {first: ORG1, second: ORG2}, 2) as daemon,
    ):
        await daemon.until_agreed(HEIGHT)
        assert daemon.peer(first.address).state is PeerState.AGREES
        assert daemon.peer(second.address).state is PeerState.AGREES
        await daemon.stop()
    state = await read_sync_state(store.database)
    assert state is not None
    assert (state.agreed_height, state.peers_required) == (HEIGHT, 2)


@pytest.mark.parametrize("lie", Lie)
@pytest.mark.parametrize("required", [1, 2])
async def test_a_lie_of_the_followed_peer_stops_the_channel(
    store: LedgerStore, client: Client, lie: Lie, required: int
) -> None:
    async with liar(lie) as lying, peer_of(TRUNK) as honest:
        error = await divergence(store, client, {lying: ORG1, honest: ORG2}, required)
    flips = lie in (Lie.FLIP, Lie.FLIP_CONSISTENT)
    assert error.block == (FLIPPED if flips else LIE_FROM)
    flip = ("validation code of transaction", "VALID", "ENDORSEMENT_POLICY_FAILURE")
    said = {
        Lie.FLIP: flip,
        Lie.FLIP_CONSISTENT: flip,
        Lie.FORGE: ("header hash", "", read_block(TRUNK[LIE_FROM]).hash.hex()),
        Lie.SURPLUS: ("header hash", "", read_block(TRUNK[LIE_FROM]).hash.hex()),
    }[lie]
    assert error.difference.field.startswith(said[0])
    assert said[1] in error.difference.stored
    assert error.difference.given == said[2]
    for text in (f"{lying.address} (Org1MSP)", f"{honest.address} (Org2MSP)", "repair"):
        assert text in str(error)


async def test_a_lie_is_found_long_after_the_switch_to_an_honest_peer(
    store: LedgerStore, client: Client
) -> None:
    """The honest peer was down while the liar was followed; now the liar is down.

    The honest peer delivers the next blocks, but was not asked for those before.
    """
    height = HEIGHT - 5
    async with peer_of(lying_ledger(Ledger(TRUNK[:height]), Lie.FLIP, LIE_FROM)) as lying:
        address = lying.address
        async with comparing(store, client, {lying: ORG1, "127.0.0.1:1": ORG2}) as daemon:
            await daemon.until(lambda progress: progress.committed_height == height)
            await daemon.stop()
    async with peer_of(TRUNK) as honest:
        error = await divergence(store, client, {address: ORG1, honest: ORG2})
    assert (error.block, error.stored_from) == (FLIPPED, f"{address} (Org1MSP)")


async def test_a_restart_does_not_make_peers_agree(store: LedgerStore, client: Client) -> None:
    """The honest peer is down after the restart, so that nobody contradicts the liar at first."""
    async with liar(Lie.FLIP) as lying:
        async with peer_of(TRUNK) as honest:
            address = honest.address
            await divergence(store, client, {lying: ORG1, honest: ORG2})
        async with comparing(store, client, {lying: ORG1, honest: ORG2}) as daemon:
            await daemon.until(lambda progress: progress.committed_height == HEIGHT)
            await daemon.until_peer(address, PeerState.UNAVAILABLE)
            assert daemon.progress.agreed_height == FLIPPED
            await daemon.stop()
        again = peer_of(TRUNK)
        again.port = honest.port
        async with again:
            error = await divergence(store, client, {lying: ORG1, again: ORG2})
    assert error.block == FLIPPED


async def test_a_fork_that_is_seen_at_the_head_is_named_by_its_first_block(
    store: LedgerStore, client: Client
) -> None:
    """The followed peer's chain forked long ago from the stored one."""
    await fill(store, client, TRUNK)
    async with peer_of(BRANCH[:-2]) as forked, peer_of(TRUNK) as honest:
        error = await divergence(store, client, {forked: ORG1, honest: ORG2})
    assert error.block == FORK
    assert error.difference.field == "header hash"


async def test_the_comparison_goes_on_after_a_restart(store: LedgerStore, client: Client) -> None:
    """After the restart the second peer refuses every block that it has given before."""
    compared = 20
    async with (
        peer_of(TRUNK) as first,
        peer_of(TRUNK[:compared]) as second,
        comparing(store, client, {first: ORG1, second: ORG2}, 2) as daemon,
    ):
        await daemon.until_agreed(compared)
        await daemon.stop()
        addresses = first.address, second.address
    refused = send_status(lambda send: send.number < compared - 1, Status.FORBIDDEN)
    first, second = peer_of(TRUNK), peer_of(TRUNK, refused)
    first.port, second.port = (int(address.rpartition(":")[2]) for address in addresses)
    async with (
        first,
        second,
        comparing(store, client, dict(zip(addresses, (ORG1, ORG2), strict=True)), 2) as daemon,
    ):
        await daemon.until_agreed(HEIGHT)


async def test_a_peer_that_is_behind_or_down_holds_the_agreement_up_but_not_the_indexing(
    store: LedgerStore, client: Client
) -> None:
    behind = Ledger(TRUNK[:9])
    async with peer_of(TRUNK) as first, peer_of(behind) as second:
        peers = {first: ORG1, second: ORG2, "127.0.0.1:1": "Org3MSP"}
        async with comparing(store, client, peers, 2) as daemon:
            await daemon.until(lambda progress: progress.committed_height == HEIGHT)
            await daemon.until_peer(second.address, PeerState.BEHIND)
            down = await daemon.until_peer("127.0.0.1:1", PeerState.UNAVAILABLE)
            assert down.error is not None
            assert daemon.progress.agreed_height == len(TRUNK[:9])
            for block in TRUNK[9:]:
                behind.append(block)
            await daemon.until_agreed(HEIGHT)


async def test_a_peer_that_is_ahead_is_asked_once(store: LedgerStore, client: Client) -> None:
    """Its comparison waits for the stored blocks, with one request for its head and one stream."""
    growing, seeks = Ledger(TRUNK[:5]), list[int]()

    def record(send: SendBlock) -> tuple[SendBlock]:
        if send.position == 0:
            seeks.append(send.number)
        return (send,)

    async with (
        peer_of(growing) as first,
        peer_of(TRUNK, record) as second,
        comparing(store, client, {first: ORG1, second: ORG2}, 2) as daemon,
    ):
        for number in range(5, 20):
            await daemon.until_agreed(number)
            growing.append(TRUNK[number])
        await daemon.until_agreed(20)
        assert seeks == [HEIGHT - 1, 0]
        assert daemon.peer(second.address).error is None


@pytest.mark.parametrize("organisation", [ORG1, None])
async def test_two_peers_of_one_organisation_count_once(
    store: LedgerStore, client: Client, organisation: str | None
) -> None:
    async with peer_of(TRUNK) as first, peer_of(TRUNK) as second, peer_of(TRUNK[:5]) as third:
        peers = {first: organisation, second: organisation, third: ORG2}
        async with comparing(store, client, peers, 2) as daemon:
            await daemon.until_peer(second.address, PeerState.AGREES)
            await daemon.until_agreed(5)
            await daemon.until_peer(third.address, PeerState.BEHIND)
            assert daemon.progress.agreed_height == 5


def _with_huge_metadata(serialized: bytes) -> bytes:
    block = Block.FromString(serialized)
    block.metadata.metadata.extend([b""] * 500_000)
    block.metadata.metadata[TRANSACTIONS_FILTER] = bytes(2_000_000)
    return block.SerializeToString()


def _with_signatures_in_the_commit_hash(serialized: bytes) -> bytes:
    block = Block.FromString(serialized)
    block.metadata.metadata[COMMIT_HASH] = b"\x12\x00" * 500_000
    return block.SerializeToString()


HOSTILE: dict[str, Fault] = {
    "garbage": tamper(at(7), lambda _: b"\xff" * 100_000),
    "nothing": tamper(at(7), lambda _: b""),
    "huge metadata": tamper(at(7), _with_huge_metadata),
    "an endless commit hash": tamper(at(7), _with_signatures_in_the_commit_hash),
    "another number": substitute(at(7), Ledger([*TRUNK[:7], TRUNK[20], *TRUNK[8:]])),
    "an error": send_status(at(7), Status.INTERNAL_SERVER_ERROR),
    "silence": stall(at(7)),
}


@pytest.mark.parametrize("fault", HOSTILE)
async def test_a_hostile_peer_delays_only_its_own_comparison(
    store: LedgerStore, client: Client, fault: str
) -> None:
    async with (
        peer_of(TRUNK) as first,
        peer_of(TRUNK, HOSTILE[fault]) as second,
        comparing(store, client, {first: ORG1, second: ORG2}, 2) as daemon,
    ):
        await daemon.until(lambda progress: progress.committed_height == HEIGHT)
        await daemon.until_agreed(7)
        report = await daemon.until_peer(second.address, PeerState.UNAVAILABLE)
        assert report.error is not None
        assert len(report.error.message) <= 1000
        assert not daemon.task.done()


async def test_the_daemon_ends_with_65_when_the_peers_of_its_only_channel_differ(
    mongo_uri: str, store: LedgerStore, client: Client, tmp_path: Path
) -> None:
    """The followed peer lies; nothing says to which organisations the peers belong."""
    async with liar(Lie.FLIP) as lying, peer_of(TRUNK) as honest:
        file = configuration(
            tmp_path / "kindledger.toml", mongo_uri, store.database.name, client, lying, honest
        )
        ended = await result("--config", file, "run")
        shown = await result("--config", file, "status")
    assert ended.code == 65
    for text in (
        f"block {FLIPPED}: validation code of transaction",
        f"{lying.address} (organisation not known) says VALID",
        f"{honest.address} (organisation not known) says ENDORSEMENT_POLICY_FAILURE",
        "peer_organisation_unknown",
    ):
        assert text in ended.stderr
    assert "differs" in shown.stdout
