"""The peer delivers what its injected faults prescribe."""

import asyncio
import time

import grpc
import pytest
from google.protobuf.message import DecodeError

from devnet.peer import Ledger, Peer, block_edits, faults
from ledger.hashes import data_hash
from protos.common_pb2 import (
    SERVICE_UNAVAILABLE,
    TRANSACTIONS_FILTER,
    Block,
)
from tests.devnet.deliver_client import (
    BLOCKS,
    CHANNEL,
    HEIGHT,
    MEMBERSHIP,
    MUTUAL_TLS,
    NEWEST,
    Seek,
    at,
    chain,
    outline,
    read,
    request,
    stream,
)
from tests.eventually import LIMIT_S

OTHER = Ledger(chain(HEIGHT, label=7))

HONEST = [*range(10), "200"]


@pytest.mark.parametrize(
    ("injected", "expected"),
    [
        ([faults.duplicate(faults.at(1), 3)], [0, 1, 1, 1, *HONEST[2:]]),
        ([faults.repeat(2, after_block=8)], [*range(9), 2, 9, "200"]),
        ([faults.skip(faults.at(4, 5))], [0, 1, 2, 3, *HONEST[6:]]),
        ([faults.swap(8, 9)], [*range(8), 9, 8, "200"]),
        (
            [faults.skip(faults.at(1)), faults.duplicate(faults.from_block(9), 2)],
            [0, *range(2, 10), 9, "200"],
        ),
        ([faults.send_status(faults.at(6), SERVICE_UNAVAILABLE)], [*range(6), "503"]),
        (
            [faults.tamper(faults.at(6), block_edits.flip_header("number"))],
            [*range(6), 7, *HONEST[7:]],
        ),
    ],
)
async def test_order_and_number_of_deliveries_follow_the_faults(
    injected: list[faults.Fault], expected: list[str | int]
) -> None:
    ledgers = {CHANNEL: Ledger(BLOCKS), "honest": Ledger(BLOCKS)}
    async with Peer(
        ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults={CHANNEL: injected}
    ) as peer:
        assert outline(await request(peer, Seek())) == expected
        assert outline(await request(peer, Seek(channel="honest"))) == HONEST
        assert outline(await request(peer, Seek())) == expected, "a fault applies to every stream"


async def test_a_swap_at_the_head_waits_for_the_later_block() -> None:
    ledger, swapped = Ledger(BLOCKS[:9]), {CHANNEL: [faults.swap(8, 9)]}
    async with (
        Peer({CHANNEL: ledger}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=swapped) as peer,
        stream(peer, Seek(at(8), at(9))) as call,
    ):
        await asyncio.wait_for(ledger.caught_up.wait(), LIMIT_S)
        ledger.append(BLOCKS[9])
        assert outline([await read(call) for _ in range(3)]) == [9, 8, "200"]


async def edited(edit: faults.Edit, number: int = 3) -> Block:
    """Return block `number` as a peer with this edit delivers it; other blocks stay unchanged."""
    injected = {CHANNEL: [faults.tamper(faults.at(number), edit)]}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=injected
    ) as peer:
        blocks = [response.block for response in (await request(peer, Seek()))[:-1]]
    assert [block.SerializeToString() for block in blocks if block != blocks[number]] == [
        block for block in BLOCKS if block != BLOCKS[number]
    ]
    return blocks[number]


async def test_damaged_blocks_are_damaged_in_one_place() -> None:
    good = Block.FromString(BLOCKS[3])
    for name in ("previous_hash", "data_hash"):
        bad = await edited(block_edits.flip_header(name))
        assert getattr(bad.header, name) != getattr(good.header, name)
        setattr(bad.header, name, getattr(good.header, name))
        assert bad == good
    bad = await edited(block_edits.flip_envelope(1))
    assert [mine == theirs for mine, theirs in zip(bad.data.data, good.data.data, strict=True)] == [
        True,
        False,
        True,
    ]
    assert data_hash(bad.data.data) != bad.header.data_hash == good.header.data_hash
    assert list((await edited(block_edits.drop_envelope(0))).data.data) == list(good.data.data[1:])
    for change, codes in ((-2, b"\x00"), (2, b"\x00\x0b\x00\x00\x00")):
        bad = await edited(block_edits.resize_filter(change))
        assert bad.metadata.metadata[TRANSACTIONS_FILTER] == codes
    bad = await edited(block_edits.without_metadata)
    assert (bad.header, bad.data, bad.HasField("metadata")) == (good.header, good.data, False)
    assert (await edited(block_edits.flip_header("previous_hash"), 0)).header.previous_hash, (
        "a genesis block with a previous hash"
    )


async def test_a_truncated_block_reaches_the_client_and_cannot_be_parsed() -> None:
    injected = {CHANNEL: [faults.tamper(faults.once(faults.at(1)), block_edits.truncate(5))]}
    async with Peer({CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, faults=injected) as peer:
        with pytest.raises(DecodeError):
            await request(peer, Seek())
        assert outline(await request(peer, Seek())) == HONEST, "a fault with `once` applies once"


async def test_a_fork_and_a_wrong_channel_have_the_blocks_of_another_ledger() -> None:
    forked = {CHANNEL: [faults.substitute(faults.from_block(4), OTHER)]}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=forked
    ) as peer:
        responses = await request(peer, Seek())
        assert [response.block.SerializeToString() for response in responses[:-1]] == [
            *BLOCKS[:4],
            *(OTHER.block(number) for number in range(4, 10)),
        ]


async def test_a_stream_is_slow_stalls_and_breaks_off_at_the_chosen_blocks() -> None:
    injected: dict[str, list[faults.Fault]] = {}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=injected
    ) as peer:
        injected[CHANNEL] = [faults.delay(faults.after(1), 0.05)]
        began = time.monotonic()
        assert outline(await request(peer, Seek(at(4), at(7)))) == [4, 5, 6, 7, "200"]
        assert time.monotonic() - began > 3 * 0.05

        injected[CHANNEL] = [faults.stall(faults.after(2))]
        async with stream(peer, Seek(at(4), at(7))) as call:
            assert outline([await read(call), await read(call)]) == [4, 5]
            silence = asyncio.create_task(read(call))
            assert (await asyncio.wait([silence], timeout=0.2))[1], (
                "the stream is open without blocks"
            )
            await peer.stop()
            with pytest.raises(grpc.aio.AioRpcError):
                await silence

        await peer.start()
        injected[CHANNEL] = [faults.abort(faults.at(5))]
        async with stream(peer, Seek(at(4), at(7))) as call:
            assert outline([await read(call)]) == [4]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await read(call)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_peer_that_was_reset_answers_on_the_same_port_with_a_shorter_chain() -> None:
    ledgers = {CHANNEL: Ledger(BLOCKS)}
    peer = Peer(ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP)
    port = await peer.start()
    assert outline(await request(peer, Seek(NEWEST, NEWEST))) == [9, "200"]
    await peer.stop()
    ledgers[CHANNEL] = OTHER.part(height=4)
    assert await peer.start() == port
    with pytest.raises(RuntimeError, match=str(port)):
        await Peer({}, port=port).start()
    (newest, _) = await request(peer, Seek(NEWEST, NEWEST))
    assert newest.block.SerializeToString() == OTHER.block(3)
    assert outline(await request(peer, Seek(at(9), at(9)))) == ["404"], (
        "the peer has fewer blocks than before"
    )
    await peer.stop()
