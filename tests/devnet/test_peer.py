"""The devnet's peer against a real gRPC client: Fabric's rules of seeking and access, and misbehaviour on order."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import grpc
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.message import DecodeError
from msgspec.structs import replace

from devnet.peer import Authority, KeyPair, Ledger, Peer, ServerTls, block_edits, faults
from devnet.peer.channel_config import organisations
from ledger.hashes import data_hash
from protos.common_pb2 import (
    CONFIG,
    SERVICE_UNAVAILABLE,
    TRANSACTIONS_FILTER,
    Block,
    BlockData,
    BlockHeader,
    Envelope,
)
from protos.orderer_pb2 import SeekInfo, SeekPosition
from tests.devnet.deliver_client import (
    BLOCKS,
    CHANNEL,
    CLIENT_TLS,
    FAIL_IF_NOT_READY,
    HEIGHT,
    MEMBER,
    MEMBERSHIP,
    MUTUAL_TLS,
    NEWEST,
    NEXT_COMMIT,
    NO_KIND,
    OLDEST,
    ORG1,
    SERVER,
    TLS_AUTHORITY,
    Seek,
    ask,
    at,
    chain,
    outline,
    read,
    signature,
    stream,
)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with Peer({CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as running:
        yield running


# --- seeking --------------------------------------------------------------------------------------------------------


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
async def test_a_seek_gets_the_blocks_and_the_status_that_fabric_gives(
    peer: Peer,
    start: SeekPosition | None,
    stop: SeekPosition | None,
    behavior: SeekInfo.SeekBehavior.ValueType,
    expected: list[str | int],
) -> None:
    assert outline(await ask(peer, Seek(start, stop, behavior))) == expected


async def test_blocks_arrive_as_they_are(peer: Peer) -> None:
    answers = await ask(peer, Seek())
    assert [answer.block.SerializeToString() for answer in answers[:-1]] == BLOCKS


async def test_one_stream_takes_several_seeks_until_one_fails(peer: Peer) -> None:
    requests = [
        Seek(at(1), at(2)),
        Seek(NEWEST, NEWEST),
        Seek(channel="unknown"),
        Seek(at(3), at(3)),
    ]
    assert outline(await ask(peer, *requests)) == [1, 2, "200", 9, "200", "404"]


async def test_a_peer_from_a_snapshot_knows_nothing_below_it() -> None:
    chains = {"late": Ledger(BLOCKS).part(first=6), "fresh": (fresh := Ledger(first=10))}
    async with Peer(chains, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as peer:
        assert outline(await ask(peer, Seek(channel="late"))) == ["404"]
        assert outline(await ask(peer, Seek(at(5), at(7), channel="late"))) == ["404"]
        assert outline(await ask(peer, Seek(at(6), at(7), channel="late"))) == [6, 7, "200"]
        assert outline(await ask(peer, Seek(NEWEST, NEWEST, channel="late"))) == [9, "200"]
        async with stream(peer, Seek(NEWEST, NEWEST, channel="fresh")) as call:
            await asyncio.wait_for(fresh.caught_up.wait(), 5)
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
        assert (await asyncio.wait([early], timeout=0.2))[1], "nothing to send yet"
        ledger.append(BLOCKS[8])
        assert outline([await read(first), await early]) == [8, 8]
        ledger.append(BLOCKS[9])
        assert outline([await read(first), await read(first), await read(second)]) == [9, "200", 9]


async def test_a_block_of_99_megabytes_passes() -> None:
    block = Block(
        header=BlockHeader(number=0), data=BlockData(data=[bytes(99_000_000)])
    ).SerializeToString()
    async with Peer({CHANNEL: Ledger([block])}, tls=MUTUAL_TLS) as peer:
        answers = await ask(peer, Seek())
        assert outline(answers) == [0, "200"]
        assert len(answers[0].block.data.data[0]) == 99_000_000


async def test_filtered_delivery_gives_ids_codes_and_events_without_payloads() -> None:
    broken = Block.FromString(BLOCKS[2])
    broken.data.data[1] = Envelope(payload=b"\xff").SerializeToString()
    blocks = [*BLOCKS[:2], broken.SerializeToString(), BLOCKS[3]]
    async with Peer({CHANNEL: Ledger(blocks)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP) as peer:
        config, ordinary, refused, last, end = await ask(peer, Seek(), method="DeliverFiltered")
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
    assert refused.status == 400, "as Fabric answers in place of a block that it cannot filter"
    assert (last.filtered_block.number, end.status) == (3, 200)


# --- access ---------------------------------------------------------------------------------------------------------

MINUTE = 60
STRANGERS = Authority("org1")
AUTHORITY_AS_MEMBER = KeyPair(
    ORG1.certificate, ORG1._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
)
REFUSALS: dict[str, tuple[Seek | bytes, str]] = {
    "no timestamp": (Seek(age=None), "400"),
    "an old timestamp": (Seek(age=16 * MINUTE), "400"),
    "a timestamp ahead": (Seek(age=-16 * MINUTE), "400"),
    "no certificate hash": (Seek(tls_certificate=None), "400"),
    "another certificate's hash": (Seek(tls_certificate=SERVER.certificate), "400"),
    "an envelope that does not parse": (b"\xff\xff\xff", "400"),
    "an empty envelope": (b"", "400"),
    "a payload that does not parse": (Seek(garble=lambda e: setattr(e, "payload", b"\xff")), "400"),
    "an unknown channel": (Seek(channel="unknown"), "404"),
    "no signature": (Seek(garble=lambda e: setattr(e, "signature", b"")), "403"),
    "another key's signature": (
        Seek(garble=lambda e: setattr(e, "signature", signature(CLIENT_TLS, e.payload))),
        "403",
    ),
    "a signature with a high S": (Seek(low_s=False), "403"),
    "a stranger with a member's names": (Seek(member=STRANGERS.issue("reader")), "403"),
    "a member of no organisation here": (Seek(mspid="Org2MSP"), "403"),
    "no certificate": (Seek(member=replace(MEMBER, certificate=b"none")), "403"),
    "an authority's own certificate": (Seek(member=AUTHORITY_AS_MEMBER), "403"),
    "an expired certificate, though nothing is there to send": (
        Seek(NEXT_COMMIT, at(99), member=ORG1.issue("reader", lifetime=timedelta(minutes=-1))),
        "403",
    ),
}


@pytest.mark.parametrize(("request_", "expected"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_request_without_the_right_to_read_is_refused(
    peer: Peer, request_: Seek | bytes, expected: str
) -> None:
    assert outline(await ask(peer, request_)) == [expected]


async def test_a_clock_that_is_a_little_off_is_accepted(peer: Peer) -> None:
    assert outline(await ask(peer, Seek(NEWEST, NEWEST, age=14 * MINUTE))) == [9, "200"]


async def test_the_right_to_read_ends_with_the_certificate() -> None:
    now, ledger = time.time(), Ledger(BLOCKS[:9])
    member = ORG1.issue("reader", lifetime=timedelta(minutes=5))
    async with (
        Peer(
            {CHANNEL: ledger}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, clock=lambda: now
        ) as peer,
        stream(peer, Seek(at(8), at(9), member=member)) as call,
    ):
        assert outline([await read(call)]) == [8]
        now += 6 * MINUTE
        ledger.append(BLOCKS[9])
        assert outline([await read(call)]) == ["403"]


async def test_a_certificate_gives_no_right_before_its_time() -> None:
    def two_hours_ago() -> float:
        return time.time() - 120 * MINUTE

    ledgers = {CHANNEL: Ledger(BLOCKS)}
    async with Peer(ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP, clock=two_hours_ago) as peer:
        assert outline(await ask(peer, Seek(age=120 * MINUTE))) == ["403"]


async def test_mutual_tls_fails_in_the_handshake_without_a_client_certificate(peer: Peer) -> None:
    credentials = grpc.ssl_channel_credentials(TLS_AUTHORITY.certificate)
    async with grpc.aio.secure_channel(peer.address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.stream_stream("/protos.Deliver/Deliver")().read()
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("tls", [ServerTls(SERVER), None])
async def test_without_mutual_tls_no_certificate_hash_is_needed(tls: ServerTls | None) -> None:
    async with Peer({CHANNEL: Ledger(BLOCKS)}, tls=tls, organisations=MEMBERSHIP) as peer:
        request = Seek(NEWEST, NEWEST, tls_certificate=None)
        assert outline(await ask(peer, request, tls=tls is not None)) == [9, "200"]


def test_the_organisations_are_those_of_the_channel_configuration() -> None:
    assert organisations(BLOCKS[0]) == MEMBERSHIP
    for no_config in (BLOCKS[1], b"", b"\xff"):
        with pytest.raises(ValueError, match="configuration"):
            organisations(no_config)


# --- misbehaviour ---------------------------------------------------------------------------------------------------

OTHER = Ledger(chain(HEIGHT, label=7))
HONEST = [*range(10), "200"]


@pytest.mark.parametrize(
    ("misbehaviour", "expected"),
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
    misbehaviour: list[faults.Fault], expected: list[str | int]
) -> None:
    ledgers = {CHANNEL: Ledger(BLOCKS), "honest": Ledger(BLOCKS)}
    async with Peer(
        ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults={CHANNEL: misbehaviour}
    ) as peer:
        assert outline(await ask(peer, Seek())) == expected
        assert outline(await ask(peer, Seek(channel="honest"))) == HONEST
        assert outline(await ask(peer, Seek())) == expected, "a fault is there for every stream"


async def test_a_swap_at_the_head_waits_for_the_later_block() -> None:
    ledger, swapped = Ledger(BLOCKS[:9]), {CHANNEL: [faults.swap(8, 9)]}
    async with (
        Peer({CHANNEL: ledger}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=swapped) as peer,
        stream(peer, Seek(at(8), at(9))) as call,
    ):
        await asyncio.wait_for(ledger.caught_up.wait(), 5)
        ledger.append(BLOCKS[9])
        assert outline([await read(call) for _ in range(3)]) == [9, 8, "200"]


async def edited(edit: faults.Edit, number: int = 3) -> Block:
    """Block `number` as a peer with this fault delivers it; its other blocks are untouched."""
    misbehaviour = {CHANNEL: [faults.tamper(faults.at(number), edit)]}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=misbehaviour
    ) as peer:
        blocks = [answer.block for answer in (await ask(peer, Seek()))[:-1]]
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
        "a genesis with a past"
    )


async def test_a_truncated_block_reaches_the_client_and_does_not_parse() -> None:
    misbehaviour = {CHANNEL: [faults.tamper(faults.once(faults.at(1)), block_edits.truncate(5))]}
    async with Peer({CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, faults=misbehaviour) as peer:
        with pytest.raises(DecodeError):
            await ask(peer, Seek())
        assert outline(await ask(peer, Seek())) == HONEST, "a fault `once` is over"


async def test_a_fork_and_a_wrong_channel_give_another_ledgers_blocks() -> None:
    forked = {CHANNEL: [faults.substitute(faults.from_block(4), OTHER)]}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=forked
    ) as peer:
        answers = await ask(peer, Seek())
        assert [answer.block.SerializeToString() for answer in answers[:-1]] == [
            *BLOCKS[:4],
            *(OTHER.block(number) for number in range(4, 10)),
        ]


async def test_a_stream_trickles_stalls_and_breaks_off_where_it_is_told_to() -> None:
    misbehaviour: dict[str, list[faults.Fault]] = {}
    async with Peer(
        {CHANNEL: Ledger(BLOCKS)}, tls=MUTUAL_TLS, organisations=MEMBERSHIP, faults=misbehaviour
    ) as peer:
        misbehaviour[CHANNEL] = [faults.delay(faults.after(1), 0.05)]
        began = time.monotonic()
        assert outline(await ask(peer, Seek(at(4), at(7)))) == [4, 5, 6, 7, "200"]
        assert time.monotonic() - began > 3 * 0.05

        misbehaviour[CHANNEL] = [faults.stall(faults.after(2))]
        async with stream(peer, Seek(at(4), at(7))) as call:
            assert outline([await read(call), await read(call)]) == [4, 5]
            silence = asyncio.create_task(read(call))
            assert (await asyncio.wait([silence], timeout=0.2))[1], "the stream is open and silent"
            await peer.stop()
            with pytest.raises(grpc.aio.AioRpcError):
                await silence

        await peer.start()
        misbehaviour[CHANNEL] = [faults.abort(faults.at(5))]
        async with stream(peer, Seek(at(4), at(7))) as call:
            assert outline([await read(call)]) == [4]
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await read(call)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE


async def test_a_peer_that_was_reset_answers_on_the_same_port_with_a_shorter_chain() -> None:
    ledgers = {CHANNEL: Ledger(BLOCKS)}
    peer = Peer(ledgers, tls=MUTUAL_TLS, organisations=MEMBERSHIP)
    port = await peer.start()
    assert outline(await ask(peer, Seek(NEWEST, NEWEST))) == [9, "200"]
    await peer.stop()
    ledgers[CHANNEL] = OTHER.part(height=4)
    assert await peer.start() == port
    with pytest.raises(RuntimeError, match=str(port)):
        await Peer({}, port=port).start()
    (newest, _) = await ask(peer, Seek(NEWEST, NEWEST))
    assert newest.block.SerializeToString() == OTHER.block(3)
    assert outline(await ask(peer, Seek(at(9), at(9)))) == ["404"], "behind what it was"
    await peer.stop()
