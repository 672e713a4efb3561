"""The peer delivers the blocks and statuses of Fabric's seek rules to a real gRPC client."""

import asyncio

import pytest

from devnet.peer import Ledger, Peer
from protos.common_pb2 import (
    CONFIG,
    Block,
    BlockData,
    BlockHeader,
    Envelope,
)
from protos.orderer_pb2 import SeekInfo, SeekPosition
from tests.devnet.deliver_client import (
    BLOCKS,
    CHANNEL,
    FAIL_IF_NOT_READY,
    MEMBERSHIP,
    MUTUAL_TLS,
    NEWEST,
    NEXT_COMMIT,
    NO_KIND,
    OLDEST,
    Seek,
    at,
    chain,
    outline,
    read,
    request,
    stream,
)
from tests.eventually import LIMIT_S


@pytest.mark.parametrize(
    ("start", "stop", "behavior", "expected"),
    [
        (OLDEST, NEWEST, 0, [*range(10), "200"]),
        (NEWEST, NEWEST, 0, [9, "200"]),
        (at(3), at(5), 0, [3, 4, 5, "200"]),
        (at(3), OLDEST, 0, [3, "200"]),
        (OLDEST, at(1), FAIL_IF_NOT_READY, [0, 1, "200"]),
        (at(8), at(12), FAIL_IF_NOT_READY, [8, 9, "404"]),
        (at(10), at(10), FAIL_IF_NOT_READY, ["404"]),
        (NEXT_COMMIT, at(99), FAIL_IF_NOT_READY, ["404"]),
        (at(11), at(99), 0, ["404"]),
        (at(2**64 - 1), at(2**64 - 1), 0, ["404"]),
        (NO_KIND, NEWEST, 0, ["404"]),
        (OLDEST, NO_KIND, 0, [0, "200"]),
        (at(5), at(4), 0, ["400"]),
        (NEXT_COMMIT, at(9), 0, ["400"]),
        (None, NEWEST, 0, ["400"]),
        (OLDEST, None, 0, ["400"]),
    ],
)
async def test_a_seek_returns_the_blocks_and_the_status_of_fabric(
    peer: Peer,
    start: SeekPosition | None,
    stop: SeekPosition | None,
    behavior: SeekInfo.SeekBehavior.ValueType,
    expected: list[str | int],
) -> None:
    assert outline(await request(peer, Seek(start, stop, behavior))) == expected


async def test_blocks_arrive_unchanged(peer: Peer) -> None:
    responses = await request(peer, Seek())
    assert [response.block.SerializeToString() for response in responses[:-1]] == BLOCKS


async def test_one_stream_takes_several_seeks_until_one_fails(peer: Peer) -> None:
    requests = [
        Seek(at(1), at(2)),
        Seek(NEWEST, NEWEST),
        Seek(channel="unknown"),
        Seek(at(3), at(3)),
    ]
    assert outline(await request(peer, *requests)) == [1, 2, "200", 9, "200", "404"]


async def test_a_peer_from_a_snapshot_has_no_earlier_blocks() -> None:
    chains = {"late": Ledger(BLOCKS).part(first=6), "fresh": (fresh := Ledger(first=10))}
    async with Peer(chains, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as peer:
        assert outline(await request(peer, Seek(channel="late"))) == ["404"]
        assert outline(await request(peer, Seek(at(5), at(7), channel="late"))) == ["404"]
        assert outline(await request(peer, Seek(at(6), at(7), channel="late"))) == [6, 7, "200"]
        assert outline(await request(peer, Seek(NEWEST, NEWEST, channel="late"))) == [9, "200"]
        async with stream(peer, Seek(NEWEST, NEWEST, channel="fresh")) as call:
            await asyncio.wait_for(fresh.caught_up.wait(), LIMIT_S)
            fresh.append(chain(11)[10])
            assert outline([await read(call), await read(call)]) == [10, "200"]


async def test_waiting_streams_get_each_block_as_it_is_committed() -> None:
    ledger = Ledger(BLOCKS[:8])
    async with (
        Peer({CHANNEL: ledger}, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as peer,
        stream(peer, Seek(at(8), at(9))) as first,
        stream(peer, Seek(NEXT_COMMIT, at(99))) as second,
    ):
        early = asyncio.create_task(read(second))
        assert (await asyncio.wait([early], timeout=0.2))[1], "no block to send yet"
        ledger.append(BLOCKS[8])
        assert outline([await read(first), await early]) == [8, 8]
        ledger.append(BLOCKS[9])
        assert outline([await read(first), await read(first), await read(second)]) == [9, "200", 9]


async def test_a_block_of_99_megabytes_passes() -> None:
    block = Block(
        header=BlockHeader(number=0), data=BlockData(data=[bytes(99_000_000)])
    ).SerializeToString()
    async with Peer({CHANNEL: Ledger([block])}, tls=MUTUAL_TLS) as peer:
        responses = await request(peer, Seek())
        assert outline(responses) == [0, "200"]
        assert len(responses[0].block.data.data[0]) == 99_000_000


async def test_filtered_delivery_gives_ids_codes_and_events_without_payloads() -> None:
    broken = Block.FromString(BLOCKS[2])
    broken.data.data[1] = Envelope(payload=b"\xff").SerializeToString()
    blocks = [*BLOCKS[:2], broken.SerializeToString(), BLOCKS[3]]
    async with Peer({CHANNEL: Ledger(blocks)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as peer:
        config, ordinary, refused, last, end = await request(peer, Seek(), method="DeliverFiltered")
    assert [t.type for t in config.filtered_block.filtered_transactions] == [CONFIG]
    assert (ordinary.filtered_block.number, ordinary.filtered_block.channel_id) == (1, CHANNEL)
    transactions = ordinary.filtered_block.filtered_transactions
    assert [(t.txid, t.tx_validation_code) for t in transactions] == [
        ("1-0", 0),
        ("1-1", 11),
        ("1-2", 0),
    ]
    event = transactions[0].transaction_actions.chaincode_actions[0].chaincode_event
    assert (event.chaincode_id, event.event_name, event.payload) == ("token", "Mint", b"")
    assert refused.status == 400, "the status of Fabric for a block that it cannot filter"
    assert (last.filtered_block.number, end.status) == (3, 200)
